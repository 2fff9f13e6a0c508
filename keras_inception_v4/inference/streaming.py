"""Process any number of files into Parquet, written in parts, so that a call can be resumed."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_inception_v4.data.places import Piece, pieces
from keras_inception_v4.files import is_address
from keras_inception_v4.inference.answering import PATH, REASON, Answering, answered, decoded
from keras_inception_v4.inference.parts import (
    LEFT_OUT,
    Part,
    Streamed,
    begin,
    check_part,
    finished,
    gather,
    is_file,
    listed_of,
    name_of_part,
    require_parquet,
    write_part,
)
from keras_inception_v4.progress import Verbose, progress

PART = 10_000  # pictures per part
AHEAD = 4  # batches decoded ahead of the model

Groups = Iterator[list[Piece]]
"""One list of pieces per part, in order."""
Engine = Callable[[Groups, int], Iterator]
"""Function that takes groups and a batch size and yields tables, in order, one row per picture.

The columns are `path`, the outputs and `reason`. `reason` is empty unless the outputs are null."""


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
    """Run an engine on pictures, in order, and write its outputs to Parquet in parts.

    Each picture is decoded once, ahead of the model. Repeat an interrupted call to resume it.

    Args:
        places: Places of the pictures, as in `data.places.pieces`.
        known: Everything that determines the outputs. A folder with other values is rejected.
        engine: Engine, for example from `here`.
        output: A folder or a `.parquet` file. A folder gets `part-00000.parquet` and so on, each
            written completely or not at all. It also gets `left_out.parquet`, which lists the
            files that could not be read, with the reasons. A file is joined from such parts at the
            end, with its `.left_out.parquet` beside it.
        batch_size: Pictures per batch.
        column: Column of tables, as in `data.places.pieces`.
        strict: Whether to stop at a file that cannot be read. By default it is left out.
        part: Pictures per part.
        verbose: Whether to show progress.

    Returns:
        The number of files processed and the number left out.

    Raises:
        ValueError: If the output belongs to another call or other files, or `strict` is set and a
            file cannot be read.
        ImportError: If pyarrow is not installed. The message names the extra.
        OSError: If the output cannot be written. The same call resumes after the last whole part.
    """
    require_parquet()
    if is_address(output):
        raise ValueError(f"Received output={str(output)!r}. It must be on this machine's disks.")
    output = Path(output)
    known = {**known, "part": part, **({} if column is None else {"column": column})}
    folder = output.with_name(f"{output.name}.parts") if is_file(output) else output
    paths = [os.fspath(place).removeprefix("file://") for place in places]
    local = [path for path in paths if not is_address(path)]
    inside = [place for place in local if output.resolve().is_relative_to(Path(place).resolve())]
    if inside:
        raise ValueError(
            f"Received output={str(output)!r}, which is inside {inside[0]}: its own files would be "
            "read as pictures. Name a place outside."
        )
    found = pieces(places, column)
    if is_file(output) and output.exists():
        return finished(output, folder, known, map(listed_of, _groups(found, part)))
    begin(folder, known)
    with progress(None, "answering", "files", verbose) as advance:
        count, listed = _write_parts(folder, found, engine, batch_size, part, strict, advance)
    if (folder / name_of_part(-(-sum(count) // part))).exists():
        raise ValueError(f"{folder} holds answers for more files than are there now.")
    if sum(count) == 0:
        raise ValueError("There are no files to process.")
    gather(folder, output, known, listed, count)
    return count


def here(work: Answering) -> Engine:
    """Return an engine that decodes in threads on all cores and runs the model in this process.

    No batch spans two parts. Its pictures then do not depend on where a resumed call started.
    """

    def tables(groups: Groups, batch_size: int) -> Iterator:
        readers: dict = {}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for group in groups:
                pictures = _decoded(group, readers, work, threads, batch_size)
                yield from _batches(work, pictures, batch_size)

    return tables


def _decoded(
    group: list[Piece],
    readers: dict,
    work: Answering,
    threads: ThreadPoolExecutor,
    batch_size: int,
) -> Iterator[tuple[str, object]]:
    """Yield each picture's name with its pixels, or with the reason why it cannot be used."""
    waiting: deque = deque()
    for piece in group:
        for name, source in zip(piece.names(), piece.contents(readers), strict=True):
            waiting.append((name, threads.submit(decoded, source, work.size, work.crop)))
            if len(waiting) > AHEAD * batch_size:
                ready, pixels = waiting.popleft()
                yield ready, pixels.result()
    while waiting:
        ready, pixels = waiting.popleft()
        yield ready, pixels.result()


def _batches(work: Answering, pictures: Iterable[tuple[str, object]], batch_size: int) -> Iterator:
    """Yield one table per batch of pictures, including the unusable files among them."""
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
    """Return a table of outputs, with the paths as text that Parquet can store."""
    import pyarrow

    return pyarrow.table({PATH: pyarrow.array(map(as_text, names), pyarrow.string()), **columns})


def as_text(path: str) -> str:
    """Return a path as text, with bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _groups(found: Iterator[Piece], part: int) -> Groups:
    """Yield the pieces of each part; a piece that spans two parts is cut."""
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
    strict: bool,
    advance: Callable[[int], None],
) -> tuple[Streamed, list[bytes]]:
    """Write the missing parts, each as soon as its last picture is processed.

    Returns:
        The total counts of all parts, and the fingerprint of each part from `listed_of`.
    """
    counts: list[Streamed] = []
    listed: list[bytes] = []
    expected: deque[Part] = deque()

    def missing() -> Groups:
        for number, group in enumerate(_groups(found, part)):
            wanted = Part(folder / name_of_part(number), sum(map(len, group)), listed_of(group))
            listed.append(wanted.listed)
            if wanted.path.exists():
                counts.append(check_part(wanted))
                if strict and counts[-1].left_out:
                    raise ValueError(
                        f"{wanted.path} was written without strict and leaves out "
                        f"{counts[-1].left_out} files, see {LEFT_OUT}."
                    )
            else:
                expected.append(wanted)
                yield group

    begun: list = []  # tables of the part in progress
    for table in engine(missing(), batch_size):
        if strict and (reasons := list(filter(None, table[REASON].to_pylist()))):
            raise ValueError(reasons[0])
        advance(len(table))
        while len(table):
            room = expected[0].pictures - sum(map(len, begun))
            begun.append(table.slice(0, room))
            table = table.slice(room)
            if sum(map(len, begun)) == expected[0].pictures:
                counts.append(write_part(expected.popleft(), begun))
                begun = []
    if expected or begun:
        raise RuntimeError(f"{len(expected)} parts were not finished by the engine.")
    done = Streamed(sum(c.answered for c in counts), sum(c.left_out for c in counts))
    return done, listed
