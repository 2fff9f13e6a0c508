"""Folders of images: listing, the scan for what cannot be used, labels by subfolder."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_inception_v4.data.findings import excluded_places
from keras_inception_v4.data.layout import (
    WHOLE,
    Layout,
    Problems,
    existing_folder,
    few,
    list_files,
    read_layout,
)
from keras_inception_v4.data.sources import ImageFiles, LabelledData, Record, content_of
from keras_inception_v4.data.splits import split
from keras_inception_v4.preprocessing import check_image
from keras_inception_v4.progress import Verbose, progress

LISTED = 10


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Every file below a folder, hidden ones apart, sorted by path; links are followed.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file, or empty, or holds links to nothing.
    """
    folder = existing_folder(folder)
    problems: Problems = []
    paths = list_files(folder, problems)
    refuse_problems(problems, "links")
    if not paths:
        raise ValueError(f"{folder} holds no images.")
    return paths


def scan_images(
    paths: Sequence[Path | Record], *, verbose: Verbose = True
) -> list[tuple[str, str]]:
    """Decodes every file with all cores, to find those that are no image or damaged.

    Args:
        paths: files, or records of others.
        verbose: whether to show a progress bar.

    Returns:
        Path and reason of each bad file, in the given order.
    """
    with progress(len(paths), "checking", "files", verbose) as advance:

        def reason(path):
            try:
                check_image(content_of(path), str(path))
            except (ValueError, OSError) as error:
                return str(error)
            finally:
                advance(1)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            reasons = list(threads.map(reason, paths))
    return [(str(path), text) for path, text in zip(paths, reasons, strict=True) if text]


