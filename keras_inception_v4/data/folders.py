"""Folders of images: listing, the scan for what cannot be used, labels by subfolder."""

import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from keras_inception_v4.data.arrays import LabelledData, read_all, split_indices
from keras_inception_v4.preprocessing import check_image, load_image, open_channels
from keras_inception_v4.progress import progress

LISTED = 10
PARTS = ("train", "validation")


@dataclass(frozen=True)
class ImageFiles:
    """Paths of image files and their integer labels; `size` and `crop` as in `load_image`."""

    paths: list[Path]
    labels: np.ndarray
    size: tuple[int, int]
    crop: float

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices) -> np.ndarray:
        """Raw pixels of some images, decoded by all cores."""
        return read_all(lambda i: load_image(self.paths[i], self.size, self.crop), indices)

    def channels(self, index: int) -> list[Image.Image]:
        """One whole image as `open_channels` gives it."""
        return open_channels(self.paths[index])

    def save(self, index: int, path: Path) -> None:
        """Copies one image's file; `path` is without suffix."""
        source = self.paths[index]
        shutil.copyfile(source, path.with_name(f"{path.name}{source.suffix}"))

    def listing(self, class_names: list[str]) -> dict[str, list[str]]:
        """The paths of each class, from the class's folder on."""
        listed: dict[str, list[str]] = {name: [] for name in class_names}
        for path, label in zip(self.paths, self.labels, strict=True):
            name = class_names[label]
            parts = path.parts
            start = len(parts) - 1 - parts[::-1].index(name)
            listed[name].append("/".join(parts[start:]))
        return listed


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Every file below a folder, hidden ones apart, sorted by path.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file, or empty.
    """
    folder = _existing(folder)
    paths = _visible_files(folder)
    if not paths:
        raise ValueError(f"{folder} holds no images.")
    return paths


def _existing(folder: str | os.PathLike) -> Path:
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder of images.")
    return folder


def _visible_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def scan_images(paths: Sequence[Path], *, verbose: bool = True) -> list[tuple[str, str]]:
    """Decodes every file with all cores, to find those that are no image or damaged.

    Args:
        paths: files.
        verbose: whether to show a progress bar.

    Returns:
        Path and reason of each bad file, in the given order.
    """
    with progress(len(paths), "checking", "files", verbose) as advance:

        def reason(path):
            try:
                check_image(path)
            except (ValueError, OSError) as error:
                return str(error)
            finally:
                advance(1)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            reasons = list(threads.map(reason, paths))
    return [(str(path), text) for path, text in zip(paths, reasons, strict=True) if text]


def sound_images(
    paths: Sequence[Path], *, skip_corrupt: bool, verbose: bool = True
) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files that can be read, and the others with the reason, which stderr is told.

    Raises:
        ValueError: if there are others and `skip_corrupt` is false, or nothing is left.
    """
    bad = scan_images(paths, verbose=verbose)
    if not skip_corrupt:
        _refuse(bad, f"of {len(paths)} files")
    left_out = {path for path, _ in bad}
    for _, reason in bad if verbose else []:
        print(f"left out: {reason}", file=sys.stderr)
    sound = [path for path in paths if str(path) not in left_out]
    if not sound:
        raise ValueError(f"None of the {len(paths)} files is an image that can be read.")
    return sound, bad


def _refuse(problems: list[tuple[str, str]], of_what: str) -> None:
    """Raises one error that lists the first problems, if there are any."""
    if problems:
        listed = "\n".join(f"  {reason}" for _, reason in problems[:LISTED])
        more = f"\n  ... ({len(problems) - LISTED} more)" if len(problems) > LISTED else ""
        raise ValueError(
            f"{len(problems)} {of_what} cannot be used:\n{listed}{more}\nMend or remove them, or "
            "leave them out with --skip-corrupt (skip_corrupt=True)."
        )


