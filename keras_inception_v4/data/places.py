"""Any number of pictures, in files, folders, columns of Parquet tables, or at addresses.

The places that a user names are split lazily into pieces of a few pictures each. A piece is small
enough to send to another machine, which then reads the pictures.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol

from keras_inception_v4.data.addresses import listed, opened
from keras_inception_v4.data.columns import GUESSES
from keras_inception_v4.data.layout import walk_files
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import is_address, require

PIECE = 64  # pictures per piece of files, and per read of a column
BUFFER = 1 << 20  # bytes to read at once from a column
TABLE = ".parquet"


class Piece(Protocol):
    """A few pictures that are read together."""

    def __len__(self) -> int: ...

    def cut(self, count: int) -> tuple["Piece", "Piece"]:
        """Split into the first `count` pictures and the others."""

    def names(self) -> list[str]:
        """Return the name of each picture."""

    def marks(self) -> list[str]:
        """Return what else distinguishes this piece from another with the same names."""

    def contents(self, readers: dict) -> Iterator[str | bytes]:
        """Return a path, an address or the encoded bytes of each picture.

        `readers` is a dict that the caller keeps while it reads pieces in order. It holds the open
        reader of a row group, with which the next piece continues.
        """

    def as_json(self) -> str:
        """Return the piece as text, from which `piece_of` restores it."""


@dataclass(frozen=True)
class Files:
    """Files by path or address."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def cut(self, count: int) -> tuple["Files", "Files"]:
        """Split into the first `count` pictures and the others."""
        return Files(self.paths[:count]), Files(self.paths[count:])

    def names(self) -> list[str]:
        """Return the paths."""
        return list(self.paths)

    def marks(self) -> list[str]:
        """Return no marks: the paths are enough."""
        return []

    def contents(self, readers: dict) -> Iterator[str | bytes]:
        """Iterate over the paths."""
        return iter(self.paths)

    def as_json(self) -> str:
        """Return the paths as JSON."""
        return json.dumps({"paths": self.paths})


@dataclass(frozen=True)
class Rows:
    """Rows of one row group of a Parquet table, with encoded pictures in a column.

    The first row has the index `first` in the table and `skip` in the row group `group`. `inside`
    is true if the column holds structures with `bytes`, as the `datasets` library writes them.
    `mark` is a checksum that distinguishes tables.
    """

    table: str
    column: str
    inside: bool
    group: int
    skip: int
    first: int
    count: int
    mark: int

    def __len__(self) -> int:
        return self.count

    def cut(self, count: int) -> tuple["Rows", "Rows"]:
        """Split into the first `count` pictures and the others."""
        rest = replace(
            self, skip=self.skip + count, first=self.first + count, count=self.count - count
        )
        return replace(self, count=count), rest

    def names(self) -> list[str]:
        """Return `table#row` for each picture."""
        return [f"{self.table}#{self.first + row}" for row in range(self.count)]

    def marks(self) -> list[str]:
        """Return the mark of the table."""
        return [str(self.mark)]

    def contents(self, readers: dict) -> Iterator[str | bytes]:
        """Yield the bytes of each picture; empty bytes for a missing one."""
        key = self.table, self.column, self.group
        reader = readers.pop((*key, self.skip), None) or islice(_values(self), self.skip, None)
        yield from islice(reader, self.count)
        readers.clear()
        readers[(*key, self.skip + self.count)] = reader

    def as_json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps(asdict(self))


def _values(rows: Rows) -> Iterator[bytes]:
    """Yield all encoded pictures of a row group."""
    column = f"{rows.column}.bytes" if rows.inside else rows.column
    with opened(rows.table) as file:
        try:
            content = _parquet_file(file, rows.table)
            for batch in content.iter_batches(PIECE, row_groups=[rows.group], columns=[column]):
                values = batch.column(0)
                for value in values.field(0) if rows.inside else values:
                    yield value.as_py() or b""
        except OSError as error:  # pyarrow raises it for damaged content
            raise ValueError(f"{rows.table} is damaged: {in_one_line(error)}") from error


