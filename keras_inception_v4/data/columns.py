"""Columns of a table: reading them as text, and finding the path, label, split and group."""

import csv
from dataclasses import dataclass
from pathlib import Path

from keras_inception_v4.architecture import MULTI_LABEL, SINGLE_LABEL
from keras_inception_v4.data.cells import is_flag
from keras_inception_v4.errors import require_extra

GUESSES = {
    "path": ("path", "file", "filename", "filepath", "file_name", "image", "image_path"),
    "label": ("label", "labels", "class", "target", "image/class/label"),
    "split": ("split",),
    "group": ("group",),
}
"""Usual column names, in upper or lower case, for columns that are not named by the user."""
LABEL = ("label",)
BOTH = ("path", "label")


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns; `None` looks for the usual ones (`GUESSES`).

    `label` may name several, separated by commas.
    """

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None


def read_table(table: Path) -> dict[str, list[str]]:
    """Read every column as text, with empty strings for missing values.

    Columns of lists, structures and bytes are left out.

    Raises:
        ValueError: If the table cannot be read, has no rows, or has two columns of the same name.
        ImportError: If pyarrow is missing; the message names the extra.
    """
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
    names = [name.strip() for name in content.column_names]
    if len(set(names)) < len(names):
        raise ValueError(f"{table} has two columns of the same name: {names}.")
    flat = {
        name: column
        for name, column in zip(names, content.columns, strict=True)
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


def find_columns(
    table: Path,
    content: dict[str, list[str]],
    asked: Columns,
    task: str | None,
    names,
    needed: tuple[str, ...],
) -> dict[str, list[str]]:
    """Find the columns of each kind (a key of `GUESSES`) by the given or the usual names.

    If no label column is asked for, columns named like all of the model's outputs come first (not
    for single-label), then a column with a usual name. Without one, several columns of only 0 and
    1 are taken (if the task is multi-label or not given).

    Args:
        table: Table with these columns; errors name it.
        content: Column names, each with its cells as text.
        asked: Column names given by the user.
        task: One of `TASKS`, or `None`.
        names: Names of a model's classes or quantities, which may be columns; or `None`.
        needed: Kinds of columns that must be found.

    Returns:
        Names of the columns of each kind, possibly none.

    Raises:
        ValueError: If a column is missing, or if several have a usual name for one kind.
    """
    found: dict[str, list[str]] = {}
    for kind, usual in GUESSES.items():
        if kind == "path" and kind not in needed:  # records contain their images
            found[kind] = []
            continue
        name = getattr(asked, kind)
        several = kind == "label" and name is not None and name not in content
        wanted = [part.strip() for part in name.split(",")] if several else [name] if name else []
        for column in wanted:
            if column not in content:
                raise ValueError(
                    f"{table} has no column {column!r} of single values. It has "
                    f"{', '.join(content)}."
                )
        guesses = [column for column in content if column.strip().casefold() in usual]
        if not wanted and len(guesses) > 1:
            raise ValueError(
                f"{table} has the columns {', '.join(guesses)}, each of which may be the {kind}. "
                f"Say which: --{kind}-column."
            )
        found[kind] = wanted or guesses
    if not asked.label and names and task != SINGLE_LABEL and set(names) <= content.keys():
        found["label"] = list(names)
    if not found["label"] and task in (None, MULTI_LABEL):
        taken = {name for names in found.values() for name in names}
        flags = [
            name
            for name, cells in content.items()
            if name not in taken and any(cells) and all(map(is_flag, filter(None, cells)))
        ]
        found["label"] = flags if len(flags) > 1 else []
    for kind in needed:
        if not found[kind]:
            raise ValueError(
                f"{table} has no column for the {kind}: none of {', '.join(content)} is called "
                f"{', '.join(GUESSES[kind])}. Name it: --{kind}-column."
            )
    return found
