"""Conversion of what Keras's `fit` accepts to batches of raw pixels and checked labels."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import grain
import keras
import numpy as np

from keras_inception_v4.data.labels import check_sample_weights
from keras_inception_v4.data.pipeline import Batches, batched
from keras_inception_v4.data.sources import Images
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.inspection import feeder, is_channels_first, task_of
from keras_inception_v4.preprocessing import check_finite, warn_of_scaled
from keras_inception_v4.progress import progress

ENDLESS = 2**40  # batches; endlessly repeated Grain datasets report about 2 ** 63
MOST = 1_000_000  # batches to count before data of unknown length is taken to be endless

WANTED = (
    "It must be arrays (images, labels) or (images, labels, weights), or batches of such: a "
    "keras.utils.PyDataset, tf.data.Dataset, torch DataLoader, or one of Grain's datasets."
)


def is_source(data) -> bool:
    """Return whether data holds unbatched images: arrays, or a source that is read by index."""
    return isinstance(data, (tuple, list)) or (hasattr(data, "take") and hasattr(data, "labels"))


def as_batches(
    data,
    model: keras.Model,
    batch_size: int,
    *,
    seed: int | None = None,
    last: str = "short",
    part: tuple[int, int] = (0, 1),
) -> Batches:
    """Convert a user's data to batches as a model takes them.

    Args:
        data: Arrays `(images, labels)` or `(images, labels, weights)`, `Images`, `ImageFiles`, or
            batches of such arrays. Batches come from a `keras.utils.PyDataset`, a
            `tf.data.Dataset`, a `torch.utils.data.DataLoader`, a `grain.MapDataset`, `IterDataset`
            or `DataLoader`, or any other iterable that can be read repeatedly. Images are raw
            pixels, channels last. Labels are integers of shape `(images,)` or `(images, 1)`, or
            one-hot; for other tasks see `Task.check_targets`. Weights are one number per image.
        model: Classifier or other model with a task's head.
        batch_size: Images per batch, for unbatched data.
        seed: Seed for shuffling images, or the batches of a PyDataset. `None` keeps their order.
            Other batches always keep it.
        last: Handling of an incomplete last batch, for unbatched data; see `batched`.
        part: Index of this process and number of processes, for unbatched data; see `batched`.

    Raises:
        ValueError: If the data is of an unknown kind, endless, empty or readable only once. Also
            if images are not in batches or have the wrong shape, or labels do not fit the task.
    """
    check_at_least(1, batch_size=batch_size)
    checked = _Checked(model)
    if is_source(data):
        if isinstance(data, (tuple, list)):
            data = _of_arrays(data, checked)
        else:
            checked.targets(data.labels)
        if len(data) == 0:
            raise ValueError("Received no images.")
        return batched(data, batch_size, seed=seed, feed=checked.feed, last=last, part=part)
    batches = _by_step(data, seed)
    if len(batches) == 0:
        raise ValueError("Received no images: the dataset is empty.")
    first = _raw(batches[0])
    checked.look(first)
    return Batches(batches, weighted=len(first) == 3).map(checked.take)


def _of_arrays(data, checked: "_Checked") -> Images:
    if len(data) not in (2, 3):
        raise ValueError(f"Received a {type(data).__name__} of {len(data)}. {WANTED}")
    pixels, labels, *given = map(_array, data)
    labels = checked.targets(labels)
    if pixels.ndim != 4 or len(pixels) != len(labels):
        raise ValueError(
            f"Received images of shape {pixels.shape} and labels of shape {labels.shape}. They "
            "must be (images, height, width, channels) and (images,)."
        )
    check_finite(pixels, "pixels of the images")
    weights = check_sample_weights(given[0], len(labels)) if given else None
    source = Images(pixels, labels, weights)
    if len(source):
        checked.look((pixels[:1], labels[:1]))
    return source


def _by_step(data, seed: int | None):
    """Return a user's batches, unchanged, as a sequence by step."""
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError("Received a PyDataset without end. Give it a length (__len__).")
        return _Passes(_of_py_dataset(data, seed), data.num_batches)
    if isinstance(data, grain.MapDataset):
        if len(data) > ENDLESS:
            raise ValueError(f"The dataset repeats without end. {HOW_TO_END}")
        return data
    if hasattr(data, "element_spec"):  # a tf.data.Dataset
        count = int(data.cardinality())
        if count == -1:
            raise ValueError(f"The dataset repeats without end. {HOW_TO_END}")
        return _Passes(lambda _: data.as_numpy_iterator(), None if count < 0 else count)
    if hasattr(data, "__array__") or isinstance(data, (str, bytes, dict)):
        raise ValueError(f"Received data of type {type(data).__name__}. {WANTED}")
    try:
        once = iter(data) is data
    except TypeError:
        raise ValueError(f"Received data of type {type(data).__name__}. {WANTED}") from None
    if once:
        raise ValueError(
            f"Received a {type(data).__name__}, which gives its images only once, and every epoch "
            f"needs them. {WANTED}"
        )
    return _Passes(lambda _: iter(data), _length(data))


