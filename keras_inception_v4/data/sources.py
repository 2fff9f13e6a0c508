"""Labelled images, in memory or as files."""

import io
import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.preprocessing import RANDOM_CROPS, Picture, load_image, opened, random_crop


@dataclass(frozen=True)
class Images:
    """Raw pixels `(images, height, width, channels)`, 0 to 255, labels, sample weights."""

    pixels: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

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

    def listing(self, class_names: list[str]) -> dict:
        """How many images each class has; the targets themselves where there is not one class."""
        if self.labels.ndim == 2:
            return {str(index): row for index, row in enumerate(self.labels.tolist())}
        return {name: int(np.sum(self.labels == i)) for i, name in enumerate(class_names)}


def read_all(read: Callable[[int], np.ndarray], indices, size: tuple[int, int]) -> np.ndarray:
    """RGB images of one size as one array, each put there by one of as many threads as cores."""
    pixels = np.empty((len(indices), *size, 3), "float32")

    def put(place: int) -> None:
        pixels[place] = read(indices[place])

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(put, range(len(indices))))
    return pixels


class Record(Protocol):
    """A picture inside a file of many; `str` tells where."""

    def read(self) -> bytes:
        """The encoded picture."""
        ...


def content_of(place):
    """What an image is read from, its path or its bytes: given as it is, or as a record."""
    return place.read() if hasattr(place, "read") else place


@dataclass(frozen=True)
class ImageFiles:
    """Image files or records and their labels; `size` and `crop` as in `load_image`.

    `root` is the folder that the paths are listed from; `None` for that of each class.
    """

    paths: Sequence[Path | Record]
    labels: np.ndarray
    size: tuple[int, int]
    crop: float
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices) -> np.ndarray:
        """Raw pixels of some images, decoded by all cores."""
        return read_all(
            lambda i: load_image(content_of(self.paths[i]), self.size, self.crop),
            indices,
            self.size,
        )

    def picture(self, index: int) -> AbstractContextManager[Picture]:
        """One image, to cut a window out of."""
        place = self.paths[index]
        return opened(content_of(place), str(place))

    def save(self, index: int, path: Path) -> None:
        """Copies one image's file; `path` is without suffix."""
        source = content_of(self.paths[index])
        if isinstance(source, Path):
            shutil.copyfile(source, path.with_name(f"{path.name}{source.suffix}"))
            return
        with Image.open(io.BytesIO(source)) as image:
            suffix = (image.format or "png").lower()
        path.with_name(f"{path.name}.{suffix}").write_bytes(source)

    def listing(self, class_names: list[str]) -> dict:
        """The paths of each class, from the class's folder or from `root` on.

        Where there is not one class an image, each path with its targets.
        """
        if self.labels.ndim == 2:
            places = map(self._place, self.paths)
            return dict(zip(places, self.labels.tolist(), strict=True))
        listed: dict[str, list[str]] = {name: [] for name in class_names}
        for path, label in zip(self.paths, self.labels, strict=True):
            name = class_names[label]
            if self.root is not None or not isinstance(path, Path):
                listed[name].append(self._place(path))
                continue
            parts = [unicodedata.normalize("NFC", part) for part in path.parts]
            start = len(parts) - 1 - parts[::-1].index(name)
            listed[name].append("/".join(parts[start:]))
        return listed

    def _place(self, path: Path | Record) -> str:
        return os.path.relpath(path, self.root) if isinstance(path, Path) else str(path)


class RandomCrops:
    """Images as random crops, each a function of the image and a drawn number alone.

    Args:
        source: `Images` or `ImageFiles`.
        size: height and width of the crops, in pixels.
        kind: a key of `preprocessing.RANDOM_CROPS`.
    """

    def __init__(self, source: "Images | ImageFiles", size: tuple[int, int], kind: str):
        self.source, self.labels = source, source.labels
        self.size, self.ranges = size, RANDOM_CROPS[kind]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices, draws) -> np.ndarray:
        """The crops of some images, decoded by all cores; `draws` has a number for each."""

        def read(place):
            rng = np.random.default_rng(int(draws[place]))
            with self.source.picture(int(indices[place])) as picture:
                return random_crop(picture, self.size, self.ranges, rng)

        return read_all(read, range(len(indices)), self.size)


class LabelledData(NamedTuple):
    """What a training run needs to know of its data.

    `train`, `validation` and `test` are `Images` or `ImageFiles`. `crop` is what `load_image`
    must use on files so that they look like these. `left_out` are the places that
    cannot be used, with the reason. `test` is `None` where nobody set images apart for it. `task`
    is a name of `TASKS`; for quantities `class_names` are the names of these.
    """

    train: Images | ImageFiles
    validation: Images | ImageFiles
    class_names: list[str]
    crop: float
    left_out: list[tuple[str, str]]
    test: Images | ImageFiles | None = None
    task: str = SINGLE_LABEL

    @property
    def measured(self) -> Images | ImageFiles:
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
