"""Writing files so that a reader sees the old one or the whole new one, never half."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".unfinished"


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
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", suffix=TEMPORARY, dir=path.parent
    ) as folder:
        new, old = Path(folder) / path.name, Path(folder) / f"old-{path.name}"
        yield new
        if path.is_dir():  # a folder cannot be replaced in one step
            os.replace(path, old)
        try:
            os.replace(new, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise


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
    """Writes `content` as indented JSON, whole or not at all."""
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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