def find_classes(folder: str | os.PathLike) -> dict[str, list[Path]]:
    """The files of each class: a subfolder a class, hidden ones apart, sorted by name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file or has no subfolders.
    """
    folder = _existing(folder)
    classes = {
        entry.name: _visible_files(entry)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not classes:
        raise ValueError(
            f"{folder} holds no subfolders. Sort the images into one subfolder a class."
        )
    return classes


def read_labelled_folder(
    folder: str | os.PathLike,
    size: tuple[int, int],
    *,
    crop: float,
    validation_split: float = 0.2,
    seed: int = 0,
    skip_corrupt: bool = False,
    verbose: bool = True,
) -> LabelledData:
    """A folder with a subfolder a class, scanned, as training and held-out images.

    Args:
        folder: holds the classes, or `train` and `validation`, which hold the same classes.
        size: height and width of the images, in pixels.
        crop: as in `load_image`.
        validation_split: share held out, in (0, 1), where the folder is not split yet.
        seed: of the split.
        skip_corrupt: whether to leave out files that cannot be read, and then classes of
            less than two images.
        verbose: whether to show a progress bar.

    Returns:
        The data, its classes sorted by name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has less than two classes, classes that differ between `train`
            and `validation`, or anything that cannot be used without `skip_corrupt`.
    """
    folder = _existing(folder)
    split = all((folder / part).is_dir() for part in PARTS)
    parts = [find_classes(folder / part) for part in PARTS] if split else [find_classes(folder)]
    _check_classes(folder, parts)
    files = [path for part in parts for paths in part.values() for path in paths]
    problems = scan_images(files, verbose=verbose)
    bad = {path for path, _ in problems}
    parts = [
        {name: [p for p in paths if str(p) not in bad] for name, paths in part.items()}
        for part in parts
    ]
    for place in [folder / part for part in PARTS] if split else [folder]:
        problems += [
            (str(path), f"{path} is in no class's subfolder")
            for path in sorted(place.iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]
    small = {}
    for part, least, where in zip(parts, (2, 1), PARTS, strict=False):
        for name, paths in part.items():
            if len(paths) < least:
                has = "no readable image" if not paths else "one readable image"
                small[name] = f"class {name!r} has {has}{f' in {where}' if split else ''}"
    problems += small.items()
    if not skip_corrupt:
        _refuse(problems, "files or classes")
    for _, reason in problems if verbose else []:
        print(f"left out: {reason}", file=sys.stderr)
    names = [name for name in parts[0] if name not in small]
    if len(names) < 2:
        raise ValueError(f"{folder} has {len(names)} classes with images; training needs two.")
    sides = [_files(part, names, size, crop) for part in parts]
    if not split:
        chosen = split_indices(sides[0].labels, validation_split, seed)
        (whole,) = sides
        sides = [
            replace(whole, paths=[whole.paths[i] for i in indices], labels=whole.labels[indices])
            for indices in chosen
        ]
    train, validation = sides
    return LabelledData(train, validation, names, crop, problems)


def _files(part, names, size, crop) -> ImageFiles:
    paths = [path for name in names for path in part[name]]
    labels = [label for label, name in enumerate(names) for _ in part[name]]
    return ImageFiles(paths, np.array(labels, "int64"), size, crop)


def _check_classes(folder: Path, parts: list[dict]) -> None:
    if not any(paths for part in parts for paths in part.values()):
        raise ValueError(f"{folder} holds no images.")
    if len(parts) == 2 and parts[0].keys() != parts[1].keys():
        only = [sorted(a.keys() - b.keys()) for a, b in (parts, parts[::-1])]
        raise ValueError(
            f"The classes of {folder} differ: only in train {only[0] or 'none'}, only in "
            f"validation {only[1] or 'none'}. Give both the same subfolders."
        )
    if len(parts[0]) < 2:
        raise ValueError(f"{folder} has one class, {next(iter(parts[0]))!r}; training needs two.")
