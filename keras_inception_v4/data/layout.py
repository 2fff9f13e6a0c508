"""Layout of a folder: which subfolders are parts of a dataset or classes, and their files.

No file is opened here. Ambiguous layouts raise an error that names the folders.
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from keras_inception_v4.files import require

PARTS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "heldout", "holdout"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
"""Usual names of the parts of a split dataset; case, hyphens and underscores are ignored."""

WHOLE = ""  # the only part of a dataset that is not split
LISTED = 5

Problems = list[tuple[str, str]]  # path and reason of each unusable item


class Layout(NamedTuple):
    """Parts, classes and files of a folder.

    `parts` maps a part (`"train"`, `"validation"`, `"test"`, or `WHOLE`) to its classes, and each
    class to its files; classes and files are sorted. `folders` maps a part to its folder.
    `problems` are the paths that cannot be used, with the reason.
    """

    parts: dict[str, dict[str, list[Path]]]
    folders: dict[str, Path]
    problems: Problems


def existing_folder(folder: str | os.PathLike) -> Path:
    """Return the path of a folder after checking that it is one.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is a file.
    """
    folder = require(folder, "folder")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder of images.")
    return folder


def read_layout(folder: str | os.PathLike, *, nested: bool = False) -> Layout:
    """Find the parts of a dataset, their classes and the files of each class.

    A subfolder is a class, at any depth of its files. Subfolders with the usual names of parts
    (`PARTS`) that hold such classes are parts. Hidden files and folders are ignored. Links are
    followed, and each file counts once. Names that differ only in Unicode composition are one
    class.

    Args:
        folder: Folder that holds the classes, or parts that hold them.
        nested: Whether folders that hold only folders are classes as well.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is a file, has no subfolders, or its subfolders are ambiguous; the
            message names them.
    """
    folder = existing_folder(folder)
    problems: Problems = []
    subfolders = list(_visible(folder, problems, only_folders=True))
    if not subfolders:
        raise ValueError(
            f"{folder} holds no subfolders. Sort the images into one subfolder a class."
        )
    folders = _parts(folder, subfolders) or {WHOLE: folder}
    parts = {part: _classes(path, nested, problems) for part, path in folders.items()}
    if WHOLE not in folders:
        problems += [
            (str(path), f"{path} is in no part of the dataset") for path in _images(folder)
        ]
    _each_file_once(parts, problems)
    return Layout(parts, folders, problems)


def list_files(folder: Path, problems: Problems) -> list[Path]:
    """List every visible file below a folder, sorted, following links but visiting folders once."""
    return sorted(_walk(folder, problems, {os.path.realpath(folder)}))


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files of `list_files`, folder by folder as they are read, then broken links."""
    problems: Problems = []
    yield from _walk(folder, problems, {os.path.realpath(folder)})
    yield from (Path(place) for place, _ in problems)


def _walk(folder: Path, problems: Problems, seen: set[str]) -> Iterator[Path]:
    for entry in _visible(folder, problems):
        if not entry.is_dir():
            yield entry
        elif (real := os.path.realpath(entry)) not in seen:
            seen.add(real)
            yield from _walk(entry, problems, seen)


def _visible(folder: Path, problems: Problems, *, only_folders: bool = False) -> Iterator[Path]:
    for name in sorted(os.listdir(folder)):  # names, since paths take four times the memory
        if name.startswith("."):
            continue
        entry = folder / name
        if entry.is_symlink() and not entry.exists():
            reason = f"{entry} is a link to {os.readlink(entry)}, which is missing or circular"
            if (str(entry), reason) not in problems:
                problems.append((str(entry), reason))
        elif entry.is_dir() or not only_folders:
            yield entry


def _parts(folder: Path, subfolders: list[Path]) -> dict[str, Path]:
    """Return the folder of each part; an empty dict if the subfolders are classes."""
    named = {path: part for path in subfolders if (part := part_of(path.name))}
    deep = {path: part for path, part in named.items() if _holds_folders(path)}
    if len(deep) < 2:  # a class may be called train (the vehicle), but then holds images
        deep = {path: part for path, part in deep.items() if not _images(path)}
    if not deep or (len(subfolders) > len(deep) and "train" not in deep.values()):
        return {}
    shown = ", ".join(path.name for path in deep)
    others = [path.name for path in subfolders if path not in deep]
    if others:
        raise ValueError(
            f"{folder} holds parts of a dataset ({shown}) beside other folders "
            f"({few(others)}). Move the others away, or rename the parts if they are classes."
        )
    if "train" not in deep.values():
        raise ValueError(
            f"{folder} holds {shown} and no part to train on. Name the training part train, or "
            "pass the folder whose subfolders are the classes."
        )
    folders: dict[str, Path] = {}
    for path, part in deep.items():
        if part in folders:
            raise ValueError(
                f"{folder} holds {folders[part].name} and {path.name}, which are both names of its "
                f"{part} part. Keep one of them."
            )
        folders[part] = path
    return {part: folders[part] for part in PARTS if part in folders}


def part_of(name: str) -> str | None:
    """Return the part that a name stands for, or `None` if it is not a usual name of one."""
    plain = unicodedata.normalize("NFC", name).casefold().replace("-", "").replace("_", "")
    return next((part for part, names in PARTS.items() if plain in names), None)


def _holds_folders(folder: Path) -> bool:
    return next(_visible(folder, [], only_folders=True), None) is not None


def _images(folder: Path) -> list[Path]:
    """Return the files with an image's suffix directly in a folder."""
    suffixes = Image.registered_extensions()
    files = (entry for entry in _visible(folder, []) if entry.is_file())
    return [file for file in files if file.suffix.lower() in suffixes]


def _classes(folder: Path, nested: bool, problems: Problems) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    flat = False
    subfolders = list(_visible(folder, problems, only_folders=True))
    for path in subfolders:
        files = list_files(path, problems)
        flat |= any(file.parent == path for file in files)
        classes.setdefault(unicodedata.normalize("NFC", path.name), []).extend(files)
    if not nested and not flat and any(classes.values()):
        inner = [f"{path.name}/{sub.name}" for path in subfolders
                 for sub in _visible(path, [], only_folders=True)]  # fmt: skip
        raise ValueError(
            f"Every subfolder of {folder} holds only folders ({few(inner)}). If the inner ones "
            "are the classes, pass the folder directly above them; if the outer ones are, pass "
            "--nested (nested=True)."
        )
    for file in _visible(folder, problems):
        if file.is_file():
            problems.append((str(file), f"{file} is in no class's subfolder"))
    return {name: sorted(classes[name]) for name in sorted(classes)}


def _each_file_once(parts: dict[str, dict[str, list[Path]]], problems: Problems) -> None:
    """Drop repeated links to a file; those in another class or part are added to `problems`."""
    seen: dict[str, tuple[str, str, Path]] = {}
    for part, classes in parts.items():
        for name, files in classes.items():
            kept = []
            for file in files:
                first = seen.setdefault(os.path.realpath(file), (part, name, file))
                if first[2] is file:
                    kept.append(file)
                elif first[:2] != (part, name):
                    reason = f"{file} is the same file as {first[2]}, of another class or part"
                    problems.append((str(file), reason))
            classes[name] = kept


def few(names: list[str]) -> str:
    """Return the first names of a list, in one line."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
