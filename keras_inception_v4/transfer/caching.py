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

from keras_inception_v4.data import Batches, as_batches, check_labels, count_batches, each_batch
from keras_inception_v4.features import embedded, embedding_model
from keras_inception_v4.files import read_json, write_json
from keras_inception_v4.preprocessing.feeding import feeder
from keras_inception_v4.progress import progress


@dataclass(frozen=True)
class Features:
    """Features of images and their labels, in memory or mapped from a file."""

    records: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> np.ndarray:
        """Integer labels `(images,)`."""
        return self.records["label"]

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
    classes = model.output_shape[-1]
    feed = feeder(model)
    batches = as_batches(data, batch_size, classes=classes, feed=feed)
    extractor = embedding_model(model)
    record = np.dtype([("features", "float32", extractor.output_shape[-1]), ("label", "int64")])

    def append(file):
        _append(file, record, extractor, batches, batch_size, classes, feed is None, verbose)

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
        for weight in layer.weights if layer.name != "predictions" else []:
            weights = zlib.crc32(keras.ops.convert_to_numpy(weight).tobytes(), weights)
    known = {"batch_size": batch_size, "network": weights, "batches": count_batches(batches)}
    if isinstance(batches, Batches):
        known["labels"] = zlib.crc32(np.ascontiguousarray(batches.source.labels).tobytes())
    file = path.with_name(f"{path.name}.json")
    if not file.exists():
        write_json(file, known)
    elif read_json(file) != known:
        raise ValueError(
            f"{path.parent} holds features of other images, another network or another batch size. "
            "Name another folder, or delete it to begin anew."
        )


def _append(file, record, extractor, batches, batch_size, classes, raw, verbose) -> None:
    """Writes a record for each image, after the whole batches that are there."""
    whole = batch_size * record.itemsize
    first = 0
    if isinstance(batches, Batches):  # a user's own may be of other sizes, and in another order
        first = min(file.seek(0, 2) // whole, len(batches))
    file.truncate(first * whole)
    file.seek(0, 2)
    labels = []

    def pixels_only():
        for pixels, batch_labels in each_batch(batches, first, raw=raw):
            labels.append(check_labels(batch_labels, classes))
            yield pixels

    with progress(count_batches(batches), "features", "batches", verbose) as advance:
        advance(first)
        for found in embedded(extractor, pixels_only(), batch_size):
            records = np.empty(len(found), record)
            records["features"], records["label"] = found, labels.pop(0)
            file.write(records.tobytes())
            file.flush()
            advance(1)
