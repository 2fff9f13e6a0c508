"""Answers for any number of files, written to Parquet in parts as they come, and resumed so."""

import json
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from keras_inception_v4.data.places import Piece, is_address, pieces
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import read_json, remove_temporary, replacing, write_json
from keras_inception_v4.inference.answering import PATH, REASON, Answering, answered, decoded
from keras_inception_v4.progress import Verbose, progress

PART = 10_000  # pictures of a part
AHEAD = 4  # batches that are decoded while the model works
RUN, LEFT_OUT = "run.json", "left_out.parquet"
LEFT = ".left_out"  # in the folder: what each part leaves out
LISTED = b"keras_inception_v4_files"  # in a part's metadata: which files it answers
CALL = b"keras_inception_v4_call"  # in a file's metadata: what made it, and its counts

Groups = Iterator[list[Piece]]
"""Pieces of each part in turn."""
Engine = Callable[[Groups, int], Iterator]
"""Groups and the pictures of a batch to tables in their order, with a row a picture: `path`, the
answers, and `reason`, which is empty unless they are null."""


class Streamed(NamedTuple):
    """How many files were answered and left out, those of an interrupted call before too."""

    answered: int
    left_out: int


class Part(NamedTuple):
    """A part that is to be written: its file, how many pictures it has, and which they are."""

    path: Path
    pictures: int
    listed: bytes


