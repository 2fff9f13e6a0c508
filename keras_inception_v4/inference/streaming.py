"""Answers for any number of files, written to Parquet in parts as they come, and resumed so."""

import hashlib
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.data.layout import walk_files
from keras_inception_v4.data.pipeline import padded
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import read_json, remove_temporary, replacing, write_json
from keras_inception_v4.preprocessing import check_finite, load_image
from keras_inception_v4.progress import Verbose, progress

PART = 10_000  # files of a part
AHEAD = 4  # batches that are decoded while the model works
RUN, LEFT_OUT = "run.json", "left_out.parquet"
LISTED = b"keras_inception_v4_files"  # in a part's metadata: which files it answers


class Streamed(NamedTuple):
    """How many files were answered and left out, those of an interrupted call before too."""

    answered: int
    left_out: int


class Work(NamedTuple):
    """What is done with every picture.

    Args:
        size: of the pictures, height and width.
        crop: as in `load_image`.
        answer: raw pixels `(images, height, width, 3)` to answers `(images, outputs)`.
        columns: answers to Parquet columns by name.
        known: what decides the answers, as JSON values; a folder of other ones is refused.
    """

    size: tuple[int, int]
    crop: float
    answer: Callable[[np.ndarray], np.ndarray]
    columns: Callable[[np.ndarray], dict]
    known: dict


def stream(
    places: Sequence[str | os.PathLike],
    work: Work,
    output: str | os.PathLike,
    *,
    batch_size: int,
    strict: bool = False,
    part: int = PART,
    verbose: Verbose = "auto",
) -> Streamed:
    """Answers files in order, each decoded once, by all cores and ahead of the model.

    Args:
        places: files, and folders, which are listed as they are reached.
        work: what is done with each.
        output: a folder for `part-00000.parquet` and so on, each written whole or not at all, and
            `left_out.parquet`, the files that could not be read with the reason. Or a `.parquet`,
            made of such parts in the end, with its `.left_out.parquet` beside it.
        batch_size: pictures a batch.
        strict: whether a file that cannot be read ends the work instead.
        part: files of a part.
        verbose: whether to show progress.

    Returns:
        How many files there were.

    Raises:
        ValueError: for a folder of other work or files, or with `strict` for a bad file.
        ImportError: without pyarrow; the message names the extra.
        OSError: if it cannot be written. The same call goes on after the last whole part.
    """
    require_parquet()
    output = Path(output)
    folder = output.with_name(f"{output.name}.parts") if _is_file(output) else output
    known = {**work.known, "part": part}
    inside = [place for place in places if output.resolve().is_relative_to(Path(place).resolve())]
    if inside:
        raise ValueError(
            f"Received output={str(output)!r}, which is inside {inside[0]}: its own files would be "
            "read as pictures. Name a place outside."
        )
    if _is_file(output) and output.exists():
        raise ValueError(f"{output} exists. Name another file, or remove it.")
    _begin(folder, known)
    files, count = _files(places), Streamed(0, 0)
    with progress(None, "answering", "files", verbose) as advance:
        for number, chosen in enumerate(iter(lambda: list(islice(files, part)), [])):
            path = folder / f"part-{number:05}.parquet"
            if path.exists():
                done = _check_part(path, chosen)
            else:
                done = _write_part(path, chosen, work, batch_size, strict, advance)
            count = Streamed(count.answered + done.answered, count.left_out + done.left_out)
        further = folder / f"part-{-(-sum(count) // part):05}.parquet"
        if further.exists():
            raise ValueError(f"{folder} holds answers for more files than are there now.")
    if sum(count) == 0:
        raise ValueError("There are no files to answer.")
    _gather(folder, output)
    return count


def _files(places: Sequence[str | os.PathLike]) -> Iterator[Path]:
    for place in map(Path, places):
        yield from walk_files(place) if place.is_dir() else [place]


