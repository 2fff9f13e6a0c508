"""Scanned digits that come with scikit-learn, without a download."""

from collections.abc import Callable

import numpy as np

from keras_inception_v4.architecture import DIGITS_CROP
from keras_inception_v4.data.sources import Images, LabelledData
from keras_inception_v4.data.splits import split
from keras_inception_v4.errors import require_extra
from keras_inception_v4.preprocessing import resize_image


def digit_scans() -> tuple[np.ndarray, np.ndarray]:
    """Return the 1,797 scanned digits that come with scikit-learn, without a download.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Returns:
        uint8 pixels `(1797, 8, 8)`, with ink 255 on background 0, and integer labels `(1797,)`.

    Raises:
        ImportError: If scikit-learn is missing; the message names the extra.
    """
    datasets = require_extra("sklearn.datasets", "The digits need", "scikit-learn", "demo")
    digits = datasets.load_digits()
    return np.round(digits.images * (255 / 16)).astype("uint8"), digits.target


def load_digits_data(
    image_size: int,
    *,
    validation_split: float = 0.2,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    scans: Callable[[], tuple[np.ndarray, np.ndarray]] = digit_scans,
) -> LabelledData:
    """Return the digits as RGB images, split with stratification by class.

    Args:
        image_size: Side of the square images in pixels.
        validation_split: Share of the images to hold out, above 0 and below 1. Defaults to 0.2.
        seed: Seed for the split.
        fold: Fold to hold out, as in `splits.split_fold`; `None` for a single split.
        scans: Function that returns the scans and labels, like `digit_scans`.

    Returns:
        The training and held-out images, with the class names `"0"` to `"9"`.
    """
    pictures, labels = scans()
    train, validation = split(labels, None, validation_split=validation_split, seed=seed, fold=fold)
    size = (image_size, image_size)
    pixels = np.stack([resize_image(scan, size, DIGITS_CROP) for scan in pictures])
    return LabelledData(
        Images(pixels[train], labels[train]),
        Images(pixels[validation], labels[validation]),
        [str(digit) for digit in range(10)],
        DIGITS_CROP,
        [],
    )
