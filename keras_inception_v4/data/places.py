"""Where pictures are, however many: files, folders, columns of Parquet tables, and addresses.

What a user names becomes pieces of some pictures each, one after the other and never all at once.
A piece is small enough to be sent to another machine, which then reads its pictures.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from keras_inception_v4.data.columns import GUESSES
from keras_inception_v4.data.layout import walk_files
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import require

PIECE = 64  # pictures of a piece
SCHEME = "://"
TABLE = ".parquet"


class Piece(Protocol):
    """Some pictures."""

    def __len__(self) -> int: ...

    def cut(self, count: int) -> tuple["Piece", "Piece"]:
        """The first so many, and the others."""

    def names(self) -> list[str]:
        """What each picture is called."""

    def contents(self) -> Iterator[str | bytes]:
        """A path, an address or the encoded picture of each."""

    def as_json(self) -> str:
        """Text from which `piece_of` makes it again."""


@dataclass(frozen=True)
class Files:
    """Files by their paths or addresses."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def cut(self, count: int) -> tuple["Files", "Files"]:
        """The first so many, and the others."""
        return Files(self.paths[:count]), Files(self.paths[count:])

    def names(self) -> list[str]:
        """The paths."""
        return list(self.paths)

    def contents(self) -> Iterator[str | bytes]:
        """The paths."""
        return iter(self.paths)

    def as_json(self) -> str:
        """The paths."""
        return json.dumps({"paths": self.paths})


@dataclass(frozen=True)
class Rows:
    """Encoded pictures in a column of a Parquet table: rows of one of its row groups.

    `first` counts in the table, `skip` in the group; `inside` says that the column holds structures
    with `bytes`, as the `datasets` library writes them.
    """

    table: str
    column: str
    inside: bool
    group: int
    skip: int
    first: int
    count: int

    def __len__(self) -> int:
        return self.count

    def cut(self, count: int) -> tuple["Rows", "Rows"]:
        """The first so many, and the others."""
        rest = replace(
            self, skip=self.skip + count, first=self.first + count, count=self.count - count
        )
        return replace(self, count=count), rest

    def names(self) -> list[str]:
        """`table#row`."""
        return [f"{self.table}#{self.first + row}" for row in range(self.count)]

    def contents(self) -> Iterator[str | bytes]:
        """The bytes of each; empty ones where there are none."""
        column = f"{self.column}.bytes" if self.inside else self.column
        seen, end = 0, self.skip + self.count
        with _opened(self.table) as file:
            batches = _parquet_file(file, self.table).iter_batches(
                PIECE, row_groups=[self.group], columns=[column]
            )
            for batch in batches:
                values = batch.column(0)
                if self.inside:
                    values = values.field(0)
                for row in range(max(self.skip - seen, 0), min(end - seen, len(values))):
                    yield values[row].as_py() or b""
                seen += len(values)
                if seen >= end:
                    return

    def as_json(self) -> str:
        """All there is to know."""
        return json.dumps(asdict(self))


def piece_of(text: str) -> Piece:
    """A piece from `as_json`."""
    content = json.loads(text)
    return Files(tuple(content["paths"])) if "paths" in content else Rows(**content)


def is_address(place: str | os.PathLike) -> bool:
    """Whether this is an address of another file system, such as `s3://bucket/photos`."""
    return SCHEME in os.fspath(place)


def check_place(place: str | os.PathLike) -> None:
    """Checks that a path is there; addresses are only tried when they are reached.

    Raises:
        FileNotFoundError: if it is not.
    """
    if not is_address(place):
        require(place, "image file, folder or table")


def pieces(places: Sequence[str | os.PathLike], column: str | None = None) -> Iterator[Piece]:
    """The pictures at some places, in order.

    Args:
        places: files; folders, which are listed as they are reached; tables (`.parquet`), read row
            group by row group; all of them on this machine or behind an address that `fsspec`
            knows.
        column: of the tables, with encoded pictures or with paths, which may be relative to the
            table; `None` for the only one that holds pictures, else the one with a usual name of
            paths.

    Raises:
        ValueError: for a table that cannot be read or has no such column.
        ImportError: for an address without fsspec, a table without pyarrow; the message names the
            extra.
        OSError: if an address cannot be read.
    """
    paths: list[str] = []
    for given in places:
        place = os.fspath(given)
        if is_address(place) or os.path.isdir(place) or place.endswith(TABLE):
            yield from _in_pieces(iter(paths))
            paths = []
        if place.endswith(TABLE):
            yield from _of_table(place, column)
        elif is_address(place):
            yield from _in_pieces(_listed(place))
        elif os.path.isdir(place):
            yield from _in_pieces(map(str, walk_files(Path(place))))
        else:
            paths.append(place)
    yield from _in_pieces(iter(paths))


