"""From a source to batches: Grain orders, draws and reads ahead, threads decode."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import grain
import numpy as np

from keras_inception_v4.data.sources import RandomCrops, content_of, read_all
from keras_inception_v4.preprocessing import load_image

AHEAD = 1  # batches that a thread makes while the caller uses one


class ByStep(Protocol):
    """Batches by their step, counted through all epochs."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int): ...


@dataclass(frozen=True)
class Batches:
    """Batches `(pixels, labels)` or `(pixels, labels, weights)`, as a model takes them.

    `batches[step]` counts steps through all epochs, each in an order of its own; so what a training
    sees is a function of the step alone, also when it is resumed.

    Args:
        by_step: a `grain.MapDataset`, or what answers as one does; its length is an epoch's.
        labels: of all images, integers in the source's order; `None` where nobody knows before all
            are read.
        weighted: whether there are weights.
    """

    by_step: ByStep
    labels: np.ndarray | None = None
    weighted: bool = False

    def __len__(self) -> int:
        return len(self.by_step)

    def __getitem__(self, step: int):
        return self.by_step[step]

    def each(self, first: int = 0) -> Iterator:
        """The batches of the first epoch from one of them on, read ahead."""
        return read_ahead(self, range(first, len(self)))

    def map(self, change: Callable[[tuple, int], tuple], **known) -> "Batches":
        """The same batches, changed when they are read; `known` is what else then is another.

        `change` takes a batch and its index in the epoch.
        """
        return replace(self, by_step=_Changed(self.by_step, change), **known)


@dataclass(frozen=True)
class _Changed:
    batches: ByStep
    change: Callable

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int):
        return self.change(self.batches[step], step % len(self))


def batched(
    source,
    batch_size: int,
    *,
    seed: int | None = None,
    feed: Callable[[np.ndarray], np.ndarray] | None = None,
    last: str = "short",
    part: tuple[int, int] = (0, 1),
) -> Batches:
    """Batches of a source.

    Grain handles the images' numbers alone; the images of a batch are read together.

    Args:
        source: `Images`, `ImageFiles` or `RandomCrops`, or what has `labels` and `take(indices)`,
            and perhaps `weights`.
        batch_size: images a batch, of all processes together; a multiple of their number.
        seed: of the order, another in each epoch, and of the crops; `None` keeps the images' own
            order.
        feed: turns raw pixels into what the model takes; `None` for nothing.
        last: what becomes of a last batch with too few images: `"short"` leaves it so (for one
            process), `"dropped"` leaves it out (other images in each epoch), `"padded"` fills it up
            and gives every batch sample weights, 0 for what fills; a mean over the batches is then
            the mean over the images.
        part: index of this process and how many there are; it reads its share of each batch.
    """
    index, parts = part
    steps, rest = divmod(len(source), batch_size)
    steps += rest > 0 and last != "dropped"
    if last == "dropped":
        check_fills_a_batch(batch_size, len(source))
    filled = steps * batch_size
    records = grain.MapDataset.range(filled if last == "padded" else len(source))
    if seed is not None:
        # Before the shuffle, so that a draw depends on seed, epoch and image alone.
        records = records.seed(seed).random_map(_with_draw).shuffle()
    elif isinstance(source, RandomCrops):
        raise ValueError("Random crops need a seed.")
    shares = records.batch(batch_size // parts, drop_remainder=last == "dropped")
    if parts > 1:
        shares = shares[: steps * parts][index::parts]

    weights = getattr(source, "weights", None)

    def read(numbers):
        numbers, draws = numbers if seed is not None else (numbers, None)
        indices = numbers % len(source)
        drawn = (draws,) if isinstance(source, RandomCrops) else ()
        pixels = source.take(indices, *drawn)
        batch = [pixels if feed is None else feed(pixels), source.labels[indices]]
        own = [] if weights is None else [weights[indices]]
        if last == "padded":
            fill = np.where(numbers < len(source), filled / len(source), 0).astype("float32")
            own = [np.prod([fill, *own], axis=0)]
        return (*batch, *own)

    weighted = weights is not None or last == "padded"
    return Batches(shares.map(read), source.labels, weighted)


def check_fills_a_batch(batch_size: int, images: int) -> None:
    """Checks that there are images for one whole batch.

    Raises:
        ValueError: if there are not.
    """
    if images < batch_size:
        raise ValueError(
            f"Received batch_size={batch_size} and {images} training images. Every step takes a "
            "whole batch: lower it."
        )


def _with_draw(number: int, rng: np.random.Generator) -> tuple[int, np.int64]:
    return number, rng.integers(2**62)


def read_ahead(batches: ByStep, steps: range) -> Iterator:
    """The batches of some steps in turn; a thread makes the next one while the caller uses one."""
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
    following = grain.MapDataset.source(steps).map(batches.__getitem__)
    return iter(following.to_iter_dataset(options))


def padded(batch: np.ndarray, count: int) -> np.ndarray:
    """A batch of `count` images: the last one repeated, where there are fewer."""
    return np.concatenate([batch, batch[-1:].repeat(max(0, count - len(batch)), axis=0)])


def pixel_batches(
    images: np.ndarray | Sequence, batch_size: int, size: tuple[int, int], crop: float
) -> Iterator[np.ndarray]:
    """Raw pixels in batches, in order and read ahead; files are decoded by all cores.

    Args:
        images: pixels, or paths, records and the bytes of encoded images.
        batch_size: images a batch; the last one may have fewer.
        size: as in `load_image`, for files.
        crop: likewise.
    """

    def read(numbers):
        if isinstance(images, np.ndarray):
            return images[numbers]
        return read_all(lambda i: load_image(content_of(images[i]), size, crop), numbers, size)

    batches = grain.MapDataset.range(len(images)).batch(batch_size).map(read)
    return read_ahead(batches, range(len(batches)))
