"""Tables of images: one row per image, with its targets and optionally its part and group."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_inception_v4.architecture import REGRESSION, SINGLE_LABEL
from keras_inception_v4.data.cells import Targets, read_targets
from keras_inception_v4.data.columns import (
    BOTH,
    LABEL,
    Columns,
    find_columns,
    read_table,
)
from keras_inception_v4.data.findings import excluded_places
from keras_inception_v4.data.folders import refuse_problems, scan_images
from keras_inception_v4.data.layout import Problems, few, part_of
from keras_inception_v4.data.records import Record, open_collection
from keras_inception_v4.data.sources import ImageFiles, LabelledData
from keras_inception_v4.data.splits import split
from keras_inception_v4.files import is_table, require
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import task_named


@dataclass(frozen=True)
class Rows:
    """Usable rows of a table: files, targets and optionally parts and groups."""

    table: Path
    root: Path
    read: dict[str, list[str]]
    paths: list[Path | Record]
    parts: list[str | None]
    groups: list[str | None]
    targets: Targets
    problems: Problems

    def files(self, chosen, size: tuple[int, int], crop: float) -> ImageFiles:
        """Return the images of some rows."""
        paths = [self.paths[i] for i in chosen]
        return ImageFiles(paths, self.targets.values[chosen], size, crop, self.root)


def read_labelled_table(
    table: str | os.PathLike,
    size: tuple[int, int],
    *,
    crop: float,
    images: str | os.PathLike | None = None,
    columns: Columns | None = None,
    task: str | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    skip_corrupt: bool = False,
    exclude: frozenset[str] = frozenset(),
    verbose: Verbose = True,
) -> LabelledData:
    """Read a table of images and targets as training, held-out and test images.

    Every image is decoded once to check it.

    Args:
        table: Path of a `.csv` (comma, semicolon or tab), `.tsv` or `.parquet` with a header. Or
            the path of images inside other files; see `records.open_collection`.
        size: Height and width of the images, in pixels.
        crop: Share of the covered side to keep, as in `load_image`.
        images: Folder that paths are relative to; `None` for the table's own.
        columns: Names of the columns; `None` looks for the usual ones. The split column names
            parts (`layout.PARTS`). If no row is in the validation part, a share of the training
            rows is held out, as whole groups if there is a group column.
        task: One of `TASKS`. `None` means multi-label if cells hold several names separated by
            `|` or `;`, or if each class has a column, else one class per image. See
            `cells.read_targets`.
        validation_split: Share to hold out, above 0 and below 1; at most 0.5 with groups and one
            class per image. Defaults to 0.2.
        seed: Seed for the split.
        fold: Fold to hold out, as in `splits.split_fold`; `None` for a single split.
        skip_corrupt: Whether to leave out rows that cannot be used.
        exclude: Images to leave out, by their names from `findings.read_exclusions`.
        verbose: Whether to show a progress bar, and to print how the table was read.

    Returns:
        The data, with the classes sorted by name, or in the order of their columns.

    Raises:
        FileNotFoundError: If there is no such table or folder.
        ValueError: If the table cannot be read, lacks a column, or cannot be split as asked. Also
            if rows cannot be used and `skip_corrupt` is false.
        ImportError: If a library that reads the table is missing; the message names the extra.
    """
    rows = read_rows(
        table, images=images, columns=columns, task=task, skip_corrupt=skip_corrupt,
        exclude=exclude, verbose=verbose,
    )  # fmt: skip
    names, least = rows.targets.names, task_named(rows.targets.task).least_outputs
    if len(names) < least:
        raise ValueError(f"{table} has {len(names)} classes with images; training needs two.")
    parts = _parts(rows, validation_split, seed, fold)
    sides = {part: rows.files(chosen, size, crop) for part, chosen in parts.items()}
    if verbose:
        _tell(rows, sides)
    return LabelledData(
        sides["train"],
        sides["validation"],
        names,
        crop,
        rows.problems,
        sides.get("test"),
        rows.targets.task,
    )


def read_rows(
    table: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    columns: Columns | None = None,
    task: str | None = None,
    names: list[str] | None = None,
    skip_corrupt: bool = False,
    exclude: frozenset[str] = frozenset(),
    scan: bool = True,
    verbose: Verbose = True,
) -> Rows:
    """Read the usable rows of a table.

    Args:
        table: Path of the table, as in `read_labelled_table`.
        images: Folder that paths are relative to; `None` for the table's own.
        columns: Names of the columns; `None` looks for the usual ones.
        task: One of `TASKS`, or `None` to infer it from the table.
        names: Names of the classes or quantities, if they are known; `None` takes the table's own.
        skip_corrupt: Whether to leave out rows that cannot be used.
        exclude: Images to leave out, by their names from `findings.read_exclusions`.
        scan: Whether to decode every image to check it.
        verbose: Whether to show a progress bar, and to print the rows that are left out.

    Raises:
        FileNotFoundError: If there is no such table or folder.
        ValueError: If the table cannot be read or lacks a column, or if no row can be used. Also
            if some rows cannot be used and `skip_corrupt` is false.
        ImportError: If a library that reads the table is missing; the message names the extra.
    """
    table, columns = require(table, "table"), columns or Columns()
    root = table.parent if images is None else require(images, "folder")
    places: list[Record] | None = None
    if is_table(table):
        content = read_table(table)
    else:
        if images is not None:
            raise ValueError(f"Received images={images} for {table}, which holds its own.")
        collection = open_collection(table, columns.path)
        content, columns = collection.columns, replace(columns, path=None)
        places = [Record(collection, number) for number in range(len(collection))]
    found = find_columns(table, content, columns, task, names, needed=LABEL if places else BOTH)
    targets = read_targets(
        table, {name: content[name] for name in found["label"]}, task=task, names=names
    )
    usable, problems = _usable(table, content, found, root, targets, places)
    paths = {i: places[i] if places else root / content[found["path"][0]][i] for i in usable}
    excluded = excluded_places([*paths.values(), *(row for row, _ in problems)], root, exclude)
    paths = {i: path for i, path in paths.items() if str(path) not in excluded}
    problems = [each for each in problems if each[0] not in excluded]
    bad = scan_images(list(paths.values()), verbose=verbose) if scan else []
    problems += bad
    refuse_problems(problems, "rows", skip_corrupt=skip_corrupt, verbose=verbose)
    unreadable = {path for path, _ in bad}
    kept = [i for i, path in paths.items() if str(path) not in unreadable]
    if not kept:
        raise ValueError(f"{table} has no rows that can be used.")

    def column(kind: str) -> list:
        return [content[found[kind][0]][i] if found[kind] else None for i in kept]

    return Rows(
        table,
        root,
        found,
        [paths[i] for i in kept],
        [None if cell is None else part_of(cell) for cell in column("split")],
        column("group"),
        targets.of_rows(kept, known=names is not None),
        [*problems, *excluded.items()],
    )


def _usable(
    table: Path,
    content: dict[str, list[str]],
    found: dict[str, list[str]],
    root: Path,
    targets: Targets,
    records: Sequence[Record] | None,
) -> tuple[list[int], Problems]:
    """Return the indices of the usable rows, and the others with the reason."""
    count = len(content[found["label"][0]])

    def cells(kind: str) -> list:
        return content[found[kind][0]] if found[kind] else [None] * count

    names = list(map(str, records)) if records else cells("path")
    usable: list[int] = []
    problems: Problems = []
    seen: dict[str, int] = {}
    columns = zip(names, cells("split"), cells("group"), strict=True)
    for index, (name, part, group) in enumerate(columns):
        real = name if records else os.path.realpath(root / name)
        unfit = None if records else _unfit_path(name, root)
        if unfit is not None:
            reason = unfit
        elif index in targets.reasons:
            reason = targets.reasons[index].format(name=name)
        elif part is not None and part_of(part) is None:
            reason = f"has the split {part!r}, which is none of train, validation and test"
        elif group == "":
            reason = f"has no group for {name}"
        elif real in seen:
            reason = f"names {name}, as row {seen[real]} does"
        else:
            seen[real] = index + 2
            usable.append(index)
            continue
        row = f"record {index}" if records else f"row {index + 2}"  # the header is row 1
        problems.append((f"{table}:{index}", f"{table} {row} {reason}"))
    return usable, problems


def _unfit_path(name: str, root: Path) -> str | None:
    """Return why an image's path cannot be used, or `None` if it can."""
    path, inside = root / name, os.path.abspath(root)
    if not name:
        return "has no path"
    if os.path.commonpath([inside, os.path.abspath(path)]) != inside:
        return f"names {name}, which is outside {root}"
    return None if path.is_file() else f"names {path}, which does not exist"


