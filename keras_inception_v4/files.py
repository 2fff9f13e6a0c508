"""Atomic writing of files, recognition of data files, and JSON and tensor files."""

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
PREFIX = 32  # characters of the file name in the name of its temporary folder


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` if the block succeeds.

    Readers see the old file or the whole new one. If the block fails, the temporary files are
    removed and whatever was at `path` is untouched. The temporary path keeps the suffix, by which
    Keras and others choose a format. The block may write a file or a folder there.

    Args:
        path: Path of the finished file or folder; an old one is replaced.

    Yields:
        The path to write to; it does not exist yet.

    Raises:
        OSError: If the folder cannot be created or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_name(path)
    # The name is set before the folder exists, so an interruption at any moment can remove it.
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
    """Check that the file name is not too long; call it before work that ends in writing it.

    Nothing is checked where the system does not tell its limit.

    Raises:
        OSError: If the name is too long.
    """
    path = Path(path)
    folder = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if folder is None or not hasattr(os, "pathconf"):
        return
    longest, found = os.pathconf(folder, "PC_NAME_MAX"), len(os.fsencode(path.name))
    if found > longest:
        raise OSError(
            errno.ENAMETOOLONG,
            f"The file name has {found} bytes, and the disk allows {longest}",
            str(path),
        )


def printable(text: str, encoding: str = "utf-8") -> str:
    """Escape characters that an encoding lacks, such as undecodable bytes of a file name."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def require(path: str | os.PathLike, kind: str) -> Path:
    """Return the path after checking that it exists.

    Args:
        path: Path of a file or folder.
        kind: Kind of file that it should be, for the message.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
    """
    path = Path(path)
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise FileNotFoundError(f"There is no {kind} {path}{where}. Check the path.")
    return path


def is_address(place: str | os.PathLike) -> bool:
    """Return whether this is an address in another file system, such as `s3://bucket/photos`."""
    return "://" in os.fspath(place)


TABLES = (".csv", ".tsv", ".parquet")
RECORDS = {
    "tfrecord": (".tfrecord", ".tfrecords"),
    "array_record": (".array_record", ".arrayrecord"),
}
"""File name endings of the formats that hold many pictures in a file."""
DATASET_MARKS = ("dataset_dict.json", "state.json")
"""Files by which a folder that the `datasets` library saved is recognized."""


def is_table(path: str | os.PathLike) -> bool:
    """Return whether a path is a table of images, by its suffix."""
    return Path(path).suffix.lower() in TABLES


def record_format(path: str | os.PathLike) -> str | None:
    """Return the format of a file that holds many pictures, by its name; else `None`.

    TFRecord files are named `a.tfrecord`, `a.tfrecord-00000-of-00010`, or `train-00000-of-01024`
    as tensorflow/models writes ImageNet.
    """
    name = Path(path).name.lower()
    for kind, endings in RECORDS.items():
        if any(name.endswith(ending) or f"{ending}-" in name for ending in endings):
            return kind
    stem, _, count = name.rpartition("-of-")
    return "tfrecord" if count.isdigit() and stem[-5:].isdigit() else None


def record_files(path: str | os.PathLike) -> list[Path]:
    """List the record files at `path`, sorted; none for a folder with subfolders."""
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if path.is_dir() and any(file.is_dir() and not file.name.startswith(".") for file in files):
        return []
    return [file for file in files if file.is_file() and record_format(file)]


def has_columns(path: str | os.PathLike) -> bool:
    """Return whether data have columns: a table, record files or a saved `datasets` dataset."""
    saved = any((Path(path) / mark).is_file() for mark in DATASET_MARKS)
    return is_table(path) or saved or bool(record_files(path))


MODEL = "model.keras"
"""File name of the model in a run folder."""


def model_file(path: str | os.PathLike) -> Path:
    """Return the model file of a run folder; any other path is returned as it is.

    Raises:
        FileNotFoundError: If the run in the folder has no model yet.
    """
    path = Path(path)
    if (path / MODEL).is_file():
        return path / MODEL
    if (path / "config.json").is_file():
        raise FileNotFoundError(
            f"The run in {path} has no {MODEL} yet. Rerun the command that began it to resume."
        )
    return path


def fingerprint(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file, or of the contents of all files below a folder."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_temporary(path: Path) -> bool:
    """Return whether `replacing` left this folder behind when its process was killed."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)


def remove_temporary(folder: Path) -> None:
    """Remove the temporary folders that killed processes left in a folder."""
    for path in folder.iterdir() if folder.is_dir() else []:
        if is_temporary(path):
            shutil.rmtree(path, ignore_errors=True)


def write_tensors(
    path: str | os.PathLike, tensors: dict, metadata: dict[str, str] | None = None
) -> None:
    """Write arrays to a `.safetensors` file, whole or not at all.

    Args:
        path: File to write; an old one is replaced.
        tensors: NumPy arrays by name.
        metadata: Strings by name for the header of the file.

    Raises:
        OSError: If it cannot be written, for example on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replacing(path) as new:
        try:
            save_file(tensors, new, metadata=metadata)
        except SafetensorError as error:  # the library wraps the system's error in it
            raise OSError(f"{path} cannot be written: {error}") from error


def write_json(path: str | os.PathLike, content) -> None:
    """Write `content` as indented JSON, whole or not at all.

    Raises:
        ValueError: If it holds a number that JSON does not have (NaN or infinity).
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be written as JSON: {error}.") from None
    with replacing(path) as new:
        new.write_text(f"{text}\n", encoding="utf-8")


def read_json(path: str | os.PathLike):
    """Read a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON; the message names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}. Delete or repair it.") from None
