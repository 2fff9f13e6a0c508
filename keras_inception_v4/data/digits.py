"""The digits that scikit-learn embeds: real scans, no download."""

from collections.abc import Callable

import numpy as np

from keras_inception_v4.architecture import DIGITS_CROP
from keras_inception_v4.data.sources import Images, LabelledData
from keras_inception_v4.data.splits import split
from keras_inception_v4.errors import require_extra
from keras_inception_v4.preprocessing import resize_image


def digit_scans() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's 1,797 scanned digits; embedded there, no download.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Returns:
        uint8 pixels `(1797, 8, 8)`, ink 255 on 0, and integer labels `(1797,)`.

    Raises:
        ImportError: without scikit-learn; the message names the extra.
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
    """The digits as RGB images, split by class.

    Args:
        image_size: side of the square images in pixels.
        validation_split: share held out, in (0, 1).
        seed: of the split.
        fold: as in `splits.split_fold`; `None` without.
        scans: gives them, as `digit_scans`.

    Returns:
        The data with the class names `"0"` to `"9"`.
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