def _parts(
    rows: Rows, validation_split: float, seed: int, fold: tuple[int, int] | None
) -> dict[str, list[int]]:
    """Return the row numbers of each part, from the split column or split here."""
    table, targets = rows.table, rows.targets
    parts: dict[str, list[int]] = {}
    for index, part in enumerate(rows.parts):
        parts.setdefault(part or "train", []).append(index)
    train = parts.get("train", [])
    missing = [targets.names[i] for i in targets.absent(targets.values[train])]
    if missing or not train:
        raise ValueError(f"{table} has no training images of {few(missing or targets.names)}.")
    _check_groups(rows, parts)
    if "validation" in parts:
        if fold is not None:
            raise ValueError(f"Received folds for {table}, which has held-out images of its own.")
        return parts
    grouped = rows.groups[0] is not None
    if targets.task == SINGLE_LABEL and not grouped:
        counts = Counter(targets.values[train].tolist())
        rare = [targets.names[label] for label, n in sorted(counts.items()) if n < 2]
        if rare:
            raise ValueError(f"{table} has only one image of {few(rare)}; splitting needs two.")
    kept, held_out = split(
        targets.classes()[train],
        [rows.groups[i] for i in train] if grouped else None,
        validation_split=validation_split,
        seed=seed,
        fold=fold,
    )
    return {
        **parts,
        "train": [train[i] for i in kept],
        "validation": [train[i] for i in held_out],
    }


def _check_groups(rows: Rows, parts: dict[str, list[int]]) -> None:
    where: dict[str, str] = {}
    for part, chosen in parts.items():
        for group in (rows.groups[i] for i in chosen):
            if group is not None and where.setdefault(group, part) != part:
                raise ValueError(
                    f"{rows.table} has the group {group!r} in {where[group]} and in {part}. A "
                    "group belongs to one part."
                )


def _tell(rows: Rows, sides: dict[str, ImageFiles]) -> None:
    """Print how a table was read, and which classes have no images in a part."""
    table, targets = rows.table, rows.targets
    columns = {kind: few([repr(name) for name in names]) for kind, names in rows.read.items()}
    read = ", ".join(f"{kind} from {names}" for kind, names in columns.items() if names)
    counts = ", ".join(f"{part}: {len(files):,} images" for part, files in sides.items())
    what = "targets" if targets.task == REGRESSION else "classes"
    task = "" if targets.task == SINGLE_LABEL else f" ({targets.task})"
    print(
        f"{table}{task}: {read}. {counts} of {len(targets.names)} {what} ({few(targets.names)})",
        file=sys.stderr,
    )
    for part, files in sides.items():
        absent = [targets.names[i] for i in targets.absent(files.labels)]
        if absent:
            print(f"{part} has no images of {few(absent)}", file=sys.stderr)
