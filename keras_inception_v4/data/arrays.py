"""Labelled images in memory, and how labelled data is split."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from keras_inception_v4.errors import require_extra
from keras_inception_v4.preprocessing import RANDOM_CROPS, Picture, random_crop

if TYPE_CHECKING:
    from keras_inception_v4.data.folders import ImageFiles


@dataclass(frozen=True)
class Images:
    """Raw pixels `(images, height, width, channels)`, 0 to 255, and integer labels."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices) -> np.ndarray:
        """The pixels of some images."""
        return self.pixels[indices]

    def picture(self, index: int) -> AbstractContextManager[Picture]:
        """One image, to cut a window out of."""
        return nullcontext(Picture.of(self.pixels[index]))

    def save(self, index: int, path: Path) -> None:
        """Writes one image as a PNG; `path` is without suffix."""
        pixels = np.round(self.pixels[index]).astype("uint8")
        Image.fromarray(pixels).save(path.with_name(f"{path.name}.png"))

    def listing(self, class_names: list[str]) -> dict[str, int]:
        """How many images each class has."""
        return {name: int(np.sum(self.labels == i)) for i, name in enumerate(class_names)}


def read_all(read: Callable[[int], np.ndarray], indices) -> np.ndarray:
    """Images stacked, each read by one of as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.stack(list(threads.map(read, indices)))


class RandomCrops:
    """Images as random crops, each a function of the seed, the epoch and the image alone.

    So neither threads, nor a resumed run, nor how many processes share a batch changes them.

    Args:
        source: `Images` or `ImageFiles`.
        size: height and width of the crops, in pixels.
        kind: a key of `preprocessing.RANDOM_CROPS`.
        seed: of the crops.
    """

    def __init__(self, source: "Images | ImageFiles", size: tuple[int, int], kind: str, seed: int):
        self.source, self.labels = source, source.labels
        self.size, self.ranges, self.seed = size, RANDOM_CROPS[kind], seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.labels)

    def start_epoch(self, epoch: int) -> None:
        """Draws other crops for another epoch."""
        self.epoch = epoch

    def take(self, indices) -> np.ndarray:
        """The crops of some images, decoded by all cores."""
        epoch = self.epoch

        def read(index):
            rng = np.random.default_rng((self.seed, epoch, int(index)))
            with self.source.picture(index) as picture:
                return random_crop(picture, self.size, self.ranges, rng)

        return read_all(read, indices)


class LabelledData(NamedTuple):
    """What a training run needs to know of its data.

    `train`, `validation` and `test` are `Images` or `ImageFiles`. `crop` is what `load_image`
    must use on files so that they look like these. `left_out` are the places that
    cannot be used, with the reason. `test` is `None` where nobody set images apart for it.
    """

    train: "Images | ImageFiles"
    validation: "Images | ImageFiles"
    class_names: list[str]
    crop: float
    left_out: list[tuple[str, str]]
    test: "Images | ImageFiles | None" = None

    @property
    def measured(self) -> "Images | ImageFiles":
        """What the final measures are taken on: the test images, else the held-out ones."""
        return self.validation if self.test is None else self.test

    def listing(self) -> dict:
        """Which images are used for what, as JSON values."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        listed = {
            name: images.listing(self.class_names)
            for name, images in parts.items()
            if images is not None
        }
        return {**listed, "left_out": [reason for _, reason in self.left_out]}


def split_indices(labels, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits seeded and stratified: every class gives the same share, and at least one image.

    Args:
        labels: integer labels `(images,)`, at least two images a class.
        validation_split: share held out, in (0, 1).
        seed: of the split.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: if the share leaves a class without training images.
        ImportError: without scikit-learn; the message names the extra.
    """
    selection = require_extra("sklearn.model_selection", "Splitting needs", "scikit-learn", "demo")
    labels = np.asarray(labels)
    classes = len(np.unique(labels))
    held_out_count = max(math.ceil(validation_split * len(labels)), classes)
    if not 0 < validation_split < 1 or len(labels) - held_out_count < classes:
        raise ValueError(
            f"Received validation_split={validation_split} for {len(labels)} images of {classes} "
            "classes. It must be above 0, below 1, and leave a training image for every class."
        )
    train, held_out = selection.train_test_split(
        np.arange(len(labels)), test_size=held_out_count, stratify=labels, random_state=seed
    )
    for rare in np.setdiff1d(labels, labels[held_out]):  # too few images for their share
        chosen = train[labels[train] == rare][:1]
        held_out = np.concatenate([held_out, chosen])
        train = np.setdiff1d(train, chosen)
    return train, held_out
