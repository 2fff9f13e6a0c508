"""Parquet output in parts: each is written atomically and reused when the call is repeated."""

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
LEFT = ".left_out"  # subfolder with the files that each part left out
LISTED = b"keras_inception_v4_files"  # key in a part's metadata: fingerprint of its pictures
CALL = b"keras_inception_v4_call"  # key in a file's metadata: settings, fingerprint and counts


class Streamed(NamedTuple):
    """The numbers of files processed and left out, including those of interrupted earlier calls."""

    answered: int
    left_out: int


class Part(NamedTuple):
    """A part to be written: its file, number of pictures, and fingerprint from `listed_of`."""

    path: Path
    pictures: int
    listed: bytes


def require_parquet():
    """Import and return `pyarrow.parquet`.

    Raises:
        ImportError: If it is not installed. The message names the extra.
    """
    return require_extra("pyarrow.parquet", "Parquet needs", "pyarrow", "tables")


def is_file(output: Path) -> bool:
    """Return whether the output is one file and not a folder of parts."""
    return output.suffix == ".parquet"


def begin(folder: Path, known: dict) -> None:
    """Create the folder, or check that it holds outputs of the same call.

    Raises:
        ValueError: If it holds outputs of another call, or anything else.
    """
    if (folder / RUN).is_file():
        recorded = read_json(folder / RUN)
        different = sorted(k for k in known | recorded if known.get(k) != recorded.get(k))
        if different and not any(folder.glob("part-*.parquet")):
            (folder / RUN).unlink()  # that call wrote no part
        elif different:
            changes = ", ".join(
                f"{name} is {recorded.get(name)!r} there and {known.get(name)!r} here"
                for name in different
            )
            raise ValueError(
                f"{folder} holds answers of another call: {changes}. Name another output."
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and holds something else. Name another output.")
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder)
    if not (folder / RUN).is_file():
        write_json(folder / RUN, known)


def name_of_part(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05}.parquet"


def listed_of(group: list[Piece]) -> bytes:
    """Return a fingerprint of the pictures in a part: their number and a checksum."""
    names = [name for piece in group for name in piece.names()]
    marks = [mark for piece in group for mark in piece.marks()]
    text = "\n".join([*names, *marks]).encode("utf-8", "surrogateescape")
    return f"{len(names)} {zlib.crc32(text)}".encode()


def finished(output: Path, folder: Path, known: dict, listed: Iterable[bytes]) -> Streamed:
    """Return the counts in a finished file, if the same call wrote it for the same pictures.

    Args:
        output: Path of the file.
        folder: Folder of its parts. An interrupted call may have left it; it is deleted.
        known: Everything that determines the outputs.
        listed: Fingerprint of each part, from `listed_of`.

    Raises:
        ValueError: If another call or another program wrote the file, or it is for other pictures.
    """
    try:
        told = json.loads(require_parquet().read_metadata(output).metadata[CALL])
    except Exception:  # not Parquet, or not written by this package
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
    """Return a checksum of the fingerprints of all parts."""
    return zlib.crc32(b"\n".join(listed))


def check_part(part: Part) -> Streamed:
    """Return the counts of an existing part, if it is for these files.

    Raises:
        ValueError: If the part is damaged or is for other files.
    """
    path = part.path
    try:
        metadata = require_parquet().read_metadata(path)
    except Exception as error:  # pyarrow raises several classes for damaged files
        raise ValueError(
            f"{path} is damaged ({in_one_line(error)}). Delete it, and repeat the call to write it "
            "again."
        ) from error
    if (metadata.metadata or {}).get(LISTED) != part.listed:
        raise ValueError(
            f"{path} holds answers for other files than are there now: some were added, removed or "
            "renamed. Name another output, or put them back."
        )
    return Streamed(metadata.num_rows, part.pictures - metadata.num_rows)


def write_part(part: Part, tables: list) -> Streamed:
    """Write the outputs of a part, and the list of files that it leaves out."""
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
    """Finish the output: join the lists of files left out, and for a file join all parts.

    Args:
        folder: Folder of the parts.
        output: The same folder, or the file to write.
        known: Everything that determines the outputs.
        listed: Fingerprint of each part, from `listed_of`.
        count: Total counts of all parts.
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
