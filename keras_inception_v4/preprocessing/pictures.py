"""Pictures: image files and arrays of which a window is read, however large they are."""

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

BAND = 2**22  # pixels of one picture that are floating-point numbers at a time
AT_ONCE = 2**27  # pixels that all threads together hold decoded; a larger picture comes alone

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
"""By EXIF's orientation: whether to swap the axes, then to turn rows and columns around."""


class Picture:
    """An upright image, its pixels read when a window is asked for.

    Attributes:
        width: in pixels.
        height: in pixels.
    """

    def __init__(self, images: list[Image.Image], limits: "Limits | None" = None):
        self._images, self._limits = images, limits or LIMITS
        self._turn = TURNS.get(_orientation(images[0]), UPRIGHT)
        sides = images[0].size
        self.width, self.height = sides[::-1] if self._turn[0] else sides

    @classmethod
    def of(cls, pixels: np.ndarray) -> "Picture":
        """A picture of `(height, width, channels)`."""
        channels = np.moveaxis(np.asarray(pixels, "float32"), 2, 0)
        return cls([Image.fromarray(np.ascontiguousarray(channel)) for channel in channels])

    def window(
        self,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
        resampling: Image.Resampling,
    ) -> np.ndarray:
        """A part of the picture, scaled.

        Args:
            box: left, upper, right and lower edge, in pixels.
            size: height and width of the result, in pixels.
            resampling: the filter, widened as for antialiasing.

        Returns:
            float32 `(height, width, channels)`; grey files are repeated to three channels.
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
        """Decode all of the picture to a small square, whatever its aspect.

        Args:
            side: of the square, in pixels.

        Returns:
            float32 `(side, side, channels)`, 0 to 255, accurate to a few grey levels.
        """
        for image in self._images:
            # An eighth of a JPEG is made in a fifth of the time. It is no way to smaller pixels:
            # where they clip, a result at 299 changes by up to several grey levels.
            image.draft(None, (2 * side, 2 * side))
        boxes = [(0, 0, *image.size) for image in self._images]
        return np.clip(self._turned(boxes, (side, side), Image.Resampling.BICUBIC), 0, 255)

    def _turned(self, boxes, sides, resampling: Image.Resampling) -> np.ndarray:
        """A part of each image as it lies, scaled and turned upright."""
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
    """The picture in a file or in the bytes of one; what goes wrong inside tells of the file.

    Args:
        path_or_bytes: path of a file, or its content.
        name: what errors call the bytes.
        limits: how much of it is decoded at a time; the module's own if `None`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as an image.
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
    except Exception as error:  # PIL's plugins raise whatever a damaged file leads to
        if isinstance(error, OSError) and error.errno in PASSING:
            raise
        reason = str(error).partition(" <_io.")[0]  # PIL shows what Python calls the bytes
        raise ValueError(f"{name} cannot be read as an image: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's; upright where that cannot be read, since the pixels are sound."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL's parsers raise whatever damaged metadata leads to
        return 1


PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
"""Errors of the system's, not of the file's: another time it may be read."""


class Budget:
    """An amount that threads share."""

    def __init__(self, total: int):
        self._free = self._total = total
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Waits until so much of it, or all, is free."""
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
    """How much of pictures is in memory: pixels of a band, and those that threads share."""

    band: int
    decoded: Budget


LIMITS = Limits(BAND, Budget(AT_ONCE))


def _window(
    image: Image.Image, box, size: tuple[int, int], resampling, limits: Limits
) -> list[np.ndarray]:
    """The channels of `Picture.window` of an image as it lies.

    Scales across band by band and then down, as Pillow does with the whole.
    """
    (height, width), (left, top, right, bottom) = size, box
    # What the filters reach beyond the window: at most two pixels of the result, or of the image.
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
    """Red, green and blue, or the only channel of an array, as float images, 0 to 255."""
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
