"""Findings of an audit: a table with a row for each, and what a training leaves out by it."""

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
"""In the order of a table of findings: what is certain comes first."""
EXCLUDED = (UNREADABLE, EXACT, NEAR, PLAIN, LABEL)
"""Kinds that a training is better without."""


class Finding(NamedTuple):
    """Something that is wrong, or may be, with a picture.

    Attributes:
        path: Picture, relative to the audited folder or the folder of the table's images; in a
            file of records the file and the number.
        kind: One of `KINDS`.
        detail: What was seen, in words.
        score: From 0, most certainly wrong, to 1. Scores of one kind can be compared.
        other: Picture that it is a duplicate of, else empty.
        label: What the data say that it shows; several names have `|` between them.
        suggested: What it rather shows, else empty.
        part: Part of the data set, `"train"`, `"validation"` or `"test"`; else empty.
        exclude: Whether `train --exclude` leaves it out.
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
    """Write the findings as Parquet, whole or not at all.

    Raises:
        ImportError: without pyarrow; the message names the extra.
        OSError: if the file cannot be written.
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
    """Check that findings can be written under this name.

    Raises:
        ValueError: if it does not end in `.parquet`.
        ImportError: without pyarrow; the message names the extra.
        OSError: if its folder takes no file.
    """
    if Path(path).suffix != ".parquet":
        raise ValueError(f"Received output={str(path)!r}. It must end in .parquet.")
    _parquet()
    check_name(path)


def read_exclusions(path: str | os.PathLike) -> frozenset[str]:
    """Read which pictures a training leaves out.

    Args:
        path: `.parquet` of an audit, or of one's own with a column `path`. Where it has a column
            `exclude`, rows that are false there do not count.

    Returns:
        Pictures, named as in `Finding`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table.
        ImportError: without pyarrow; the message names the extra.
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
    """Find which places of a data set are excluded, each with that reason.

    Args:
        places: Paths, records, and rows that cannot be used.
        root: Folder that paths are relative to.
        exclude: As `read_exclusions` gives them.

    Raises:
        ValueError: if pictures are to be excluded and none of them is in the data set.
    """
    found = {
        str(place): f"{place} is excluded by the findings"
        for place in (places if exclude else ())
        if name_in_findings(place, root) in exclude
    }
    if exclude and not found:
        raise ValueError(
            f"None of the {len(exclude)} pictures to exclude is in the data; one is called "
            f"{min(exclude)!r}. Findings name pictures relative to the audited folder, or to that "
            f"of a table's images; here that is {root}."
        )
    return found


def name_in_findings(place, root: str | os.PathLike) -> str:
    """Name a picture as findings do.

    Args:
        place: Its path, or its record in a file of many.
        root: Folder that paths are relative to.
    """
    if not isinstance(place, Path):
        return printable(str(place))
    return printable(Path(os.path.relpath(place, root)).as_posix())


def _parquet():
    return require_extra("pyarrow.parquet", "Findings need", "pyarrow", "tables")
