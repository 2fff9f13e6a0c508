"""Write the predictions for every image to a Parquet or CSV file."""

import csv
import os
from pathlib import Path

from keras_inception_v4.files import printable, replacing
from keras_inception_v4.inference.answering import PATH
from keras_inception_v4.inference.parts import require_parquet

KINDS = (".parquet", ".csv")
BETWEEN = "|"  # separates the items of a list in a cell, as in label tables


def check_answers_file(path: str | os.PathLike) -> None:
    """Check that predictions can be written to a file of this name.

    Raises:
        ValueError: If the name ends in neither `.parquet` nor `.csv`.
        ImportError: If a Parquet file is asked for and pyarrow is not installed. The message
            names the extra.
    """
    if Path(path).suffix not in KINDS:
        raise ValueError(f"Received answers={str(path)!r}. It must end in {' or '.join(KINDS)}.")
    if Path(path).suffix == ".parquet":
        require_parquet()


def write_answers(path: str | os.PathLike, paths: list[str], columns: dict[str, list]) -> None:
    """Write a table with one row per image; no partial file is ever left.

    Args:
        path: Path of a `.parquet` or `.csv` file. Parquet keeps lists as lists. In CSV their items
            are joined by `|`.
        paths: Paths of the images, for the first column.
        columns: Columns as returned by `evaluation.columns_of`.

    Raises:
        OSError: If the file cannot be written.
    """
    told = {name: [_printable(value) for value in values] for name, values in columns.items()}
    table = {PATH: [printable(each) for each in paths], **told}
    with replacing(path) as new:
        if new.suffix == ".parquet":
            require_parquet().write_table(_arrow(table), new)
            return
        with open(new, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(table)
            writer.writerows(
                [_cell(value) for value in row] for row in zip(*table.values(), strict=True)
            )


def _printable(value):
    """Escape undecodable bytes: class names may come from folder names that are not valid text."""
    if isinstance(value, list):
        return [_printable(part) for part in value]
    return printable(value) if isinstance(value, str) else value


def _arrow(table: dict[str, list]):
    import pyarrow

    def array(values):
        if not isinstance(values[0], list):
            return pyarrow.array(values)
        first = next((value for row in values for value in row), "")  # empty lists are of names
        kind = pyarrow.string() if isinstance(first, str) else pyarrow.float64()
        return pyarrow.array(values, pyarrow.list_(kind))

    return pyarrow.table({name: array(values) for name, values in table.items()})


def _cell(value):
    return BETWEEN.join(map(str, value)) if isinstance(value, list) else value
