"""Where pictures are, however many: files, folders, columns of Parquet tables, and addresses.

What a user names becomes pieces of some pictures each, one after the other and never all at once.
A piece is small enough to be sent to another machine, which then reads its pictures.
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

PIECE = 64  # pictures of a piece
BUFFER = 1 << 20  # bytes of a column that are read at once
TABLE = ".parquet"


class Piece(Protocol):
    """Some pictures."""

    def __len__(self) -> int: ...

    def cut(self, count: int) -> tuple["Piece", "Piece"]:
        """The first so many, and the others."""

    def names(self) -> list[str]:
        """What each picture is called."""

    def marks(self) -> list[str]:
        """What else tells it from other pictures of these names."""

    def contents(self, readers: dict) -> Iterator[str | bytes]:
        """A path, an address or the encoded picture of each.

        `readers` keeps what was read of a row group up to a row, for the piece that begins there;
        the caller's, for as long as it reads one piece after the other.
        """

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

    def marks(self) -> list[str]:
        """None."""
        return []

    def contents(self, readers: dict) -> Iterator[str | bytes]:
        """The paths."""
        return iter(self.paths)

    def as_json(self) -> str:
        """The paths."""
        return json.dumps({"paths": self.paths})


@dataclass(frozen=True)
class Rows:
    """Encoded pictures in a column of a Parquet table: rows of one of its row groups.

    `first` counts in the table, `skip` in the group; `inside` says that the column holds structures
    with `bytes`, as the `datasets` library writes them; `mark` is another for another table.
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
        """The first so many, and the others."""
        rest = replace(
            self, skip=self.skip + count, first=self.first + count, count=self.count - count
        )
        return replace(self, count=count), rest

    def names(self) -> list[str]:
        """`table#row`."""
        return [f"{self.table}#{self.first + row}" for row in range(self.count)]

    def marks(self) -> list[str]:
        """That of the table."""
        return [str(self.mark)]

    def contents(self, readers: dict) -> Iterator[str | bytes]:
        """The bytes of each; empty ones where there are none."""
        key = self.table, self.column, self.group
        reader = readers.pop((*key, self.skip), None) or islice(_values(self), self.skip, None)
        yield from islice(reader, self.count)
        readers.clear()
        readers[(*key, self.skip + self.count)] = reader

    def as_json(self) -> str:
        """All there is to know."""
        return json.dumps(asdict(self))


def _values(rows: Rows) -> Iterator[bytes]:
    """All encoded pictures of a row group."""
    column = f"{rows.column}.bytes" if rows.inside else rows.column
    with opened(rows.table) as file:
        try:
            content = _parquet_file(file, rows.table)
            for batch in content.iter_batches(PIECE, row_groups=[rows.group], columns=[column]):
                values = batch.column(0)
                for value in values.field(0) if rows.inside else values:
                    yield value.as_py() or b""
        except OSError as error:  # pyarrow's word for damage inside
            raise ValueError(f"{rows.table} is damaged: {in_one_line(error)}") from error


def piece_of(text: str) -> Piece:
    """A piece from `as_json`."""
    content = json.loads(text)
    return Files(tuple(content["paths"])) if "paths" in content else Rows(**content)


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
        places: files; folders of pictures, or of tables, each listed when it is reached; tables
            (`.parquet`), read row group by row group; all of them on this machine or behind an
            address that `fsspec` knows.
        column: of the tables, with encoded pictures or with paths, which may be relative to the
            table; `None` for the only one that holds pictures, else the one with a usual name of
            paths.

    Raises:
        ValueError: for a table that cannot be read or has no such column, or a folder that holds
            tables beside other files.
        ImportError: for an address without fsspec, a table without pyarrow; the message names the
            extra.
        OSError: if an address cannot be listed.
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
    """Paths of a folder, whose tables may name the pictures beside them: one or the other."""
    kinds: dict[bool, str] = {}
    for path in paths:
        kinds.setdefault(path.endswith(TABLE), path)
        if len(kinds) > 1:
            raise ValueError(
                f"{folder} holds tables ({kinds[True]}) beside other files ({kinds[False]}), whose "
                "pictures may be the same. Name one of them, or move the others away."
            )
        yield path


def _in_pieces(paths: Iterator[str]) -> Iterator[Files]:
    while some := tuple(islice(paths, PIECE)):
        yield Files(some)


def _parquet_file(file, table: str):
    parquet = require_extra("pyarrow.parquet", "Tables need", "pyarrow", "tables")
    try:
        return parquet.ParquetFile(file, buffer_size=BUFFER)
    except Exception as error:  # pyarrow has several classes for damage
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
    """Checksum of a table's first pictures, and of its footer with the size of each column."""
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
