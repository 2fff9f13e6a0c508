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
    """Raw pixels `(images, height, width, channels)`, 0 to 255, with labels and sample weights."""

    pixels: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices) -> np.ndarray:
        """Return the pixels of some images."""
        return self.pixels[indices]

    def picture(self, index: int) -> AbstractContextManager[Picture]:
        """Open one image, from which windows can be cut."""
        return nullcontext(Picture.of(self.pixels[index]))

    def save(self, index: int, path: Path) -> None:
        """Write one image as a PNG; `path` has no suffix."""
        pixels = np.round(self.pixels[index]).astype("uint8")
        Image.fromarray(pixels).save(path.with_name(f"{path.name}.png"))

    def listing(self, class_names: list[str]) -> dict:
        """Return the number of images per class; for other tasks, the targets of each image."""
        if self.labels.ndim == 2:
            return {str(index): row for index, row in enumerate(self.labels.tolist())}
        return {name: int(np.sum(self.labels == i)) for i, name in enumerate(class_names)}


def read_all(read: Callable[[int], np.ndarray], indices, size: tuple[int, int]) -> np.ndarray:
    """Read RGB images of one size into a float32 array, with one thread per core."""
    pixels = np.empty((len(indices), *size, 3), "float32")

    def put(place: int) -> None:
        pixels[place] = read(indices[place])

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(put, range(len(indices))))
    return pixels


class Record(Protocol):
    """Image inside a file of many; `str` gives its place."""

    def read(self) -> bytes:
        """Return the encoded image."""
        ...


def content_of(place):
    """Return the bytes of a record; a path or bytes unchanged."""
    return place.read() if hasattr(place, "read") else place


@dataclass(frozen=True)
class ImageFiles:
    """Image files or records and their labels; `size` and `crop` are as in `load_image`.

    `root` is the folder that listed paths are relative to. With `None`, they begin with the folder
    of their class.
    """

    paths: Sequence[Path | Record]
    labels: np.ndarray
    size: tuple[int, int]
    crop: float
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices) -> np.ndarray:
        """Return the raw pixels of some images, decoded on all cores."""
        return read_all(
            lambda i: load_image(content_of(self.paths[i]), self.size, self.crop),
            indices,
            self.size,
        )

    def picture(self, index: int) -> AbstractContextManager[Picture]:
        """Open one image, from which windows can be cut."""
        place = self.paths[index]
        return opened(content_of(place), str(place))

    def save(self, index: int, path: Path) -> None:
        """Copy the file of one image; `path` has no suffix."""
        source = content_of(self.paths[index])
        if isinstance(source, Path):
            shutil.copyfile(source, path.with_name(f"{path.name}{source.suffix}"))
            return
        with Image.open(io.BytesIO(source)) as image:
            suffix = (image.format or "png").lower()
        path.with_name(f"{path.name}.{suffix}").write_bytes(source)

    def listing(self, class_names: list[str]) -> dict:
        """Return the paths of each class, relative to `root` or from the class's folder on.

        For other tasks, return each path with its targets.
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
    """Random crops of images; each depends only on the image and a drawn number.

    Args:
        source: Images to crop.
        size: Height and width of the crops, in pixels.
        kind: Kind of crop, a key of `preprocessing.RANDOM_CROPS`.
    """

    def __init__(self, source: "Images | ImageFiles", size: tuple[int, int], kind: str):
        self.source, self.labels = source, source.labels
        self.size, self.ranges = size, RANDOM_CROPS[kind]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices, draws) -> np.ndarray:
        """Return crops of some images, decoded on all cores; `draws` has a number for each."""

        def read(place):
            rng = np.random.default_rng(int(draws[place]))
            with self.source.picture(int(indices[place])) as picture:
                return random_crop(picture, self.size, self.ranges, rng)

        return read_all(read, range(len(indices)), self.size)


class LabelledData(NamedTuple):
    """Data of a training run.

    `crop` is the crop with which `load_image` prepares files like these images. `left_out` lists
    the places that are not used, with the reason. `test` is `None` if there is no test part.
    `task` is a key of `TASKS`; for regression, `class_names` holds the names of the quantities.
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
        """The images for the final metrics: the test images, else the held-out ones."""
        return self.validation if self.test is None else self.test

    def listing(self) -> dict:
        """Return the images of each part and those left out, as JSON values."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        listed = {
            name: images.listing(self.class_names)
            for name, images in parts.items()
            if images is not None
        }
        return {**listed, "left_out": [reason for _, reason in self.left_out]}
