"""Findings of an audit: writing them as a table, and excluding their pictures from training."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_inception_v4.errors import require_extra
from keras_inception_v4.files import check_name, printable, replacing, require

UNREADABLE = "unreadable"
EXACT = "exact duplicate"
NEAR = "near duplicate"
PLAIN = "one colour"
LABEL = "label"
ODD = "odd one out"
CUT = "cut by the crop"
SMALL = "small"
KINDS = (UNREADABLE, EXACT, NEAR, PLAIN, LABEL, ODD, CUT, SMALL)
"""Kinds of findings, in the order of a table of findings: the most certain first."""
EXCLUDED = (UNREADABLE, EXACT, NEAR, PLAIN, LABEL)
"""Kinds whose pictures are best left out of training."""


class Finding(NamedTuple):
    """A certain or possible problem with a picture.

    Attributes:
        path: Path of the picture, relative to the audited folder or to the folder of the table's
            images. For a record, its file and number.
        kind: One of `KINDS`.
        detail: Description of the problem.
        score: Score from 0 (most certainly wrong) to 1, comparable within one kind.
        other: Picture that this one duplicates, else empty.
        label: Label in the data; several names are separated by `|`.
        suggested: Label that fits better, else empty.
        part: Part of the dataset, `"train"`, `"validation"` or `"test"`, else empty.
        exclude: Whether `train --exclude` leaves the picture out.
    """

    path: str
    kind: str
    detail: str
    score: float = 0.0
    other: str = ""
    label: str = ""
    suggested: str = ""
    part: str = ""
    exclude: bool = True


def write_findings(path: str | os.PathLike, findings: Sequence[Finding]) -> None:
    """Write the findings as a Parquet file, completely or not at all.

    Raises:
        ImportError: If pyarrow is missing; the message names the extra.
        OSError: If the file cannot be written.
    """
    import pyarrow

    columns = {
        name: pyarrow.array([getattr(finding, name) for finding in findings], kind)
        for name, kind in (
            *((name, pyarrow.string()) for name in ("path", "kind", "detail")),
            ("score", pyarrow.float64()),
            *((name, pyarrow.string()) for name in ("other", "label", "suggested", "part")),
            ("exclude", pyarrow.bool_()),
        )
    }
    with replacing(path) as new:
        _parquet().write_table(pyarrow.table(columns), new)


def check_findings_file(path: str | os.PathLike) -> None:
    """Check that findings can be written to this path.

    Raises:
        ValueError: If it does not end in `.parquet`.
        ImportError: If pyarrow is missing; the message names the extra.
        OSError: If the file name is too long.
    """
    if Path(path).suffix != ".parquet":
        raise ValueError(f"Received output={str(path)!r}. It must end in .parquet.")
    _parquet()
    check_name(path)


def read_exclusions(path: str | os.PathLike) -> frozenset[str]:
    """Read which pictures to leave out of training.

    Args:
        path: Parquet file of an audit, or any other with a column `path`. If there is a column
            `exclude`, only rows where it is true count.

    Returns:
        The names of the pictures, as in `Finding`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or has no column `path`.
        ImportError: If pyarrow is missing; the message names the extra.
    """
    file = require(path, "file of findings")
    parquet = _parquet()
    import pyarrow

    try:
        table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as findings: {error}") from error
    if "path" not in table.column_names:
        raise ValueError(
            f"{file} has the columns {', '.join(table.column_names)}. Findings have a column path."
        )
    paths = table["path"].to_pylist()
    if "exclude" not in table.column_names:
        return frozenset(paths)
    chosen = zip(paths, table["exclude"].to_pylist(), strict=True)
    return frozenset(path for path, exclude in chosen if exclude)


def excluded_places(
    places: Iterable, root: str | os.PathLike, exclude: frozenset[str]
) -> dict[str, str]:
    """Find which pictures of a dataset are excluded, each with a text that says so.

    Args:
        places: Paths, records, and rows that cannot be used.
        root: Folder that paths are relative to.
        exclude: Names of the pictures to exclude, from `read_exclusions`.

    Raises:
        ValueError: If `exclude` is not empty and none of its pictures is in the dataset.
    """
    found = {
        str(place): f"{place} is excluded by the findings"
        for place in (places if exclude else ())
        if name_in_findings(place, root) in exclude
    }
    if exclude and not found:
        raise ValueError(
            f"None of the {len(exclude)} pictures to exclude is in the data, for example "
            f"{min(exclude)!r}. Their paths must be relative to the audited folder or to "
            f"the folder of a table's images, here {root}."
        )
    return found


def name_in_findings(place, root: str | os.PathLike) -> str:
    """Return the name of a picture as findings have it.

    Args:
        place: Path of the picture, or its record in a file of many.
        root: Folder that paths are relative to.
    """
    if not isinstance(place, Path):
        return printable(str(place))
    return printable(Path(os.path.relpath(place, root)).as_posix())


def _parquet():
    return require_extra("pyarrow.parquet", "Findings need", "pyarrow", "tables")
