"""Batches: whatever holds labelled images, in an order that can be repeated."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_inception_v4.data.arrays import Images


class _Ordered(keras.utils.PyDataset):
    """Something in an order that is a function of seed and epoch, so a fit can be resumed.

    Keras must not shuffle it (`fit(..., shuffle=False)`): its own order is random.
    """

    def __init__(self, count: int, seed: int | None, feed):
        super().__init__()
        self.seed = seed
        self.feed = feed or (lambda pixels: pixels)
        self._count = count
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draws that epoch's order."""
        self.epoch = epoch
        if self.seed is None:
            self._order = np.arange(self._count)
        else:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self._count)

    def on_epoch_end(self):
        """Draws the next epoch's order; Keras calls it."""
        self.start_epoch(self.epoch + 1)


class Batches(_Ordered):
    """Batches of images.

    Args:
        source: `Images`, or anything with `labels` and `take(indices)`.
        batch_size: images a batch; the last one may be smaller.
        seed: of the order; `None` keeps the images' own order.
        feed: turns raw pixels into what the model takes.
    """

    def __init__(
        self,
        source,
        batch_size: int,
        *,
        seed: int | None = None,
        feed: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        super().__init__(len(source), seed, feed)
        self.source = source
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, index):
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.feed(self.source.take(chosen)), self.source.labels[chosen]


class _OwnBatches(_Ordered):
    """A user's own batches of raw pixels, in another order, as a model takes them."""

    def __init__(self, batches: keras.utils.PyDataset, classes: int, seed: int | None, feed):
        super().__init__(batches.num_batches, seed, feed)
        self.batches = batches
        self.classes = classes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        pixels, labels = self.batches[int(self._order[index])]
        return self.feed(np.asarray(pixels)), check_labels(labels, self.classes)

    def on_epoch_end(self):
        super().on_epoch_end()
        self.batches.on_epoch_end()


def as_batches(data, batch_size: int, *, classes: int, seed: int | None = None, feed=None):
    """What `fit` takes, from what a user has.

    Args:
        data: a pair of arrays `(images, integer labels)` (`Images` and `ImageFiles` are
            such pairs), a batched `tf.data.Dataset` of such pairs, or a
            `keras.utils.PyDataset` of them; raw pixels, channels last.
        batch_size: images a batch; for data that is not batched yet.
        classes: of the model.
        seed: of the order of images, or of a PyDataset's batches; `None` keeps the data's own.
            A tf.data.Dataset always keeps its own.
        feed: turns raw pixels into what the model takes, `None` for nothing.

    Raises:
        ValueError: for data of another kind, or labels that are not classes.
    """
    if batch_size < 1:
        raise ValueError(f"Received batch_size={batch_size}. It must be at least 1.")
    if isinstance(data, keras.utils.PyDataset):
        return _OwnBatches(data, classes, seed, feed)
    if hasattr(data, "take") and hasattr(data, "labels"):
        source = data
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        source = Images(np.asarray(data[0]), check_labels(data[1], classes))
        if source.pixels.ndim != 4 or len(source.pixels) != len(source.labels):
            raise ValueError(
                f"Received images of shape {source.pixels.shape} and labels of shape "
                f"{source.labels.shape}. They must be (images, height, width, channels) and "
                "(images,)."
            )
    elif hasattr(data, "element_spec"):  # a tf.data.Dataset
        return _mapped(data, feed)
    else:
        raise ValueError(
            f"Received data of type {type(data).__name__}. It must be a pair of arrays (images, "
            "integer labels), a batched tf.data.Dataset of such pairs, or a keras.utils.PyDataset."
        )
    if len(source) == 0:
        raise ValueError("Received no images.")
    check_labels(source.labels, classes)
    return Batches(source, batch_size, seed=seed, feed=feed)


def _mapped(dataset, feed):
    if not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) != 2:
        raise ValueError(
            f"Received a dataset of {dataset.element_spec}. It must give pairs of images and "
            "integer labels."
        )
    if len(dataset.element_spec[0].shape) != 4:
        raise ValueError(
            f"Received a dataset of images of shape {dataset.element_spec[0].shape}. It must be "
            "batched: (batch, height, width, channels)."
        )
    labels = dataset.element_spec[1]
    if not labels.dtype.is_integer or labels.shape.rank not in (1, 2):
        raise ValueError(
            f"Received a dataset with labels {labels}. They must be one integer an image "
            "(label_mode='int')."
        )
    if feed is None:
        return dataset
    import tensorflow as tf

    def fed(pixels, labels):
        (fed,) = tf.numpy_function(lambda x: feed(x).astype("float32"), [pixels], ["float32"])
        sides = [8 if side is None else side for side in pixels.shape[1:]]
        shape = feed(np.zeros((1, *sides), "float32")).shape[1:]
        fed.set_shape((None, *(None,) * 3) if None in pixels.shape[1:] else (None, *shape))
        return fed, labels

    return dataset.map(fed)


def check_labels(labels, classes: int) -> np.ndarray:
    """Labels as integers `(images,)`.

    Raises:
        ValueError: if they are none, or not classes of the model.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Received labels of shape {labels.shape} and dtype {labels.dtype}. They must be one "
            "integer an image."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"Received labels from {labels.min()} to {labels.max()}. The model's classes are 0 to "
            f"{classes - 1}."
        )
    return labels


def count_batches(batches) -> int:
    """How many batches an epoch has; counts a dataset of unknown length.

    Raises:
        ValueError: if it has no end.
    """
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches
    count = int(batches.cardinality())
    if count == -1:
        raise ValueError("The dataset repeats without end. Leave out .repeat(), or .take(n) of it.")
    return count if count >= 0 else sum(1 for _ in batches)


def each_batch(batches, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One pass over batches as arrays, each read by a thread while the caller uses the last."""
    if isinstance(batches, keras.utils.PyDataset):
        pairs = (batches[index] for index in range(first, batches.num_batches))
    else:
        pairs = iter(batches.skip(first).as_numpy_iterator())
    for pixels, labels in read_ahead(pairs):
        yield np.asarray(pixels), np.asarray(labels)


def read_ahead(items: Iterator) -> Iterator:
    """The same items, the next one made by a thread while the caller uses one."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item