def sound_images(
    paths: Sequence[Path], *, skip_corrupt: bool, verbose: Verbose = True
) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files that can be read, and the others with the reason, which stderr is told.

    Raises:
        ValueError: if there are others and `skip_corrupt` is false, or nothing is left.
    """
    bad = scan_images(paths, verbose=verbose)
    refuse_problems(bad, f"of {len(paths)} files", skip_corrupt=skip_corrupt, verbose=verbose)
    left_out = {path for path, _ in bad}
    sound = [path for path in paths if str(path) not in left_out]
    if not sound:
        raise ValueError(f"None of the {len(paths)} files is an image that can be read.")
    return sound, bad


def refuse_problems(
    problems: Problems, of_what: str, *, skip_corrupt: bool = False, verbose: Verbose = True
) -> None:
    """Says what is left out, on stderr; without `skip_corrupt` that is an error.

    Args:
        problems: path and reason of what cannot be used.
        of_what: what they are, in words.
        skip_corrupt: whether they may be left out.
        verbose: whether to print them.

    Raises:
        ValueError: that lists the first of them, if there are any that may not be left out.
    """
    if problems and not skip_corrupt:
        listed = "\n".join(f"  {reason}" for _, reason in problems[:LISTED])
        more = f"\n  ... ({len(problems) - LISTED} more)" if len(problems) > LISTED else ""
        raise ValueError(
            f"{len(problems)} {of_what} cannot be used:\n{listed}{more}\nMend or remove them, or "
            "leave them out with --skip-corrupt (skip_corrupt=True)."
        )
    for _, reason in problems if verbose else []:
        print(f"left out: {reason}", file=sys.stderr)


def read_labelled_folder(
    folder: str | os.PathLike,
    size: tuple[int, int],
    *,
    crop: float,
    validation_split: float = 0.2,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    skip_corrupt: bool = False,
    nested: bool = False,
    exclude: frozenset[str] = frozenset(),
    verbose: Verbose = True,
) -> LabelledData:
    """A folder with a subfolder a class, scanned, as training, held-out and test images.

    Args:
        folder: holds the classes, or parts that hold the same classes; see
            `layout.read_layout`. Without a part of held-out images a share of the training part
            is held out.
        size: height and width of the images, in pixels.
        crop: as in `load_image`.
        validation_split: share held out, in (0, 1), where there is no part for it.
        seed: of the split.
        fold: as in `splits.split_fold`; `None` without.
        skip_corrupt: whether to leave out files that cannot be read, and then classes of
            less than two images.
        nested: whether folders that hold only folders are classes all the same.
        exclude: pictures to leave out, as `findings.read_exclusions` names them.
        verbose: whether to show a progress bar, and to print how the folder was read.

    Returns:
        The data, its classes sorted by name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has less than two classes, can be read in more than one way, has
            classes that differ between its parts, or anything that cannot be used without
            `skip_corrupt`.
    """
    layout = read_layout(folder, nested=nested)
    _check_classes(layout)
    parts = layout.parts
    files = [path for part in parts.values() for paths in part.values() for path in paths]
    strays = [Path(path) for path, _ in layout.problems]
    excluded = excluded_places([*files, *strays], folder, exclude)
    problems = [each for each in layout.problems if each[0] not in excluded]
    files = [path for path in files if str(path) not in excluded]
    problems += scan_images(files, verbose=verbose)
    bad = {path for path, _ in problems} | excluded.keys()
    parts = {
        part: {name: [p for p in paths if str(p) not in bad] for name, paths in classes.items()}
        for part, classes in parts.items()
    }
    small = {}
    for part, classes in parts.items():
        for name, paths in classes.items():
            if len(paths) < (2 if part in (WHOLE, "train") else 1):
                has = "no readable image" if not paths else "one readable image"
                where = f" in {layout.folders[part].name}" if part else ""
                small[name] = f"class {name!r} has {has}{where}"
    problems += small.items()
    refuse_problems(problems, "files or classes", skip_corrupt=skip_corrupt, verbose=verbose)
    names = [name for name in next(iter(parts.values())) if name not in small]
    if len(names) < 2:
        raise ValueError(f"{folder} has {len(names)} classes with images; training needs two.")
    sides = {part: _files(classes, names, size, crop) for part, classes in parts.items()}
    if verbose:
        print(_reading(layout, sides, names), file=sys.stderr)
    whole = sides.pop(next(iter(parts)))
    if fold is not None and "validation" in sides:
        raise ValueError(f"Received folds for {folder}, which has held-out images of its own.")
    if "validation" in sides:
        train, validation = whole, sides["validation"]
    else:
        train, validation = (
            replace(whole, paths=[whole.paths[i] for i in indices], labels=whole.labels[indices])
            for indices in split(
                whole.labels, None, validation_split=validation_split, seed=seed, fold=fold
            )
        )
    left_out = [*problems, *excluded.items()]
    return LabelledData(train, validation, names, crop, left_out, sides.get("test"))


def _reading(layout: Layout, sides: dict, names: list[str]) -> str:
    """How a folder was understood, in one line."""
    counts = ", ".join(
        f"{layout.folders[part].name}: {len(files):,} images" for part, files in sides.items()
    )
    return f"{counts} of {len(names)} classes ({few(names)})"


def _files(part, names, size, crop) -> ImageFiles:
    paths = [path for name in names for path in part[name]]
    labels = [label for label, name in enumerate(names) for _ in part[name]]
    return ImageFiles(paths, np.array(labels, "int64"), size, crop)


def _check_classes(layout: Layout) -> None:
    folders, parts = layout.folders, layout.parts
    first, *others = parts
    if not any(paths for classes in parts.values() for paths in classes.values()):
        raise ValueError(f"{folders[first]} holds no images.")
    for part in others:
        a, b = parts[first].keys(), parts[part].keys()
        if a != b:
            raise ValueError(
                f"The classes of {folders[first]} and {folders[part]} differ: only in "
                f"{folders[first].name} {sorted(a - b) or 'none'}, only in {folders[part].name} "
                f"{sorted(b - a) or 'none'}. Give them the same subfolders."
            )
    if len(parts[first]) < 2:
        raise ValueError(
            f"{folders[first]} has one class, {next(iter(parts[first]))!r}; training needs two."
        )
