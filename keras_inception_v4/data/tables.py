"""Tables of images: a row a picture, with its label, and perhaps its part and its group."""

import csv
import os
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inception_v4.data.folders import refuse_problems, scan_images
from keras_inception_v4.data.layout import Problems, few, part_of
from keras_inception_v4.data.sources import ImageFiles, LabelledData
from keras_inception_v4.data.splits import split_groups, split_indices
from keras_inception_v4.errors import require_extra
from keras_inception_v4.files import require
from keras_inception_v4.progress import Verbose

GUESSES = {
    "path": ("path", "file", "filename", "filepath", "file_name", "image", "image_path"),
    "label": ("label", "labels", "class", "target"),
    "split": ("split",),
    "group": ("group",),
}
"""What the columns are called, in any case, where nobody says."""
SEPARATORS = "|;"  # of several names in one cell; a comma may be, see `_lists`


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns; `None` looks for the usual ones (`GUESSES`)."""

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None


def read_labelled_table(
    table: str | os.PathLike,
    size: tuple[int, int],
    *,
    crop: float,
    images: str | os.PathLike | None = None,
    columns: Columns | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
    skip_corrupt: bool = False,
    verbose: Verbose = True,
) -> LabelledData:
    """A table of image files and labels, scanned, as training, held-out and test images.

    Args:
        table: a `.csv` (comma, semicolon or tab), `.tsv` or `.parquet`, with a header.
        size: height and width of the images, in pixels.
        crop: as in `load_image`.
        images: the folder that paths are relative to; `None` for the table's own.
        columns: their names. Labels are names, one a picture, also where they look like numbers.
            A split names parts (`layout.PARTS`); without it a share is held out, of whole groups
            if there are some.
        validation_split: share held out, in (0, 1); at most 0.5 with groups.
        seed: of the split.
        skip_corrupt: whether to leave out rows that cannot be used.
        verbose: whether to show a progress bar, and to print how the table was read.

    Returns:
        The data, its classes sorted by name.

    Raises:
        FileNotFoundError: if there is no such table or folder.
        ValueError: if it cannot be read, lacks a column, or has rows that cannot be used without
            `skip_corrupt`.
        ImportError: without pyarrow; the message names the extra.
    """
    table = require(table, "table")
    root = table.parent if images is None else require(images, "folder")
    content = _read(table)
    found = _columns(table, content, columns or Columns())
    rows, problems = _rows(table, content, found, root)
    bad = scan_images([row.path for row in rows], verbose=verbose)
    problems += bad
    refuse_problems(problems, "rows", skip_corrupt=skip_corrupt, verbose=verbose)
    unreadable = {path for path, _ in bad}
    rows = [row for row in rows if str(row.path) not in unreadable]
    names = sorted({row.label for row in rows})
    _check_names(table, names)
    if len(names) < 2:
        raise ValueError(f"{table} has {len(names)} classes with images; training needs two.")
    parts = _parts(table, rows, names, validation_split, seed)

    numbers = {name: label for label, name in enumerate(names)}

    def side(chosen: list[_Row]) -> ImageFiles:
        labels = np.array([numbers[row.label] for row in chosen], "int64")
        return ImageFiles([row.path for row in chosen], labels, size, crop, root)

    sides = {part: side(chosen) for part, chosen in parts.items()}
    if verbose:
        _tell(table, found, sides, names)
    return LabelledData(
        sides["train"], sides["validation"], names, crop, problems, sides.get("test")
    )


def _check_names(table: Path, names: list[str]) -> None:
    """Refuses numbers to estimate, which are no classes: decimals, of which not all are whole."""
    try:
        values = np.array(names, "float64")
    except ValueError:
        return
    if len(values) and not np.all(np.mod(values, 1) == 0):
        raise ValueError(
            f"{table} has numbers as labels ({few(names)}), which are no classes. A column of "
            "quantities cannot be trained on."
        )


@dataclass(frozen=True)
class _Row:
    path: Path
    label: str
    part: str | None
    group: str | None


def _read(table: Path) -> dict[str, list[str]]:
    """Every column of single values as text, empty where there is nothing."""
    pyarrow = require_extra("pyarrow", "Tables need", "pyarrow", "tables")
    try:
        if table.suffix.lower() == ".parquet":
            content = require_extra(
                "pyarrow.parquet", "Tables need", "pyarrow", "tables"
            ).read_table(table)
        else:
            content = _read_csv(pyarrow, table)
    except (pyarrow.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as a table: {error}") from error
    if content.num_rows == 0:
        raise ValueError(f"{table} has no rows.")
    if len(set(content.column_names)) < content.num_columns:
        raise ValueError(f"{table} has two columns of one name: {content.column_names}.")
    flat = {
        name: column
        for name, column in zip(content.column_names, content.columns, strict=True)
        if not pyarrow.types.is_nested(column.type) and not pyarrow.types.is_binary(column.type)
    }
    return {
        name: ["" if value is None else str(value).strip() for value in column.to_pylist()]
        for name, column in flat.items()
    }


def _read_csv(pyarrow, table: Path):
    reader = require_extra("pyarrow.csv", "Tables need", "pyarrow", "tables")
    with table.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    delimiter = max("\t;,", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    return reader.read_csv(
        table,
        parse_options=reader.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=reader.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string())),
    )


def _columns(table: Path, content: dict[str, list[str]], asked: Columns) -> Columns:
    """The columns that were asked for, else those with the usual names."""
    found = {}
    for kind, usual in GUESSES.items():
        name = getattr(asked, kind)
        if name is not None and name not in content:
            raise ValueError(
                f"{table} has no column {name!r} of single values. It has {', '.join(content)}."
            )
        guesses = [column for column in content if column.strip().casefold() in usual]
        if name is None and len(guesses) > 1:
            raise ValueError(
                f"{table} has the columns {', '.join(guesses)}, each of which may be the {kind}. "
                f"Say which: --{kind}-column."
            )
        found[kind] = name or next(iter(guesses), None)
        if found[kind] is None and kind in ("path", "label"):
            raise ValueError(
                f"{table} has no column for the {kind}: none of {', '.join(content)} is called "
                f"{', '.join(usual)}. Name it: --{kind}-column."
            )
    return Columns(**found)


def _rows(
    table: Path, content: dict[str, list[str]], columns: Columns, root: Path
) -> tuple[list[_Row], Problems]:
    """The rows that can be used, and the others with the reason."""
    count = len(next(iter(content.values())))

    def column(name: str | None) -> list:
        return [None] * count if name is None else content[name]

    inside = os.path.abspath(root)
    rows: list[_Row] = []
    problems: Problems = []
    seen: dict[str, int] = {}
    lists = _lists(column(columns.label))
    cells = zip(
        *(column(getattr(columns, kind)) for kind in ("path", "label", "split", "group")),
        strict=True,
    )
    for number, (name, label, split, group) in enumerate(cells, start=2):
        path = root / name
        real = os.path.realpath(path)
        part = None if split is None else part_of(split)
        if not name:
            reason = "has no path"
        elif os.path.commonpath([inside, os.path.abspath(path)]) != inside:
            reason = f"names {name}, which is outside {root}"
        elif not path.is_file():
            reason = f"names {path}, which is not there"
        elif not label:
            reason = f"has no label for {name}"
        elif label in lists:
            reason = f"has several labels for {name}: {label!r}; a picture has one"
        elif split is not None and part is None:
            reason = f"has the split {split!r}, which is none of train, validation and test"
        elif group == "":
            reason = f"has no group for {name}"
        elif real in seen:
            reason = f"names {name}, as row {seen[real]} does"
        else:
            seen[real] = number
            rows.append(_Row(path, unicodedata.normalize("NFC", label), part, group))
            continue
        problems.append((f"{table}:{number}", f"{table} row {number} {reason}"))
    return rows, problems


def _lists(labels: list[str]) -> set[str]:
    """Cells that hold several names: with a separator, or a comma between names of other cells."""
    names = {cell: [name.strip() for name in cell.split(",")] for cell in labels}
    counts = Counter(name for parts in names.values() for name in set(parts))
    return {
        cell
        for cell, parts in names.items()
        if any(mark in cell for mark in SEPARATORS)
        or (len(parts) > 1 and any(counts[name] > 1 for name in parts))
    }


def _parts(
    table: Path, rows: list[_Row], names: list[str], validation_split: float, seed: int
) -> dict[str, list[_Row]]:
    """Training, held-out and test rows: as the table says, else split here."""
    parts: dict[str, list[_Row]] = {}
    for row in rows:
        parts.setdefault(row.part or "train", []).append(row)
    train = parts.get("train", [])
    missing = [name for name in names if name not in {row.label for row in train}]
    if missing:
        raise ValueError(f"{table} has no training images of {few(missing)}.")
    _check_groups(table, parts)
    if "validation" in parts:
        return parts
    labels = [names.index(row.label) for row in train]
    if train[0].group is None:
        rare = [name for name, n in Counter(row.label for row in train).items() if n < 2]
        if rare:
            raise ValueError(f"{table} has one image of {few(rare)}; to be split it needs two.")
        kept, held_out = split_indices(labels, validation_split, seed)
    else:
        groups = [row.group for row in train]
        kept, held_out = split_groups(labels, groups, validation_split, seed)
    return {
        **parts,
        "train": [train[i] for i in kept],
        "validation": [train[i] for i in held_out],
    }


def _check_groups(table: Path, parts: dict[str, list[_Row]]) -> None:
    where: dict[str, str] = {}
    for part, rows in parts.items():
        for row in rows:
            if row.group is not None and where.setdefault(row.group, part) != part:
                raise ValueError(
                    f"{table} has the group {row.group!r} in {where[row.group]} and in {part}. A "
                    "group belongs to one part."
                )


def _tell(table: Path, columns: Columns, sides: dict[str, ImageFiles], names: list[str]) -> None:
    """How a table was understood, and which classes cannot be measured."""
    read = ", ".join(f"{kind} from {name!r}" for kind, name in vars(columns).items() if name)
    counts = ", ".join(f"{part}: {len(files):,} images" for part, files in sides.items())
    print(f"{table}: {read}. {counts} of {len(names)} classes ({few(names)})", file=sys.stderr)
    for part, files in sides.items():
        absent = [name for label, name in enumerate(names) if label not in files.labels]
        if absent:
            print(f"{part} has no images of {few(absent)}", file=sys.stderr)
