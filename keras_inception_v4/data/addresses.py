"""Files at addresses that `fsspec` can read, such as `s3://bucket/photos`."""

import time
from collections.abc import Iterator

from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import is_address

MOST_BYTES = 1 << 30  # largest picture; it is fetched whole
WAITS = (0.5, 2.0)  # seconds before each retry of a failed fetch


def _file_system(address: str):
    if "::" in address:
        raise ValueError(f"Received {address}. Chained addresses (::) are not read; unpack first.")
    fsspec = require_extra("fsspec", f"{address} needs", "fsspec", "ray")
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:  # each protocol needs its own package
        raise ImportError(f"{address} cannot be read: {error}") from None
    except ValueError as error:
        raise ValueError(f"{address} cannot be read: {error}") from None


def listed(address: str) -> Iterator[str]:
    """Yield the addresses of the visible files below a folder, in order, or of the file itself."""
    system, root = _file_system(address)
    if system.info(root)["type"] == "directory":
        yield from _below(system, root)
    else:
        yield address


def _below(system, folder: str) -> Iterator[str]:
    entries = sorted(
        (entry["name"].rstrip("/").rpartition("/")[2], entry["name"], entry["type"])
        for entry in system.ls(folder, detail=True)
        if entry["name"].rstrip("/") != folder.rstrip("/")
    )
    for name, path, kind in entries:
        if name.startswith("."):
            continue
        if kind == "directory":
            yield from _below(system, path)
        else:
            yield system.unstrip_protocol(path)


def fetched(source: str | bytes) -> str | bytes:
    """Return the source of a picture as `load_image` takes it, fetched if it is an address.

    Paths and bytes are returned unchanged. A failed fetch is retried after each of `WAITS`.

    Raises:
        FileNotFoundError, PermissionError: If there is no such file, or no access to it.
        ValueError: If the address cannot be read, or the file is larger than `MOST_BYTES`.
        ImportError: If the package for this kind of address is missing.
        OSError: If all attempts to read it failed; a later call may succeed.
    """
    if isinstance(source, bytes) or not is_address(source):
        return source
    system, path = _file_system(source)
    waits = list(WAITS)
    while True:
        try:
            size = system.info(path).get("size") or 0
            if size > MOST_BYTES:
                raise ValueError(f"{source} has {size:,} bytes, more than {MOST_BYTES:,}.")
            return system.cat_file(path)
        except (FileNotFoundError, PermissionError, ValueError):
            raise
        except Exception as error:  # each protocol raises its own classes
            if not waits:
                raise OSError(f"{source} cannot be read: {in_one_line(error)}") from error
            time.sleep(waits.pop(0))


def opened(path: str):
    """Open a file for binary reading by its path or address."""
    if not is_address(path):
        return open(path, "rb")
    system, place = _file_system(path)
    return system.open(place, "rb")
