"""Folders of images: listing, the scan for unusable files, and labels by subfolder."""

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
    """List every visible file below a folder, sorted by path; links are followed.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is a file, holds no files, or holds broken links.
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
    """Find the files that are damaged or not images, by decoding all of them on all cores.

    Args:
        paths: Paths of files, or records in files of many.
        verbose: Whether to show a progress bar.

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
    """Return the readable files, and the others with the reason, which is printed to stderr.

    Raises:
        ValueError: If there are unreadable files and `skip_corrupt` is false, or no readable ones.
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
    """Raise an error if there are problems; with `skip_corrupt`, print them to stderr instead.

    Args:
        problems: Path and reason of each unusable item.
        of_what: Name of these items in the error, such as `"rows"`.
        skip_corrupt: Whether they may be left out.
        verbose: Whether to print those that are left out.

    Raises:
        ValueError: If there are problems and `skip_corrupt` is false; the message lists the first.
    """
    if problems and not skip_corrupt:
        listed = "\n".join(f"  {reason}" for _, reason in problems[:LISTED])
        more = f"\n  ... ({len(problems) - LISTED} more)" if len(problems) > LISTED else ""
        or_skip = ", or leave them out with --skip-corrupt (skip_corrupt=True)"
        raise ValueError(
            f"{len(problems)} {of_what} cannot be used:\n{listed}{more}\nRepair or remove them"
            f"{'' if of_what == 'links' else or_skip}."
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
    """Read a folder with one subfolder per class as training, held-out and test images.

    Every image is decoded once to check it.

    Args:
        folder: Folder that holds the classes, or parts that hold the same classes; see
            `layout.read_layout`. If there is no validation part, a share of the training part
            is held out.
        size: Height and width of the images, in pixels.
        crop: Share of the covered side to keep, as in `load_image`.
        validation_split: Share to hold out if there is no validation part, above 0 and below 1.
            Defaults to 0.2.
        seed: Seed for the split.
        fold: Fold to hold out, as in `splits.split_fold`; `None` for a single split.
        skip_corrupt: Whether to leave out unreadable files, and then classes with too few images:
            less than two to train on, or none in another part.
        nested: Whether folders that hold only folders are classes as well.
        exclude: Images to leave out, by their names from `findings.read_exclusions`.
        verbose: Whether to show a progress bar, and to print how the folder was read.

    Returns:
        The data, with the classes sorted by name.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are fewer than two classes, the layout is ambiguous, or the parts have
            different classes. Also if something cannot be used and `skip_corrupt` is false, or
            `fold` is given and there is a validation part.
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
    """Describe in one line how a folder was read."""
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
