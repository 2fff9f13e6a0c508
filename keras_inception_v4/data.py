"""Images and labels: the embedded digits, folders and their scan, batches in order."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.preprocessing import check_image, resize_image
from keras_inception_v4.progress import progress

LISTED = 10


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
        """Draws the next epoch's order; Keras calls it."""
        self.epoch += 1
        self._order = self._draw()


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Every file below a folder, hidden ones apart, sorted by path.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file, or empty.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder of images.")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise ValueError(f"{folder} holds no images.")
    return paths


def scan_images(paths: Sequence[Path], *, verbose: bool = True) -> list[tuple[str, str]]:
    """Decodes every file with all cores, to find those that are no image or damaged.

    Args:
        paths: files.
        verbose: whether to show a progress bar.

    Returns:
        Path and reason of each bad file, in the given order.
    """
    with progress(len(paths), "checking", "files", verbose) as advance:

        def reason(path):
            try:
                check_image(path)
            except (ValueError, OSError) as error:
                return str(error)
            finally:
                advance(1)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            reasons = list(threads.map(reason, paths))
    return [(str(path), text) for path, text in zip(paths, reasons, strict=True) if text]


def sound_images(
    paths: Sequence[Path], *, skip_corrupt: bool, verbose: bool = True
) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files that can be read, and the others with the reason.

    Raises:
        ValueError: if there are others and `skip_corrupt` is false, or nothing is left.
    """
    bad = scan_images(paths, verbose=verbose)
    if bad and not skip_corrupt:
        listed = "\n".join(f"  {reason}" for _, reason in bad[:LISTED])
        more = f"\n  ... ({len(bad) - LISTED} more)" if len(bad) > LISTED else ""
        raise ValueError(
            f"{len(bad)} of {len(paths)} files cannot be used:\n{listed}{more}\nMend or remove "
            "them, or leave them out with --skip-corrupt (skip_corrupt=True)."
        )
    left_out = {path for path, _ in bad}
    sound = [path for path in paths if str(path) not in left_out]
    if not sound:
        raise ValueError(f"None of the {len(paths)} files is an image that can be read.")
    return sound, bad
