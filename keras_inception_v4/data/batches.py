"""Batches: whatever holds labelled images, in an order that can be repeated."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import keras
import numpy as np

from keras_inception_v4.data.arrays import Images
from keras_inception_v4.preprocessing import check_finite, warn_of_scaled


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
        batch_size: images a batch, of all processes together.
        seed: of the order; `None` keeps the images' own order.
        feed: turns raw pixels into what the model takes.
        last: what becomes of a last batch with too few images: `"short"` leaves it so,
            `"dropped"` leaves it out (other images in each epoch), `"padded"` fills it up and
            gives every batch sample weights, 0 for what fills; a mean over the batches is then
            the mean over the images.
        part: index of this process and how many there are; it reads its share of each batch.
        answers: names of the model's outputs that get the labels, if there are several.
    """

    def __init__(
        self,
        source,
        batch_size: int,
        *,
        seed: int | None = None,
        feed: Callable[[np.ndarray], np.ndarray] | None = None,
        last: str = "short",
        part: tuple[int, int] = (0, 1),
        answers: tuple[str, ...] = (),
    ):
        self.source = source
        super().__init__(len(source), seed, feed)
        self.batch_size = batch_size
        self.last = last
        self.part = part
        self.answers = answers

    def start_epoch(self, epoch: int) -> None:
        """Draws that epoch's order, and its crops."""
        super().start_epoch(epoch)
        if hasattr(self.source, "start_epoch"):
            self.source.start_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.source), self.batch_size)
        return whole + (rest > 0 and self.last != "dropped")

    def __getitem__(self, index):
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        count = len(chosen)
        if self.last == "padded":
            chosen = np.resize(chosen, self.batch_size)
        own = slice(*(len(chosen) * (self.part[0] + i) // self.part[1] for i in (0, 1)))
        labels = self.source.labels[chosen[own]]
        batch = (
            self.feed(self.source.take(chosen[own])),
            dict.fromkeys(self.answers, labels) if self.answers else labels,
        )
        if self.last != "padded":
            return batch
        images = len(self) * self.batch_size
        weights = np.where(np.arange(len(chosen)) < count, images / len(self.source), 0)
        return *batch, weights[own].astype("float32")


class ReadAhead(keras.utils.PyDataset):
    """Batches of which a thread makes the next one while the model works on this one.

    Keras's own `workers` mix into an epoch what they had read when Keras looked at the shapes.
    """

    def __init__(self, batches: Batches):
        super().__init__()
        self.batches = batches
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future] | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def start_epoch(self, epoch: int) -> None:
        """Draws that epoch's order; forgets what was read ahead in another."""
        if self._ahead is not None:
            wait([self._ahead[1]])
        self._ahead = None
        self.batches.start_epoch(epoch)

    def on_epoch_end(self):
        """Draws the next epoch's order; Keras calls it."""
        self.start_epoch(self.batches.epoch + 1)

    def __getitem__(self, index):
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == index:
            batch = ahead[1].result()
        else:
            batch = self.batches[index]
        if index + 1 < len(self):
            self._ahead = index + 1, self._thread.submit(self.batches.__getitem__, index + 1)
        return batch


class _OwnBatches(_Ordered):
    """A user's own batches of raw pixels, in another order, as a model takes them."""

    def __init__(self, batches: keras.utils.PyDataset, classes: int, seed: int | None, feed):
        super().__init__(batches.num_batches, seed, feed)
        self.batches = batches
        self.classes = classes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        batch = self.batches[int(self._order[index])]
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            found = f"keys {sorted(batch)}" if isinstance(batch, dict) else type(batch).__name__
            raise ValueError(
                f"Received batches of {found}. Each must be a pair of images and integer labels."
            )
        pixels, labels = batch
        pixels = np.asarray(pixels)
        if index == 0:
            warn_of_scaled(pixels)
        check_finite(pixels, f"pixels of batch {index}")
        return self.feed(pixels), check_labels(labels, self.classes)

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
        check_finite(source.pixels, "pixels of the images")
        warn_of_scaled(source.pixels[:1], stacklevel=4)
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
    if dataset.element_spec[0].shape.rank != 4:
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

    looked_at: list[bool] = []

    def read(pixels):
        if not looked_at:
            looked_at.append(True)
            warn_of_scaled(pixels[:1])
        return feed(pixels).astype("float32")

    def fed(pixels, labels):
        (fed,) = tf.numpy_function(read, [pixels], ["float32"])
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
    if labels.dtype.kind == "f" and np.all(np.mod(labels, 1) == 0):
        labels = labels.astype("int64")
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
        ValueError: if it has none, has no end, or can be read only once.
    """
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches
    count = int(batches.cardinality())
    if count == -1:
        raise ValueError("The dataset repeats without end. Leave out .repeat(), or .take(n) of it.")
    if count < 0:
        count = sum(1 for _ in batches)
        if count and next(iter(batches), None) is None:
            raise ValueError(
                "The dataset gives its images only once, as one does whose generator is exhausted. "
                "Make it from a function that returns a new generator each time."
            )
    if count == 0:
        raise ValueError("Received no images: the dataset is empty.")
    return count


def each_batch(
    batches, first: int = 0, *, raw: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One pass over batches as arrays, each read by a thread while the caller uses the last.

    Args:
        batches: from `as_batches`.
        first: index of the first one to read.
        raw: whether they hold raw pixels, which are looked at: scaled ones give a warning.
    """
    if isinstance(batches, keras.utils.PyDataset):
        pairs = (batches[index] for index in range(first, batches.num_batches))
        raw = False  # looked at where they were made
    else:
        pairs = iter(batches.skip(first).as_numpy_iterator())
    for pixels, labels in read_ahead(pairs):
        if raw:
            warn_of_scaled(np.asarray(pixels[:1]))
            raw = False
        yield np.asarray(pixels), np.asarray(labels)


def read_ahead(items: Iterator) -> Iterator:
    """The same items, the next one made by a thread while the caller uses one."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item