def _in_pieces(paths: Iterator[str]) -> Iterator[Files]:
    some: list[str] = []
    for path in paths:
        some.append(path)
        if len(some) == PIECE:
            yield Files(tuple(some))
            some = []
    if some:
        yield Files(tuple(some))


def _file_system(address: str):
    fsspec = require_extra("fsspec", f"{address} needs", "fsspec", "ray")
    return fsspec.core.url_to_fs(address)


def _listed(address: str) -> Iterator[str]:
    """Addresses of the visible files below one, or of the file itself."""
    system, root = _file_system(address)
    if not system.isdir(root):
        yield address
        return
    for folder, _, files in system.walk(root):
        if any(part.startswith(".") for part in folder.removeprefix(root).split("/")):
            continue
        for name in sorted(files):
            if name and not name.startswith("."):
                yield system.unstrip_protocol(f"{folder.rstrip('/')}/{name}")


def fetched(source: str | bytes) -> str | bytes:
    """What `load_image` takes: a path or bytes as they are, or what is at an address.

    Raises:
        OSError: if it cannot be read.
    """
    if isinstance(source, bytes) or not is_address(source):
        return source
    system, path = _file_system(source)
    return system.cat_file(path)


def _opened(table: str):
    if not is_address(table):
        return open(table, "rb")
    system, path = _file_system(table)
    return system.open(path, "rb")


def _parquet_file(file, table: str):
    parquet = require_extra("pyarrow.parquet", "Tables need", "pyarrow", "tables")
    try:
        return parquet.ParquetFile(file)
    except Exception as error:  # pyarrow has several classes for damage
        raise ValueError(f"{table} cannot be read as a table: {in_one_line(error)}") from error


def _of_table(table: str, column: str | None) -> Iterator[Piece]:
    with _opened(table) as file:
        content = _parquet_file(file, table)
        name, kind = _column(table, content.schema_arrow, column)
        if kind == "path":
            yield from _in_pieces(_paths(table, content, name))
            return
        first = 0
        for group in range(content.metadata.num_row_groups):
            count = content.metadata.row_group(group).num_rows
            rows = Rows(table, name, kind == "inside", group, 0, first, count)
            first += count
            if len(rows):
                yield rows


def _paths(table: str, content, column: str) -> Iterator[str]:
    above = table.rpartition("/")[0]
    for batch in content.iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            path = value or ""
            if is_address(path) or os.path.isabs(path) or not above:
                yield path
            else:
                yield f"{above}/{path}"


def _column(table: str, schema, asked: str | None) -> tuple[str, str]:
    """The column with the pictures, and what it holds: `"bytes"`, `"inside"` or `"path"`."""
    kinds = {field.name: kind for field in schema if (kind := _kind(field.type))}
    shown = ", ".join(schema.names)
    if asked is not None:
        if asked not in kinds:
            raise ValueError(
                f"{table} has no column {asked!r} of pictures or of paths. It has {shown}."
            )
        return asked, kinds[asked]
    pictures = [name for name, kind in kinds.items() if kind != "path"]
    found = pictures or [n for n in kinds if n.strip().casefold() in GUESSES["path"]]
    if len(found) != 1:
        what = f"several such columns ({', '.join(found)})" if found else "no such column"
        raise ValueError(
            f"{table} needs one column of pictures, or of paths with a usual name, and has {what} "
            f"among {shown}. Say which: --column."
        )
    return found[0], kinds[found[0]]


def _kind(type_) -> str | None:
    from pyarrow import types

    if types.is_binary(type_) or types.is_large_binary(type_):
        return "bytes"
    if types.is_string(type_) or types.is_large_string(type_):
        return "path"
    if types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
        return "inside"
    return None
