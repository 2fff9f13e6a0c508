"""How a folder is read: which subfolders are parts of a data set, which are classes, which files.

Nothing is opened here. What cannot be understood is refused by name, and what was understood can
be printed.
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
"""What the parts of a split data set are called, in any case; hyphens and underscores aside."""

WHOLE = ""  # the only part of a data set that is not split
LISTED = 5

Problems = list[tuple[str, str]]  # path and reason of what cannot be used


class Layout(NamedTuple):
    """What a folder holds.

    `parts` maps a part (`"train"`, `"validation"`, `"test"`, or `WHOLE`) to its classes, and a
    class to its files, both sorted; `folders` maps a part to its folder; `problems` are the paths
    that cannot be used, with the reason.
    """

    parts: dict[str, dict[str, list[Path]]]
    folders: dict[str, Path]
    problems: Problems


def existing_folder(folder: str | os.PathLike) -> Path:
    """The folder as a path.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is a file.
    """
    folder = require(folder, "folder")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder of images.")
    return folder


def read_layout(folder: str | os.PathLike, *, nested: bool = False) -> Layout:
    """Reads which files belong to which class of which part.

    A subfolder is a class, at whatever depth its files are. Subfolders with the usual names of
    parts (`PARTS`) that hold such classes are parts; hidden files and folders do not count.
    Links are followed, each file counts once, and names in Unicode's composed and decomposed
    form are one class.

    Args:
        folder: holds the classes, or parts that hold them.
        nested: whether folders that hold only folders are classes all the same.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file, or its subfolders can be read in more than one way; the
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
            (str(path), f"{path} is in no part of the data set") for path in _images(folder)
        ]
    _each_file_once(parts, problems)
    return Layout(parts, folders, problems)


def list_files(folder: Path, problems: Problems) -> list[Path]:
    """Every visible file below a folder, sorted; links are followed, and no folder twice."""
    return sorted(_walk(folder, problems, {os.path.realpath(folder)}))


def walk_files(folder: Path) -> Iterator[Path]:
    """The same files, folder by folder as they are reached; in the end links to nothing."""
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
    for name in sorted(os.listdir(folder)):  # a path takes four times the memory of its name
        if name.startswith("."):
            continue
        entry = folder / name
        if entry.is_symlink() and not entry.exists():
            reason = f"{entry} is a link to {os.readlink(entry)}, which is not there or a circle"
            if (str(entry), reason) not in problems:
                problems.append((str(entry), reason))
        elif entry.is_dir() or not only_folders:
            yield entry


def _parts(folder: Path, subfolders: list[Path]) -> dict[str, Path]:
    """The folder of each part; empty if the subfolders are classes."""
    named = {path: part for path in subfolders if (part := part_of(path.name))}
    deep = {path: part for path, part in named.items() if _holds_folders(path)}
    if len(deep) < 2:  # a class may be called train, as a vehicle; but then it holds images
        deep = {path: part for path, part in deep.items() if not _images(path)}
    if not deep or (len(subfolders) > len(deep) and "train" not in deep.values()):
        return {}
    shown = ", ".join(path.name for path in deep)
    others = [path.name for path in subfolders if path not in deep]
    if others:
        raise ValueError(
            f"{folder} holds parts of a data set ({shown}) beside other folders "
            f"({few(others)}). Move the others away, or rename the parts if they are classes."
        )
    if "train" not in deep.values():
        raise ValueError(
            f"{folder} holds {shown} and no part to train on. Call it train, or name the folder "
            "whose subfolders are the classes."
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
    """The part that a name is one of, `None` if it is of none."""
    plain = unicodedata.normalize("NFC", name).casefold().replace("-", "").replace("_", "")
    return next((part for part, names in PARTS.items() if plain in names), None)


def _holds_folders(folder: Path) -> bool:
    return next(_visible(folder, [], only_folders=True), None) is not None


def _images(folder: Path) -> list[Path]:
    """The files with an image's suffix in the folder itself."""
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
            "are the classes, name the folder right above them; if they only store the images of "
            "the outer ones, pass --nested (nested=True)."
        )
    for file in _visible(folder, problems):
        if file.is_file():
            problems.append((str(file), f"{file} is in no class's subfolder"))
    return {name: sorted(classes[name]) for name in sorted(classes)}


def _each_file_once(parts: dict[str, dict[str, list[Path]]], problems: Problems) -> None:
    """Drops links to files that are counted already; those of another class or part are named."""
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
    """The first names of a list, in one line."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