def piece_of(text: str) -> Piece:
    """Restore a piece from the text of `as_json`."""
    content = json.loads(text)
    return Files(tuple(content["paths"])) if "paths" in content else Rows(**content)


def check_place(place: str | os.PathLike) -> None:
    """Check that a path exists. Addresses are not checked until they are read.

    Raises:
        FileNotFoundError: If the path does not exist.
    """
    if not is_address(place):
        require(place, "image file, folder or table")


def pieces(places: Sequence[str | os.PathLike], column: str | None = None) -> Iterator[Piece]:
    """Yield the pictures at some places in pieces, in order.

    Args:
        places: Files, folders and tables, as paths or as addresses that `fsspec` can read. Folders
            hold pictures or tables and are listed when they are reached. Tables (`.parquet`) are
            read by row group.
        column: Column of the tables with encoded pictures, or with paths, which may be relative to
            the table's folder. `None` takes the only column of pictures. Without one, it takes the
            column with a usual name for paths.

    Raises:
        ValueError: If a table cannot be read or has no such column, or a folder holds tables
            beside other files.
        ImportError: If fsspec is missing for an address, or pyarrow for a table; the message names
            the extra.
        OSError: If an address cannot be listed.
    """
    for is_table, paths in groupby(_paths(places), lambda path: path.endswith(TABLE)):
        if is_table:
            for table in paths:
                yield from _of_table(table, column)
        else:
            yield from _in_pieces(paths)


def _paths(places: Sequence[str | os.PathLike]) -> Iterator[str]:
    for given in places:
        place = os.fspath(given)
        if is_address(place):
            yield from _of_one_kind(place, listed(place))
        elif os.path.isdir(place):
            yield from _of_one_kind(place, map(str, walk_files(Path(place))))
        else:
            yield place


def _of_one_kind(folder: str, paths: Iterator[str]) -> Iterator[str]:
    """Yield a folder's paths, which must not mix tables with files that these may list."""
    kinds: dict[bool, str] = {}
    for path in paths:
        kinds.setdefault(path.endswith(TABLE), path)
        if len(kinds) > 1:
            raise ValueError(
                f"{folder} holds tables ({kinds[True]}) beside other files ({kinds[False]}). "
                "They may be the same pictures. Pass one kind, or move the others away."
            )
        yield path


def _in_pieces(paths: Iterator[str]) -> Iterator[Files]:
    while some := tuple(islice(paths, PIECE)):
        yield Files(some)


def _parquet_file(file, table: str):
    parquet = require_extra("pyarrow.parquet", "Tables need", "pyarrow", "tables")
    try:
        return parquet.ParquetFile(file, buffer_size=BUFFER)
    except Exception as error:  # pyarrow raises several classes for damaged files
        raise ValueError(f"{table} cannot be read as a table: {in_one_line(error)}") from error


def _of_table(table: str, column: str | None) -> Iterator[Piece]:
    with opened(table) as file:
        content = _parquet_file(file, table)
        name, kind = _column(table, content.schema_arrow, column)
        if kind == "path":
            yield from _in_pieces(_paths_in(table, content, name))
            return
        first, mark = 0, _mark(file)
        for group in range(content.metadata.num_row_groups):
            count = content.metadata.row_group(group).num_rows
            rows = Rows(table, name, kind == "inside", group, 0, first, count, mark)
            first += count
            if len(rows):
                yield rows


def _mark(file) -> int:
    """Return a checksum of a table's first `BUFFER` bytes and its footer with the column sizes."""
    file.seek(0)
    first = zlib.crc32(file.read(BUFFER))
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-8 - length, os.SEEK_END)
    return zlib.crc32(file.read(length), first)


def _paths_in(table: str, content, column: str) -> Iterator[str]:
    above = table.rpartition("/")[0]
    for batch in content.iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            path = value or ""
            if is_address(path) or os.path.isabs(path) or not above:
                yield path
            else:
                yield f"{above}/{path}"


def _column(table: str, schema, asked: str | None) -> tuple[str, str]:
    """Return the column with the pictures and its kind: `"bytes"`, `"inside"` or `"path"`."""
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
