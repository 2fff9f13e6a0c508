"""Random crops, the augmentation used to train Inception. Keras has no layer for it."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_inception_v4.preprocessing.pictures import Picture

ATTEMPTS = 100
LUMINANCE = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601
TO_YIQ = np.array(
    [LUMINANCE, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], "float32"
)  # NTSC, 1953


class Ranges(NamedTuple):
    """Ranges from which the values for each image are drawn uniformly.

    Attributes:
        area: Share of the image that the crop keeps.
        aspect: Width of the crop over its height.
        mirror: Whether to mirror an image with probability 0.5.
        brightness: Largest offset in either direction, in grey levels.
        contrast: Factor on the distance of a pixel from the image's mean.
        saturation: Factor on the distance of a pixel from grey.
        hue: Largest turn of the colour circle in either direction, as a share of the circle.
    """

    area: tuple[float, float]
    aspect: tuple[float, float]
    mirror: bool = False
    brightness: float = 0
    contrast: tuple[float, float] = (1, 1)
    saturation: tuple[float, float] = (1, 1)
    hue: float = 0


RANDOM_CROPS = {
    # Slim's `inception_preprocessing`: distorted_bounding_box_crop and distort_color.
    "photographs": Ranges((0.05, 1.0), (3 / 4, 4 / 3), True, 32.0, (0.5, 1.5), (0.5, 1.5), 0.2),
    # A twentieth of a digit, letter or sign, or its mirror image, can look like another one.
    "symbols": Ranges((0.8, 1.0), (0.9, 1.1)),
}


def random_crop(
    picture: Picture, size: tuple[int, int], ranges: Ranges, rng: np.random.Generator
) -> np.ndarray:
    """Cut a random window out of a picture, scale it, mirror it and change its colours.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015, and slim's
    `inception_preprocessing`. The hue is turned in YIQ, not in HSV.

    Args:
        picture: Picture of a file or an array.
        size: Height and width of the result, in pixels.
        ranges: Ranges of the random values.
        rng: Random number generator.

    Returns:
        float32 array of shape `(height, width, 3)`, RGB, 0 to 255.
    """
    box = random_box(picture.height, picture.width, ranges, rng)
    pixels = picture.window(box, size, Image.Resampling.BILINEAR)
    if ranges.mirror and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return np.clip(_recoloured(pixels, ranges, rng), 0, 255)


def random_box(
    height: int, width: int, ranges: Ranges, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a window by area and aspect and return its left, upper, right and lower edge.

    If none of 100 draws fits into the image, the window is the whole image, as in slim.
    """
    for _ in range(ATTEMPTS):
        area = rng.uniform(*ranges.area) * height * width
        aspect = rng.uniform(*ranges.aspect)
        crop_width, crop_height = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 1 <= crop_width <= width and 1 <= crop_height <= height:
            left = int(rng.integers(width - crop_width + 1))
            top = int(rng.integers(height - crop_height + 1))
            return left, top, left + crop_width, top + crop_height
    return 0, 0, width, height


def _recoloured(pixels: np.ndarray, ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, saturation, hue and contrast with one matrix and an offset per channel."""
    brightness = rng.uniform(-ranges.brightness, ranges.brightness)
    contrast, saturation = rng.uniform(*ranges.contrast), rng.uniform(*ranges.saturation)
    angle = 2 * np.pi * rng.uniform(-ranges.hue, ranges.hue)
    if (brightness, contrast, saturation, angle) == (0, 1, 1, 0):
        return pixels
    turn = np.eye(3, dtype="float32")
    turn[1:, 1:] = saturation * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    matrix = contrast * (np.linalg.inv(TO_YIQ) @ turn @ TO_YIQ)
    mean = pixels.mean(axis=(0, 1))
    offset = brightness + matrix @ mean / contrast - matrix @ mean
    return pixels @ matrix.T.astype("float32") + offset.astype("float32")
