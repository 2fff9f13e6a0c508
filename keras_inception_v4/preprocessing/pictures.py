"""Pictures: windows of image files and arrays of any size, read with bounded memory."""

import errno
import io
import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms

from keras_inception_v4.files import require
from keras_inception_v4.preprocessing.checks import check_finite

BAND = 2**22  # pixels of one picture that are converted to float at a time
AT_ONCE = 2**27  # pixels decoded at a time in all threads; a larger picture is decoded alone

UPRIGHT = (False, False, False)
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""By EXIF orientation: whether to swap the axes, then reverse the rows, then the columns."""


class Picture:
    """An upright image whose pixels are read on request.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
    """

    def __init__(self, images: list[Image.Image], limits: "Limits | None" = None):
        self._images, self._limits = images, limits or LIMITS
        self._turn = TURNS.get(_orientation(images[0]), UPRIGHT)
        sides = images[0].size
        self.width, self.height = sides[::-1] if self._turn[0] else sides

    @classmethod
    def of(cls, pixels: np.ndarray) -> "Picture":
        """Make a picture of an array of shape `(height, width, channels)`."""
        channels = np.moveaxis(np.asarray(pixels, "float32"), 2, 0)
        return cls([Image.fromarray(np.ascontiguousarray(channel)) for channel in channels])

    def window(
        self,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
        resampling: Image.Resampling,
    ) -> np.ndarray:
        """Return a part of the picture, scaled.

        Args:
            box: Left, upper, right and lower edge, in pixels.
            size: Height and width of the result, in pixels.
            resampling: Resampling filter, widened for antialiasing.

        Returns:
            float32 array of shape `(height, width, channels)`. A single channel is repeated to
            three.
        """
        swapped, rows, columns = self._turn
        left, top, right, bottom = box
        if columns:
            left, right = self.width - right, self.width - left
        if rows:
            top, bottom = self.height - bottom, self.height - top
        box = (top, left, bottom, right) if swapped else (left, top, right, bottom)
        sides = size[::-1] if swapped else size
        boxes = [box] * len(self._images)
        return self._turned(boxes, sides, resampling)

    def thumbnail(self, side: int) -> np.ndarray:
        """Decode the whole picture to a small square, ignoring its aspect.

        Args:
            side: Side of the square, in pixels.

        Returns:
            float32 array of shape `(side, side, channels)`, 0 to 255. It is accurate to a few grey
            levels.
        """
        for image in self._images:
            # Decoding a JPEG at an eighth of its size takes a fifth of the time. `window` cannot do
            # this: where pixels clip, a result at 299 changes by up to several grey levels.
            image.draft(None, (2 * side, 2 * side))
        boxes = [(0, 0, *image.size) for image in self._images]
        return np.clip(self._turned(boxes, (side, side), Image.Resampling.BICUBIC), 0, 255)

    def _turned(self, boxes, sides, resampling: Image.Resampling) -> np.ndarray:
        """Scale a part of each stored image and turn the result upright."""
        swapped, rows, columns = self._turn
        channels = [
            channel
            for image, box in zip(self._images, boxes, strict=True)
            for channel in _window(image, box, sides, resampling, self._limits)
        ]
        pixels = np.stack(channels * 3 if len(channels) == 1 else channels, axis=-1)
        pixels = pixels.swapaxes(0, 1) if swapped else pixels
        return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


@contextmanager
def opened(
    path_or_bytes, name: str = "the given bytes", limits: "Limits | None" = None
) -> Iterator[Picture]:
    """Open an image file, or the bytes of one, as a picture.

    Errors inside the `with` block are raised as errors that name the file.

    Args:
        path_or_bytes: Path of a file, or its content.
        name: Name for the bytes in errors.
        limits: Limits on the pixels in memory. Defaults to `LIMITS`.

    Yields:
        The picture.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read as an image.
        OSError: For an error of the system, one of `PASSING`.
    """
    source: io.BytesIO | Path
    if isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
        source = io.BytesIO(path_or_bytes)
    elif isinstance(path_or_bytes, (str, os.PathLike)):
        name, source = str(path_or_bytes), require(path_or_bytes, "image file")
        if source.is_dir():
            raise ValueError(f"{name} is a folder, not an image file.")
    else:
        raise ValueError(
            f"Received {type(path_or_bytes).__name__}. An image is given as a path or as the "
            "bytes of an encoded file."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                yield Picture([image], limits)
    except Exception as error:  # PIL's plugins raise many classes for damaged files
        if isinstance(error, OSError) and error.errno in PASSING:
            raise
        reason = str(error).partition(" <_io.")[0]  # drop the object name that PIL adds
        raise ValueError(f"{name} cannot be read as an image: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 (upright) if the metadata is missing or damaged."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL's parsers raise many classes for damaged metadata
        return 1


PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
"""Errors of the system, not of the file: a later read may succeed."""


class Budget:
    """An amount that threads share, such as a number of pixels."""

    def __init__(self, total: int):
        self._free = self._total = total
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until `amount`, or at most the total, is free, and hold it in the `with` block."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


class Limits(NamedTuple):
    """Limits on pixels in memory: those of one band, and the decoded ones of all threads."""

    band: int
    decoded: Budget


LIMITS = Limits(BAND, Budget(AT_ONCE))


def _window(
    image: Image.Image, box, size: tuple[int, int], resampling, limits: Limits
) -> list[np.ndarray]:
    """Return the channels of a scaled window of an image, before it is turned upright.

    Scales horizontally band by band and then vertically, as Pillow does with a whole image.
    """
    (height, width), (left, top, right, bottom) = size, box
    # The filters reach beyond the window by at most two pixels of the result or of the image,
    # whichever are larger.
    reach_x, reach_y = 2 * max((right - left) / width, 1), 2 * max((bottom - top) / height, 1)
    x, end = max(0, int(left - reach_x)), min(image.width, math.ceil(right + reach_x))
    y, last = max(0, int(top - reach_y)), min(image.height, math.ceil(bottom + reach_y))
    rows = max(limits.band // (end - x), 1)
    bands = []
    with limits.decoded.hold(image.width * image.height):
        for row in range(y, last, rows):
            band = image.crop((x, row, end, min(row + rows, last)))
            part, sides = (left - x, 0, right - x, band.height), (width, band.height)
            bands.append([c.resize(sides, resampling, part) for c in _channels(band)])
    across = [
        Image.fromarray(np.concatenate([np.asarray(band) for band in channel]))
        for channel in zip(*bands, strict=True)
    ]
    part = (0, top - y, width, bottom - y)
    return [np.asarray(c.resize((width, height), resampling, part)) for c in across]


def _channels(image: Image.Image) -> list[Image.Image]:
    """Return red, green and blue, or the only channel, as float images, 0 to 255."""
    if image.mode.startswith("I"):  # 16-bit grey; PIL gives 16-bit colour as 8-bit
        grey = np.asarray(image).astype("float32") / 257
        return [Image.fromarray(grey)]
    if image.mode == "F":
        check_finite(np.asarray(image), "pixels")
        return [image]
    if image.mode == "LAB":
        to_rgb = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        image = to_rgb.apply(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode in ("1", "L"):
        return [image.convert("F")]
    return [channel.convert("F") for channel in image.convert("RGB").split()]