def fingerprint(path: str | os.PathLike) -> str:
    """SHA-256 of a file, or of all files of a folder."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


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
        if different:
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


def _listed(files: list[Path]) -> bytes:
    names = "\n".join(map(str, files)).encode("utf-8", "surrogateescape")
    return f"{len(files)} {zlib.crc32(names)}".encode()


def _check_part(path: Path, files: list[Path]) -> Streamed:
    """Rows of a part that is there, if it is of these files."""
    try:
        metadata = require_parquet().read_metadata(path)
    except Exception as error:  # pyarrow has several classes for damage
        raise ValueError(
            f"{path} is damaged ({in_one_line(error)}). Delete it, and the same call answers its "
            "files again."
        ) from error
    if (metadata.metadata or {}).get(LISTED) != _listed(files):
        raise ValueError(
            f"{path} holds answers for other files than are there now: some were added, removed or "
            "renamed. Name another output, or put them back."
        )
    return Streamed(metadata.num_rows, len(files) - metadata.num_rows)


def _write_part(
    path: Path, files: list[Path], work: Work, batch_size: int, strict: bool, advance
) -> Streamed:
    import pyarrow

    paths: list[str] = []
    answers: list[np.ndarray] = []
    bad: list[tuple[str, str]] = []
    for named, pixels in _batches(_decoded(files, work, batch_size), batch_size, bad):
        if strict and bad:
            raise ValueError(bad[0][1])
        if named:
            found = work.answer(padded(pixels, batch_size))[: len(pixels)]
            check_finite(found, "answers of the model")
            paths += named
            answers.append(found)
        advance(len(named))
    advance(len(bad))
    columns = work.columns(np.concatenate(answers)) if answers else None
    if bad:
        _write(path.with_name(f"left_out-{path.name}"), _bad_table(bad))
    if columns is None:  # columns without rows, of the right types
        columns = work.columns(work.answer(np.zeros((batch_size, *work.size, 3), "float32"))[:0])
    table = pyarrow.table({"path": pyarrow.array(paths, pyarrow.string()), **columns})
    _write(path, table.replace_schema_metadata({LISTED: _listed(files)}))
    return Streamed(len(paths), len(bad))


def _decoded(files: list[Path], work: Work, batch_size: int) -> Iterator[tuple[Path, object]]:
    """Each file with its pixels, or with the reason why it has none."""

    def read(file: Path):
        try:
            return load_image(file, work.size, work.crop)
        except (ValueError, OSError) as error:
            return str(error)

    waiting: deque = deque()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for file in files:
            waiting.append((file, threads.submit(read, file)))
            if len(waiting) > AHEAD * batch_size:
                ready, pixels = waiting.popleft()
                yield ready, pixels.result()
        while waiting:
            ready, pixels = waiting.popleft()
            yield ready, pixels.result()


def _batches(
    decoded: Iterable[tuple[Path, object]], batch_size: int, bad: list[tuple[str, str]]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Paths and pixels, a batch at a time; appends the others to `bad`."""
    named: list[str] = []
    pixels: list[np.ndarray] = []
    for file, found in decoded:
        if isinstance(found, np.ndarray):
            named.append(_text(file))
            pixels.append(found)
        else:
            bad.append((_text(file), str(found)))
        if len(named) == batch_size:
            yield named, np.stack(pixels)
            named, pixels = [], []
    yield named, np.stack(pixels) if pixels else np.empty(0)


def _text(path: Path) -> str:
    """A path as Parquet can hold it: bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _bad_table(bad: list[tuple[str, str]]):
    import pyarrow

    text = pyarrow.string()
    columns = [pyarrow.array([row[i] for row in bad], text) for i in range(2)]
    return pyarrow.table(columns, names=["path", "reason"])


def _write(path: Path, table) -> None:
    with replacing(path) as new:
        require_parquet().write_table(table, new)


def _gather(folder: Path, output: Path) -> None:
    """One list of what was left out, which ends the work, and for a file one of all parts."""
    pieces = sorted(folder.glob("left_out-*.parquet"))
    parquet, gathered = require_parquet(), folder / LEFT_OUT
    known: dict[str, str] = {}  # a call that was interrupted here had gathered some
    for file in [*([gathered] if gathered.exists() else []), *pieces]:
        known |= {row["path"]: row["reason"] for row in parquet.read_table(file).to_pylist()}
    _write(gathered, _bad_table(list(known.items())))
    for piece in pieces:
        piece.unlink()
    if _is_file(output):
        parts = sorted(folder.glob("part-*.parquet"))
        shutil.copyfile(gathered, output.with_suffix(f".{LEFT_OUT}"))
        _join(parts, output, parquet.read_schema(parts[0]).remove_metadata())
        shutil.rmtree(folder)


def _join(pieces: list[Path], path: Path, schema) -> None:
    parquet = require_parquet()
    with replacing(path) as new, parquet.ParquetWriter(new, schema) as writer:
        for piece in pieces:
            writer.write_table(parquet.read_table(piece).cast(schema))
