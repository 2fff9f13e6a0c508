"""Features of a frozen network, computed once and cached for every epoch."""

import contextlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import keras
import numpy as np

from keras_inception_v4.data.pipeline import Batches, read_ahead
from keras_inception_v4.features import embedded
from keras_inception_v4.files import read_json, write_json
from keras_inception_v4.inspection import task_of
from keras_inception_v4.preprocessing import check_finite
from keras_inception_v4.progress import progress
from keras_inception_v4.training.processes import is_first, part, wait_for_all

MEMORY_BUDGET = 1 << 30  # bytes of features to hold in memory; larger caches are on disk


@dataclass(frozen=True)
class Features:
    """Features of images with their labels and weights, in memory or mapped from a file."""

    records: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> np.ndarray:
        """Labels, in the format of the task."""
        return self.records["label"]

    @property
    def weights(self) -> np.ndarray | None:
        """Sample weights of shape `(images,)`, or `None` if there are none."""
        weighted = "weight" in (self.records.dtype.names or ())
        return self.records["weight"] if weighted else None

    def take(self, indices) -> np.ndarray:
        """Return the features of the images at `indices`, of shape `(images, ...)`."""
        return self.records["features"][indices]


class Part(NamedTuple):
    """Part of a network whose output is cached.

    Attributes:
        model: Model from pixels, as `Batches` yield them, to features.
        dtype: Data type of the cached features. Defaults to `"float32"`.
        prepare: Function that changes a batch's pixels before the model; takes the pixels and the
            step of the batch.
        place: Function that puts a batch where the model is; see `devices.on_own_devices`.
        about: Everything else that decides the features, as JSON values.
    """

    model: keras.Model
    dtype: str = "float32"
    prepare: Callable[[np.ndarray, int], np.ndarray] | None = None
    place: Callable[[np.ndarray], Any] = np.asarray
    about: Mapping = MappingProxyType({})


def record_of(model: keras.Model, part: Part, *, weights: bool) -> np.dtype:
    """Return the data type of the record that is cached for one image.

    Args:
        model: Classifier, which decides the format of the labels.
        part: Part of the network whose output is cached.
        weights: Whether images have weights.
    """
    label = task_of(model).field(model.output_shape[-1])
    fields = [("features", part.dtype, part.model.output_shape[1:]), label]
    return np.dtype([*fields, ("weight", "float32")] if weights else fields)


@contextlib.contextmanager
def cached_features(
    model: keras.Model,
    batches: Batches,
    part: Part,
    *,
    batch_size: int,
    memory_budget: int,
    path: Path | None,
    verbose: bool,
    epoch: int = 0,
) -> Iterator[Features]:
    """Yield the features of all images, computed in one pass through a part of a network.

    With several processes and a `path`, each process computes a share of the images. The first
    process merges the shares.

    Args:
        model: The classifier.
        batches: Batches of images, in their original order.
        part: Part of the model. It begins at the model's input or after its augmentation.
        batch_size: Images per batch.
        memory_budget: Bytes of features to hold in memory; larger caches are on disk.
        path: File that holds the features. A finished file is used as it is. An unfinished one has
            the name `path` + `.partial` and is continued after its last whole batch; it is started
            again for data that come in batches. With several processes, each has a partial file of
            its own. `None` uses a temporary file.
        verbose: Whether to show a progress bar.
        epoch: Epoch whose batches are cached, where they differ by epoch. Defaults to 0.

    Yields:
        The features, in the order of the batches.

    Raises:
        ValueError: If the file belongs to other images, another network or another batch size, or
            if a feature is not finite.
    """
    record = record_of(model, part, weights=batches.weighted)
    every = range(epoch * len(batches), (epoch + 1) * len(batches))

    def append(file, steps=every):
        _append(file, record, part, batches, steps, batch_size, verbose)

    with contextlib.ExitStack() as stack:
        file: IO[bytes]
        if path is None:
            file = stack.enter_context(tempfile.SpooledTemporaryFile(memory_budget))
            append(file)
        else:
            _check_same(path, part, batches, batch_size)
            if not path.exists():
                _write(path, append, every)
            file = stack.enter_context(path.open("rb"))
        size = file.seek(0, 2)
        file.seek(0)
        if size <= memory_budget:
            records = np.frombuffer(file.read(), record)
        else:
            records = np.memmap(file, record, mode="r")
        yield Features(records)


def _write(path: Path, append: Callable[[IO[bytes], range], None], steps: range) -> None:
    """Write the features of all steps to a file; each process computes its share."""
    index, parts = part()
    bounds = [len(steps) * i // parts for i in range(parts + 1)]
    shares = [
        path.with_name(f"{path.name}{f'.{i}-of-{parts}' if parts > 1 else ''}.partial")
        for i in range(parts)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    shares[index].touch()
    with shares[index].open("r+b") as growing:
        append(growing, steps[bounds[index] : bounds[index + 1]])
    wait_for_all(f"shares of {path.name}")
    if is_first():
        with shares[0].open("ab") as whole:
            for file in shares[1:]:
                with file.open("rb") as one:
                    shutil.copyfileobj(one, whole)
        shares[0].replace(path)
        for file in path.parent.glob(f"{path.name}.*partial"):  # of other numbers of processes too
            file.unlink()
    wait_for_all(path.name)


def _check_same(path: Path, part: Part, batches: Batches, batch_size: int) -> None:
    """Check that the features in a file fit the arguments; describe them in JSON if it is new."""
    weights = 0
    for layer in part.model.layers:
        for weight in layer.weights:
            weights = zlib.crc32(keras.ops.convert_to_numpy(weight).tobytes(), weights)
    known = {"batch_size": batch_size, "network": weights, "batches": len(batches), **part.about}
    if part.dtype != "float32":
        known["dtype"] = part.dtype

    if batches.labels is not None:
        known["labels"] = zlib.crc32(np.ascontiguousarray(batches.labels).tobytes())
    file = path.with_name(f"{path.name}.json")
    if not file.exists():
        if is_first():
            write_json(file, known)
    elif read_json(file) != known:
        raise ValueError(
            f"{path.parent} holds features of other images, another network or another batch size. "
            "Choose another folder, or delete this one to start again."
        )


def _append(
    file: IO[bytes],
    record: np.dtype,
    part: Part,
    batches: Batches,
    steps: range,
    batch_size: int,
    verbose: bool,
) -> None:
    """Write a record for each image, after the whole batches that the file already holds."""
    whole = batch_size * record.itemsize
    first = 0
    if batches.labels is not None:  # a user's batches may differ in size and order
        first = min(file.seek(0, 2) // whole, len(steps))
    file.truncate(first * whole)
    file.seek(0, 2)
    known = []

    def pixels_only():
        left = steps[first:]
        for step, (pixels, *labels_and_weights) in zip(
            left, read_ahead(batches, left), strict=True
        ):
            known.append(labels_and_weights)
            yield pixels if part.prepare is None else part.prepare(pixels, step)

    with progress(len(steps), "features", "batches", verbose) as advance:
        advance(first)
        for found in embedded(part.model, pixels_only(), batch_size, part.place):
            records = np.empty(len(found), record)
            with np.errstate(over="ignore"):
                found = found.astype(part.dtype)
            check_finite(found, f"features of {part.model.name!r} in {part.dtype}")
            for name, values in zip(record.names or (), (found, *known.pop(0)), strict=True):
                records[name] = values
            file.write(records.tobytes())
            file.flush()
            advance(1)
