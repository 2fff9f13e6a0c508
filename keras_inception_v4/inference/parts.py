"""Parquet in parts: each written whole or not at all, and recognised when the call is repeated."""

import json
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from keras_inception_v4.data.places import Piece
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import read_json, remove_temporary, replacing, write_json
from keras_inception_v4.inference.answering import PATH, REASON

RUN, LEFT_OUT = "run.json", "left_out.parquet"
LEFT = ".left_out"  # in the folder: what each part leaves out
LISTED = b"keras_inception_v4_files"  # in a part's metadata: which pictures it answers
CALL = b"keras_inception_v4_call"  # in a file's metadata: what made it, of what, and its counts


class Streamed(NamedTuple):
    """How many files were answered and left out, those of an interrupted call before too."""

    answered: int
    left_out: int


class Part(NamedTuple):
    """A part that is to be written: its file, how many pictures it has, and which they are."""

    path: Path
    pictures: int
    listed: bytes


def require_parquet():
    """Imports and returns `pyarrow.parquet`.

    Raises:
        ImportError: without it; the message names the extra.
    """
    return require_extra("pyarrow.parquet", "Parquet needs", "pyarrow", "tables")


def is_file(output: Path) -> bool:
    """Whether one file is wanted, not a folder of parts."""
    return output.suffix == ".parquet"


def begin(folder: Path, known: dict) -> None:
    """Makes the folder, or checks that it holds the same work."""
    if (folder / RUN).is_file():
        recorded = read_json(folder / RUN)
        different = sorted(k for k in known | recorded if known.get(k) != recorded.get(k))
        if different and not any(folder.glob("part-*.parquet")):
            (folder / RUN).unlink()  # which came to nothing
        elif different:
            changes = ", ".join(
                f"{name} is {recorded.get(name)!r} there and {known.get(name)!r} here"
                for name in different
            )
            raise ValueError(f"{folder} holds answers of another call: {changes}. Name another.")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there and holds something else. Name another place.")
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder)
    if not (folder / RUN).is_file():
        write_json(folder / RUN, known)


def name_of_part(number: int) -> str:
    """Of its file."""
    return f"part-{number:05}.parquet"


def listed_of(group: list[Piece]) -> bytes:
    """Tells which pictures a part has."""
    names = [name for piece in group for name in piece.names()]
    marks = [mark for piece in group for mark in piece.marks()]
    text = "\n".join([*names, *marks]).encode("utf-8", "surrogateescape")
    return f"{len(names)} {zlib.crc32(text)}".encode()


def finished(output: Path, folder: Path, known: dict, listed: Iterable[bytes]) -> Streamed:
    """What a file says that the same call made of the same pictures.

    Args:
        output: the file.
        folder: of its parts, which an interruption may have left.
        known: what decides the answers.
        listed: of each part, as `listed_of`.

    Raises:
        ValueError: if it is of another call or other pictures, or of somebody else.
    """
    try:
        told = json.loads(require_parquet().read_metadata(output).metadata[CALL])
    except Exception:  # no Parquet, or that of others
        told = {}
    if told.get("known") != json.loads(json.dumps(known)):
        raise ValueError(f"{output} exists. Name another file, or remove it.")
    if told["listed"] != digest(listed):
        raise ValueError(
            f"{output} holds answers for other files than are there now. Name another file, or "
            "remove it."
        )
    shutil.rmtree(folder, ignore_errors=True)
    return Streamed(*told["count"])


def digest(listed: Iterable[bytes]) -> int:
    """A number that tells which pictures all parts have."""
    return zlib.crc32(b"\n".join(listed))


def check_part(part: Part) -> Streamed:
    """Rows of a part that is there, if it is of these files."""
    path = part.path
    try:
        metadata = require_parquet().read_metadata(path)
    except Exception as error:  # pyarrow has several classes for damage
        raise ValueError(
            f"{path} is damaged ({in_one_line(error)}). Delete it, and the same call answers its "
            "files again."
        ) from error
    if (metadata.metadata or {}).get(LISTED) != part.listed:
        raise ValueError(
            f"{path} holds answers for other files than are there now: some were added, removed or "
            "renamed. Name another output, or put them back."
        )
    return Streamed(metadata.num_rows, part.pictures - metadata.num_rows)


def write_part(part: Part, tables: list) -> Streamed:
    """Writes the answers of a part, and what it leaves out."""
    import pyarrow
    from pyarrow import compute

    table = pyarrow.concat_tables(tables)
    sound = compute.equal(table[REASON], "")
    bad = table.filter(compute.invert(sound)).select([PATH, REASON])
    left = part.path.parent / LEFT / part.path.name
    if len(bad):
        _write(left, bad)
    else:
        left.unlink(missing_ok=True)
    answers = table.filter(sound).drop_columns([REASON])
    _write(part.path, answers.replace_schema_metadata({LISTED: part.listed}))
    return Streamed(len(answers), len(bad))


def _write(path: Path, table) -> None:
    with replacing(path) as new:
        require_parquet().write_table(table, new)


def gather(folder: Path, output: Path, known: dict, listed: Iterable[bytes], count: Streamed):
    """One list of what was left out, which ends the work, and for a file one of all parts.

    Args:
        folder: of the parts.
        output: the folder, or the file.
        known: what decides the answers.
        listed: of each part, as `listed_of`.
        count: of all of them.
    """
    import pyarrow

    text = pyarrow.string()
    _join(sorted((folder / LEFT).glob("*.parquet")), folder / LEFT_OUT,
          pyarrow.schema([(PATH, text), (REASON, text)]))  # fmt: skip
    if is_file(output):
        parts = sorted(folder.glob("part-*.parquet"))
        shutil.copyfile(folder / LEFT_OUT, output.with_suffix(f".{LEFT_OUT}"))
        told = json.dumps({"known": known, "listed": digest(listed), "count": count}).encode()
        schema = require_parquet().read_schema(parts[0]).with_metadata({CALL: told})
        _join(parts, output, schema)
        shutil.rmtree(folder)


def _join(pieces: list[Path], path: Path, schema) -> None:
    parquet = require_parquet()
    with replacing(path) as new, parquet.ParquetWriter(new, schema) as writer:
        for piece in pieces:
            writer.write_table(parquet.read_table(piece).cast(schema))
