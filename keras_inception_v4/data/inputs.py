"""Everything that Keras's `fit` accepts, as batches of raw pixels and checked labels."""

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

ENDLESS = 2**40  # batches; Grain's repeated data sets say that they have 2 ** 63
MOST = 1_000_000  # batches that are counted before data of unknown length are taken for endless

WANTED = (
    "It must be arrays (images, labels) or (images, labels, weights), or batches of such: a "
    "keras.utils.PyDataset, tf.data.Dataset, torch DataLoader, or one of Grain's data sets."
)


def is_source(data) -> bool:
    """Whether data are images that are not batched yet: arrays, or what reads by index."""
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
    """Batches as a classifier takes them, from what a user has.

    Args:
        data: arrays `(images, labels)` or `(images, labels, weights)`, `Images`, `ImageFiles`, or
            batches of such arrays: a `keras.utils.PyDataset`, a `tf.data.Dataset`, a
            `torch.utils.data.DataLoader`, a `grain.MapDataset`, `IterDataset` or `DataLoader`, or
            anything else that can be iterated over again and again. Images are raw pixels, channels
            last; labels are integers `(images,)` or `(images, 1)`, or one-hot, for other tasks as
            `Task.check_targets` wants them; weights are of the images.
        model: classifier.
        batch_size: images a batch; for data that is not batched yet.
        seed: of the order of images, or of a PyDataset's batches; `None` keeps the data's own, as
            all other batches do.
        last: as in `batched`, for data that is not batched yet.
        part: likewise.

    Raises:
        ValueError: for data of another kind, that is unbatched, endless or empty or can be read
            only once, for images of another shape, and for labels that are not classes.
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
        raise ValueError("Received no images: the data set is empty.")
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
    """A user's batches by their step, as they are."""
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError("Received a PyDataset without end. Give it a length (__len__).")
        return _Passes(_of_py_dataset(data, seed), data.num_batches)
    if isinstance(data, grain.MapDataset):
        if len(data) > ENDLESS:
            raise ValueError(f"The data set repeats without end. {HOW_TO_END}")
        return data
    if hasattr(data, "element_spec"):  # a tf.data.Dataset
        count = int(data.cardinality())
        if count == -1:
            raise ValueError(f"The data set repeats without end. {HOW_TO_END}")
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
    """Batches that can only be read from their beginning, by step: a pass for each epoch.

    Args:
        start: takes the number of an epoch and begins to read.
        count: batches a pass; `None` counts them.
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
        if step == 0 and self._following == 1 < self._count:  # asked again, as for its shape
            return self._first
        if index == 0 or step != self._following:
            self._iterator = islice(self._start(epoch), index, None)
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise ValueError(
                f"The data set ended after {index} of {self._count} batches. Each time that it is "
                "read it must give as many; a generator that is exhausted gives none."
            ) from None
        if index == self._count - 1:
            next(self._iterator, None)  # lets it see its end
        self._following = step + 1
        self._first = batch if step == 0 else None
        return batch


def _counted(start: Callable[[int], Iterator], most: int = MOST) -> int:
    count = 0
    with progress(None, "counting (data without end: Ctrl-C)", "batches", True) as advance:
        for _ in islice(start(0), most + 1):
            count += 1
            advance(1)
    if count > most:
        raise ValueError(f"The data set has given {most:,} batches and not ended. {HOW_TO_END}")
    return count


class _Checked:
    """Checks a user's batch, and makes of it what the model takes."""

    def __init__(self, model: keras.Model):
        self.task, self.outputs = task_of(model), model.output_shape[-1]
        self.feed = feeder(model)
        shape = model.input_shape[1:]
        self.shape = (*shape[1:], shape[0]) if is_channels_first(model) else shape

    def targets(self, labels) -> np.ndarray:
        """Labels as the model's task has them."""
        return self.task.check_targets(labels, self.outputs)

    def look(self, batch: tuple) -> None:
        """Checks a first batch; scaled pixels give a warning."""
        pixels = self._checked(batch)[0]
        warn_of_scaled(pixels[:1], stacklevel=5)

    def take(self, batch: tuple, index: int) -> tuple:
        """A batch as the model takes it; `index` is its place in the epoch."""
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
                hint = " They look as if the channels came first: move them." if first else ""
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
    """Any backend's tensor as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _raw(batch) -> tuple:
    """A user's batch as two or three arrays."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        found = f"keys {sorted(batch)}" if isinstance(batch, dict) else type(batch).__name__
        raise ValueError(
            f"Received batches of {found}. Each must be images and labels, or images, labels and "
            "weights."
        )
    return tuple(map(_array, batch))


def all_labels(batches: Batches) -> np.ndarray:
    """Labels of all images; reads them where nobody knows them yet."""
    if batches.labels is not None:
        return batches.labels
    labels: Iterable[np.ndarray] = (batch[1] for batch in batches.each())
    return np.concatenate(list(labels))
