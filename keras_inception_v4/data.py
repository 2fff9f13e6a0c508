"""Images with labels: the embedded digits, and batches in a reproducible order."""

from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.preprocessing import resize_image


class Images(NamedTuple):
    """Raw pixels `(images, height, width, 3)`, float32, RGB, 0 to 255, and integer labels."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class LabelledData(NamedTuple):
    """What a training run needs to know of its data.

    `crop` is what `load_image` must use on files so that they look like these.
    """

    train: Images
    validation: Images
    class_names: list[str]
    crop: float


DIGITS_CROP = 1.0  # a quarter of a digit's ink is in the outer ring


def digit_scans() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's 1,797 scanned digits; embedded there, no download.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Returns:
        uint8 pixels `(1797, 8, 8)`, ink 255 on 0, and integer labels `(1797,)`.

    Raises:
        ImportError: without scikit-learn; the message names the extra.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "The digits need scikit-learn: pip install 'keras-inception-v4[demo]'"
        ) from None
    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype("uint8"), digits.target


def load_digits_data(
    image_size: int, *, validation_split: float = 0.2, seed: int = 0
) -> LabelledData:
    """The digits as RGB images, split by class.

    Args:
        image_size: side of the square images in pixels.
        validation_split: share held out, in (0, 1).
        seed: of the split.

    Returns:
        The data with the class names `"0"` to `"9"`.
    """
    scans, labels = digit_scans()
    train, validation = split_indices(labels, validation_split, seed)
    size = (image_size, image_size)
    pixels = np.stack([resize_image(scan, size, DIGITS_CROP) for scan in scans])
    return LabelledData(
        Images(pixels[train], labels[train]),
        Images(pixels[validation], labels[validation]),
        [str(digit) for digit in range(10)],
        DIGITS_CROP,
    )


def split_indices(labels, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits seeded and stratified: every class gives the same share.

    Args:
        labels: integer labels `(images,)`.
        validation_split: share held out, in (0, 1).
        seed: of the split.

    Returns:
        Indices of the training and of the held-out images.
    """
    from sklearn.model_selection import train_test_split

    return train_test_split(
        np.arange(len(labels)), test_size=validation_split, stratify=labels, random_state=seed
    )


class Batches(keras.utils.PyDataset):
    """Batches in an order that is a function of seed and epoch, so a run can be resumed.

    Args:
        images: pixels and integer labels.
        batch_size: images a batch; the last one may be smaller.
        seed: of the order; `None` keeps the images' own order.
    """

    def __init__(self, images: Images, batch_size: int, *, seed: int | None = None):
        super().__init__()
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._order = self._draw()

    def _draw(self) -> np.ndarray:
        if self.seed is None:
            return np.arange(len(self.images))
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images))

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index):
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.images.pixels[chosen], self.images.labels[chosen]

    def on_epoch_end(self):
        self.epoch += 1
        self._order = self._draw()
