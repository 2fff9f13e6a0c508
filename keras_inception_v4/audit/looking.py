"""One read of every picture: whether it can be decoded, its size, hashes and thumbnail."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.data.records import Record
from keras_inception_v4.data.sources import content_of
from keras_inception_v4.errors import require_extra
from keras_inception_v4.files import require
from keras_inception_v4.preprocessing import opened
from keras_inception_v4.progress import Verbose, progress

SIDE = 32  # pixels: side of the image that is hashed perceptually
GREY = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601, as in Pillow


class Look(NamedTuple):
    """Result of reading a picture.

    Attributes:
        reason: Why the picture cannot be read, else an empty string. If it is set, ignore the
            other values.
        width: Width in pixels.
        height: Height in pixels.
        digest: Digest of the file's bytes.
        hash: Perceptual hash, 64 bits.
        small: Thumbnail of the whole picture, uint8, shape `(16, 16, 3)`.
        spread: Largest standard deviation of a channel of `small`, in grey levels.
    """

    reason: str
    width: int = 0
    height: int = 0
    digest: bytes = b""
    hash: int = 0
    small: np.ndarray | None = None
    spread: float = 0.0


def look_at_all(places: Sequence[Path | Record], *, verbose: Verbose = True) -> list[Look]:
    """Read and decode every picture once, on all cores.

    Raises:
        ImportError: If imagehash is missing. The message names the extra.
    """
    require_extra("imagehash", "An audit needs", "imagehash", "audit")
    with progress(len(places), "reading", "files", verbose) as advance:

        def look(place) -> Look:
            try:
                return _look_at(place)
            except (ValueError, OSError) as error:
                return Look(str(error))
            finally:
                advance(1)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return list(threads.map(look, places))


def _look_at(place: Path | Record) -> Look:
    content = content_of(place)
    if isinstance(content, Path):
        content = require(content, "image file").read_bytes()
    with opened(content, str(place)) as picture:
        pixels = picture.thumbnail(SIDE)
        width, height = picture.width, picture.height
    small = pixels.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
    return Look(
        "",
        width,
        height,
        hashlib.blake2b(content, digest_size=16).digest(),
        _perceptual_hash(pixels @ GREY),
        small.round().astype("uint8"),
        float(small.std(axis=(0, 1)).max()),
    )


def _perceptual_hash(grey: np.ndarray) -> int:
    import imagehash
    from PIL import Image

    bits = imagehash.phash(Image.fromarray(grey.round().astype("uint8"))).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
