"""Features of images, computed once and kept for every epoch of a head."""

import contextlib
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import keras
import numpy as np

from keras_inception_v4.architecture import HEAD
from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.data.pipeline import Batches
from keras_inception_v4.features import embedded
from keras_inception_v4.files import read_json, write_json
from keras_inception_v4.inspection import embedding_model, task_of
from keras_inception_v4.progress import progress


@dataclass(frozen=True)
class Features:
    """Features of images, their labels and weights, in memory or mapped from a file."""

    records: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> np.ndarray:
        """Labels, as the task has them."""
        return self.records["label"]

    @property
    def weights(self) -> np.ndarray | None:
        """Sample weights `(images,)`, if there are any."""
        weighted = "weight" in (self.records.dtype.names or ())
        return self.records["weight"] if weighted else None

    def take(self, indices) -> np.ndarray:
        """The features of some images, `(images, 1536)`."""
        return self.records["features"][indices]


@contextlib.contextmanager
def cached_features(
    model: keras.Model,
    data,
    *,
    batch_size: int,
    memory_budget: int,
    path: Path | None,
    verbose: bool,
) -> Iterator[Features]:
    """Passes every image through the backbone once and keeps what comes out.

    Args:
        model: a model of this package.
        data: as in `train_head`.
        batch_size: images a batch.
        memory_budget: bytes of features to hold in memory; beyond it they are on disk.
        path: a file that keeps them. A finished one is used as it is; one that grew under
            the name `path` + `.partial` is continued after its last whole batch, or anew for
            data that are batched already. `None` for a temporary one.
        verbose: whether to show a progress bar.

    Yields:
        The features, in the data's own order.

    Raises:
        ValueError: if the file is of other images or another network.
    """
    batches = as_batches(data, model, batch_size)
    extractor = embedding_model(model)
    label = task_of(model).field(model.output_shape[-1])
    record = _record(extractor.output_shape[-1], label, weights=batches.weighted)

    def append(file):
        _append(file, record, extractor, batches, batch_size, verbose)

    with contextlib.ExitStack() as stack:
        file: IO[bytes]
        if path is None:
            file = stack.enter_context(tempfile.SpooledTemporaryFile(memory_budget))
            append(file)
        else:
            _check_same(path, model, batches, batch_size)
            if not path.exists():
                partial = path.with_name(f"{path.name}.partial")
                partial.touch()
                with partial.open("r+b") as growing:
                    append(growing)
                partial.replace(path)
            file = stack.enter_context(path.open("rb"))
        size = file.seek(0, 2)
        file.seek(0)
        if size <= memory_budget:
            records = np.frombuffer(file.read(), record)
        else:
            records = np.memmap(file, record, mode="r")
        yield Features(records)


def _check_same(path: Path, model, batches, batch_size: int) -> None:
    """Records beside the file whose features it holds, or checks that."""
    weights = 0
    for layer in model.layers:
        for weight in layer.weights if layer.name != HEAD else []:
            weights = zlib.crc32(keras.ops.convert_to_numpy(weight).tobytes(), weights)
    known = {"batch_size": batch_size, "network": weights, "batches": len(batches)}
    if batches.labels is not None:
        known["labels"] = zlib.crc32(np.ascontiguousarray(batches.labels).tobytes())
    file = path.with_name(f"{path.name}.json")
    if not file.exists():
        write_json(file, known)
    elif read_json(file) != known:
        raise ValueError(
            f"{path.parent} holds features of other images, another network or another batch size. "
            "Name another folder, or delete it to begin anew."
        )


def _record(features: int, label: tuple, *, weights: bool) -> np.dtype:
    """What is kept of an image."""
    fields = [("features", "float32", features), label]
    return np.dtype([*fields, ("weight", "float32")] if weights else fields)


def _append(
    file: IO[bytes],
    record: np.dtype,
    extractor: keras.Model,
    batches: Batches,
    batch_size: int,
    verbose: bool,
) -> None:
    """Writes a record for each image, after the whole batches that are there."""
    whole = batch_size * record.itemsize
    first = 0
    if batches.labels is not None:  # a user's own may be of other sizes, and in another order
        first = min(file.seek(0, 2) // whole, len(batches))
    file.truncate(first * whole)
    file.seek(0, 2)
    known = []

    def pixels_only():
        for pixels, *labels_and_weights in batches.each(first):
            known.append(labels_and_weights)
            yield pixels

    with progress(len(batches), "features", "batches", verbose) as advance:
        advance(first)
        for found in embedded(extractor, pixels_only(), batch_size):
            records = np.empty(len(found), record)
            for name, values in zip(record.names or (), (found, *known.pop(0)), strict=True):
                records[name] = values
            file.write(records.tobytes())
            file.flush()
            advance(1)