def stream(
    places: Sequence[str | os.PathLike],
    known: dict,
    engine: Engine,
    output: str | os.PathLike,
    *,
    batch_size: int,
    column: str | None = None,
    strict: bool = False,
    part: int = PART,
    verbose: Verbose = "auto",
) -> Streamed:
    """Answers pictures in order, each decoded once and ahead of the model.

    Args:
        places: as in `data.places.pieces`.
        known: what decides the answers; a folder of other ones is refused.
        engine: answers, as `here`.
        output: a folder for `part-00000.parquet` and so on, each written whole or not at all, and
            `left_out.parquet`, the files that could not be read with the reason. Or a `.parquet`,
            made of such parts in the end, with its `.left_out.parquet` beside it.
        batch_size: pictures a batch.
        column: of tables, as in `data.places.pieces`.
        strict: whether a file that cannot be read ends the work instead.
        part: pictures of a part.
        verbose: whether to show progress.

    Returns:
        How many files there were.

    Raises:
        ValueError: for a folder of other work or files, or with `strict` for a bad file.
        ImportError: without pyarrow; the message names the extra.
        OSError: if it cannot be written. The same call goes on after the last whole part.
    """
    require_parquet()
    if is_address(output):
        raise ValueError(f"Received output={str(output)!r}. It must be on this machine's disks.")
    output = Path(output)
    known = {**known, "part": part, **({} if column is None else {"column": column})}
    folder = output.with_name(f"{output.name}.parts") if _is_file(output) else output
    local = [place for place in places if not is_address(place)]
    inside = [place for place in local if output.resolve().is_relative_to(Path(place).resolve())]
    if inside:
        raise ValueError(
            f"Received output={str(output)!r}, which is inside {inside[0]}: its own files would be "
            "read as pictures. Name a place outside."
        )
    if _is_file(output) and output.exists():
        return _finished(output, folder, known)
    _begin(folder, known)
    found = pieces(places, column)
    with progress(None, "answering", "files", verbose) as advance:
        count = _write_parts(folder, found, engine, batch_size, part, strict, advance)
    if (folder / _name(-(-sum(count) // part))).exists():
        raise ValueError(f"{folder} holds answers for more files than are there now.")
    if sum(count) == 0:
        raise ValueError("There are no files to answer.")
    _gather(folder, output, known, count)
    return count


def _finished(output: Path, folder: Path, known: dict) -> Streamed:
    """What a file says that the same call made."""
    try:
        told = json.loads(require_parquet().read_metadata(output).metadata[CALL])
    except Exception:  # no Parquet, or that of others
        told = {}
    if told.get("known") != json.loads(json.dumps(known)):
        raise ValueError(f"{output} exists. Name another file, or remove it.")
    shutil.rmtree(folder, ignore_errors=True)  # an interruption left it
    return Streamed(*told["count"])


def here(work: Answering) -> Engine:
    """An engine: threads decode with all cores, and this process answers.

    Batches end with their part, so that what is in one does not depend on where a call began.
    """

    def tables(groups: Groups, batch_size: int) -> Iterator:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for group in groups:
                yield from _batches(work, _decoded(group, work, threads, batch_size), batch_size)

    return tables


def _decoded(
    group: list[Piece], work: Answering, threads: ThreadPoolExecutor, batch_size: int
) -> Iterator[tuple[str, object]]:
    """Each picture's name with its pixels, or with the reason why it has none."""
    waiting: deque = deque()
    for piece in group:
        for name, source in zip(piece.names(), piece.contents(), strict=True):
            waiting.append((name, threads.submit(decoded, source, work.size, work.crop)))
            if len(waiting) > AHEAD * batch_size:
                ready, pixels = waiting.popleft()
                yield ready, pixels.result()
    while waiting:
        ready, pixels = waiting.popleft()
        yield ready, pixels.result()


def _batches(work: Answering, pictures: Iterable[tuple[str, object]], batch_size: int) -> Iterator:
    """Tables of as many pictures as fill a batch, and of the files between them."""
    names: list[str] = []
    found: list = []
    sound = 0
    for name, pixels in pictures:
        names.append(name)
        found.append(pixels)
        sound += not isinstance(pixels, str)
        if sound == batch_size:
            yield named(names, answered(work, found, batch_size))
            names, found, sound = [], [], 0
    if names:
        yield named(names, answered(work, found, batch_size))


def named(names: list[str], columns: dict):
    """A table of answers, with the paths as Parquet can hold them."""
    import pyarrow

    return pyarrow.table({PATH: pyarrow.array(map(as_text, names), pyarrow.string()), **columns})


def as_text(path: str) -> str:
    """A path of which bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def require_parquet():
    """Imports and returns `pyarrow.parquet`.

    Raises:
        ImportError: without it; the message names the extra.
    """
    return require_extra("pyarrow.parquet", "Parquet needs", "pyarrow", "tables")


def _is_file(output: Path) -> bool:
    return output.suffix == ".parquet"


def _begin(folder: Path, known: dict) -> None:
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


def _name(number: int) -> str:
    return f"part-{number:05}.parquet"


def _listed(group: list[Piece]) -> bytes:
    names = [name for piece in group for name in piece.names()]
    marks = [mark for piece in group for mark in piece.marks()]
    text = "\n".join([*names, *marks]).encode("utf-8", "surrogateescape")
    return f"{len(names)} {zlib.crc32(text)}".encode()


def _groups(found: Iterator[Piece], part: int) -> Groups:
    """Pieces of each part, cut where it ends."""
    group: list[Piece] = []
    room = part
    for piece in found:
        while len(piece) >= room:
            first, piece = piece.cut(room)
            yield [*group, first]
            group, room = [], part
        if len(piece):
            group.append(piece)
            room -= len(piece)
    if group:
        yield group


def _write_parts(
    folder: Path,
    found: Iterator[Piece],
    engine: Engine,
    batch_size: int,
    part: int,
    strict,
    advance,
) -> Streamed:
    """Writes the parts that are not there yet, each when its last picture is answered."""
    counts: list[Streamed] = []
    expected: deque[Part] = deque()

    def missing() -> Groups:
        for number, group in enumerate(_groups(found, part)):
            wanted = Part(folder / _name(number), sum(map(len, group)), _listed(group))
            if wanted.path.exists():
                counts.append(_check_part(wanted))
                if strict and counts[-1].left_out:
                    raise ValueError(
                        f"{wanted.path} was written without strict and leaves out "
                        f"{counts[-1].left_out} files, see {LEFT_OUT}."
                    )
            else:
                expected.append(wanted)
                yield group

    begun: list = []  # tables of the part that is answered now
    for table in engine(missing(), batch_size):
        if strict and (reasons := list(filter(None, table[REASON].to_pylist()))):
            raise ValueError(reasons[0])
        advance(len(table))
        while len(table):
            room = expected[0].pictures - sum(map(len, begun))
            begun.append(table.slice(0, room))
            table = table.slice(room)
            if sum(map(len, begun)) == expected[0].pictures:
                counts.append(_write_part(expected.popleft(), begun))
                begun = []
    if expected or begun:
        raise RuntimeError(f"{len(expected)} parts were not answered to their end.")
    return Streamed(sum(c.answered for c in counts), sum(c.left_out for c in counts))


def _check_part(part: Part) -> Streamed:
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


def _write_part(part: Part, tables: list) -> Streamed:
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


def _gather(folder: Path, output: Path, known: dict, count: Streamed) -> None:
    """One list of what was left out, which ends the work, and for a file one of all parts."""
    import pyarrow

    text = pyarrow.string()
    _join(sorted((folder / LEFT).glob("*.parquet")), folder / LEFT_OUT,
          pyarrow.schema([(PATH, text), (REASON, text)]))  # fmt: skip
    if _is_file(output):
        parts = sorted(folder.glob("part-*.parquet"))
        shutil.copyfile(folder / LEFT_OUT, output.with_suffix(f".{LEFT_OUT}"))
        told = json.dumps({"known": known, "count": count}).encode()
        schema = require_parquet().read_schema(parts[0]).with_metadata({CALL: told})
        _join(parts, output, schema)
        shutil.rmtree(folder)


def _join(pieces: list[Path], path: Path, schema) -> None:
    parquet = require_parquet()
    with replacing(path) as new, parquet.ParquetWriter(new, schema) as writer:
        for piece in pieces:
            writer.write_table(parquet.read_table(piece).cast(schema))