def _length(data) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None


HOW_TO_END = "Leave out .repeat(), or take one epoch of it."


def _of_py_dataset(batches: keras.utils.PyDataset, seed: int | None):
    def start(epoch: int) -> Iterator:
        order = np.arange(batches.num_batches)
        if seed is not None:
            np.random.default_rng((seed, epoch)).shuffle(order)
        for index in order:
            yield batches[int(index)]
        batches.on_epoch_end()

    return start


class _Passes:
    """Batches by step from a source that can only be read in order, one pass per epoch.

    Args:
        start: Function that takes the number of an epoch and returns an iterator over its batches.
        count: Batches per pass; `None` counts them by reading one pass.
    """

    def __init__(self, start: Callable[[int], Iterator], count: int | None):
        self._start = start
        self._count = _counted(start) if count is None else count
        self._iterator: Iterator = iter(())
        self._following = -1
        self._first = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, step: int):
        epoch, index = divmod(step, self._count)
        if step == 0 and self._following == 1 < self._count:  # requested twice, first for its shape
            return self._first
        if index == 0 or step != self._following:
            self._iterator = islice(self._start(epoch), index, None)
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise ValueError(
                f"The dataset ended after {index} of {self._count} batches. It must give the same "
                "number every time it is read; an exhausted generator gives none."
            ) from None
        if index == self._count - 1:
            next(self._iterator, None)  # runs the code after the last batch, such as `on_epoch_end`
        self._following = step + 1
        self._first = batch if step == 0 else None
        return batch


def _counted(start: Callable[[int], Iterator], most: int = MOST) -> int:
    count = 0
    with progress(None, "counting (if endless, press Ctrl-C)", "batches", True) as advance:
        for _ in islice(start(0), most + 1):
            count += 1
            advance(1)
    if count > most:
        raise ValueError(f"The dataset has given {most:,} batches and not ended. {HOW_TO_END}")
    return count


class _Checked:
    """Checks of a user's batches, and their conversion to what the model takes."""

    def __init__(self, model: keras.Model):
        self.task, self.outputs = task_of(model), model.output_shape[-1]
        self.feed = feeder(model)
        shape = model.input_shape[1:]
        self.shape = (*shape[1:], shape[0]) if is_channels_first(model) else shape

    def targets(self, labels) -> np.ndarray:
        """Check labels and convert them to the form of the model's task."""
        return self.task.check_targets(labels, self.outputs)

    def look(self, batch: tuple) -> None:
        """Check a first batch, and warn if its pixels seem to be scaled."""
        pixels = self._checked(batch)[0]
        warn_of_scaled(pixels[:1], stacklevel=5)

    def take(self, batch: tuple, index: int) -> tuple:
        """Convert a batch to what the model takes; `index` is its place in the epoch."""
        pixels, *rest = self._checked(_raw(batch), index)
        return (pixels if self.feed is None else self.feed(pixels), *rest)

    def _checked(self, batch: tuple, index: int = 0) -> tuple:
        pixels, labels, *weights = batch
        if pixels.ndim != 4:
            raise ValueError(
                f"Received images of shape {pixels.shape}. They must be in batches: (batch, "
                "height, width, channels)."
            )
        for given, wanted in zip(pixels.shape[1:], self.shape, strict=True):
            if wanted not in (None, given):
                first = pixels.shape[1] == self.shape[2] != pixels.shape[3]
                hint = " The channels seem to come first: move them last." if first else ""
                raise ValueError(
                    f"Received images of shape {pixels.shape[1:]}. The model takes (height, width, "
                    f"channels) of {self.shape}.{hint}"
                )
        check_finite(pixels, f"pixels of batch {index}")
        labels = self.targets(labels)
        if len(labels) != len(pixels):
            raise ValueError(f"Received {len(pixels)} images with {len(labels)} labels in a batch.")
        return (pixels, labels, *(check_sample_weights(w, len(labels)) for w in weights))


def _array(values) -> np.ndarray:
    """Convert any backend's tensor to an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _raw(batch) -> tuple:
    """Convert a user's batch to two or three arrays."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        found = f"keys {sorted(batch)}" if isinstance(batch, dict) else type(batch).__name__
        raise ValueError(
            f"Received batches of {found}. Each must be images and labels, or images, labels and "
            "weights."
        )
    return tuple(map(_array, batch))


def all_labels(batches: Batches) -> np.ndarray:
    """Return the labels of all images, reading all batches if the labels are not known yet."""
    if batches.labels is not None:
        return batches.labels
    labels: Iterable[np.ndarray] = (batch[1] for batch in batches.each())
    return np.concatenate(list(labels))
