"""Writing files so that a reader sees the old one or the whole new one, never half."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".unfinished"
PREFIX = 32  # characters of a name that its temporary folder bears


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path`; renames it to `path` when the block succeeds.

    The temporary name keeps the suffix, since Keras and others choose a format by
    it, and may become a file or a folder. If the block fails, nothing of it stays
    and whatever was at `path` is untouched.

    Args:
        path: where the finished file or folder goes; an old one is replaced.

    Yields:
        The path to write to; it does not exist yet.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_name(path)
    # Named before it is made, so that an interruption at any moment finds it to remove.
    name = f".{path.name[:PREFIX]}-{secrets.token_hex(4)}{TEMPORARY}"
    folder = path.parent / name
    try:
        folder.mkdir(mode=0o700)
        new, old = folder / path.name, folder / f"old-{path.name}"
        yield new
        if path.is_dir():  # a folder cannot be replaced in one step
            os.replace(path, old)
        try:
            os.replace(new, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_name(path: str | os.PathLike) -> None:
    """Checks that the disk takes a file of that name; call it before work that ends in one.

    Raises:
        OSError: if the name is too long.
    """
    path = Path(path)
    folder = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if folder is None or not hasattr(os, "pathconf"):
        return
    longest, found = os.pathconf(folder, "PC_NAME_MAX"), len(os.fsencode(path.name))
    if found > longest:
        raise OSError(
            errno.ENAMETOOLONG,
            f"The file name has {found} bytes, and the disk takes {longest}",
            str(path),
        )


def printable(text: str, encoding: str = "utf-8") -> str:
    """Text of which what an encoding does not have is escaped, as bytes of a foreign file name."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def require(path: str | os.PathLike, kind: str) -> Path:
    """The path of something that is there.

    Raises:
        FileNotFoundError: if it is not; `kind` says what it should be.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no {kind} {path}.")
    return path


def is_address(place: str | os.PathLike) -> bool:
    """Whether this is an address of another file system, such as `s3://bucket/photos`."""
    return "://" in os.fspath(place)


TABLES = (".csv", ".tsv", ".parquet")
RECORDS = {
    "tfrecord": (".tfrecord", ".tfrecords"),
    "array_record": (".array_record", ".arrayrecord"),
}
"""Endings of files with many pictures, by their format."""
DATASET_MARKS = ("dataset_dict.json", "state.json")
"""What the `datasets` library leaves in a folder that it saves to."""


def is_table(path: str | os.PathLike) -> bool:
    """Whether a path is that of a table of images, by its suffix."""
    return Path(path).suffix.lower() in TABLES


def record_format(path: str | os.PathLike) -> str | None:
    """The format of a file with many pictures, by its name; `None` for another file.

    `a.tfrecord`, `a.tfrecord-00000-of-00010`, and `train-00000-of-01024` as tensorflow/models
    writes ImageNet.
    """
    name = Path(path).name.lower()
    for kind, endings in RECORDS.items():
        if any(name.endswith(ending) or f"{ending}-" in name for ending in endings):
            return kind
    stem, _, count = name.rpartition("-of-")
    return "tfrecord" if count.isdigit() and stem[-5:].isdigit() else None


def record_files(path: str | os.PathLike) -> list[Path]:
    """A file with many pictures, or those of a folder that has no subfolders, sorted."""
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if path.is_dir() and any(file.is_dir() and not file.name.startswith(".") for file in files):
        return []
    return [file for file in files if file.is_file() and record_format(file)]


def has_columns(path: str | os.PathLike) -> bool:
    """Whether data have columns: a table, or files of records, or a data set of `datasets`."""
    saved = any((Path(path) / mark).is_file() for mark in DATASET_MARKS)
    return is_table(path) or saved or bool(record_files(path))


MODEL = "model.keras"
"""The model's name in a run folder."""


def model_file(path: str | os.PathLike) -> Path:
    """The model in a run folder; any other path as it is.

    Raises:
        FileNotFoundError: if the folder's run has no model yet.
    """
    path = Path(path)
    if (path / MODEL).is_file():
        return path / MODEL
    if (path / "config.json").is_file():
        raise FileNotFoundError(
            f"The run in {path} has no {MODEL} yet. The command that began it goes on with it."
        )
    return path


def fingerprint(path: str | os.PathLike) -> str:
    """SHA-256 of a file, or of all files of a folder."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_temporary(path: Path) -> bool:
    """Whether this is what `replacing` leaves when its process is killed."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)


def remove_temporary(folder: Path) -> None:
    """Removes what processes that were killed left in a folder."""
    for path in folder.iterdir() if folder.is_dir() else []:
        if is_temporary(path):
            shutil.rmtree(path, ignore_errors=True)


def write_tensors(
    path: str | os.PathLike, tensors: dict, metadata: dict[str, str] | None = None
) -> None:
    """Writes arrays as a `.safetensors` file, whole or not at all.

    Raises:
        OSError: if it cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replacing(path) as new:
        try:
            save_file(tensors, new, metadata=metadata)
        except SafetensorError as error:  # the library's own wrapping of the system's error
            raise OSError(f"{path} cannot be written: {error}") from error


def write_json(path: str | os.PathLike, content) -> None:
    """Writes `content` as indented JSON, whole or not at all.

    Raises:
        ValueError: if it holds a number that JSON does not have (NaN or infinity).
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be written as JSON: {error}.") from None
    with replacing(path) as new:
        new.write_text(f"{text}\n", encoding="utf-8")


def read_json(path: str | os.PathLike):
    """Reads a JSON file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not JSON; the message names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}. Delete or mend it.") from None
