"""Batches from a source: Grain shuffles, draws random numbers and prefetches; threads decode."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import grain
import numpy as np

from keras_inception_v4.data.sources import RandomCrops, content_of, read_all
from keras_inception_v4.preprocessing import load_image

AHEAD = 1  # batches that a thread prepares while the caller uses one


class ByStep(Protocol):
    """Batches by step, counted across all epochs."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int): ...


@dataclass(frozen=True)
class Batches:
    """Batches `(pixels, labels)` or `(pixels, labels, weights)`, as a model takes them.

    `batches[step]` counts steps across all epochs, each of which has its own order. What training
    sees depends on the step alone, so a resumed run sees the same batches.

    Args:
        by_step: A `grain.MapDataset` or an equivalent; its length is the steps of one epoch.
        labels: Labels or targets of all images in the source's order; `None` if they are not known
            before all batches are read.
        weighted: Whether batches have weights.
    """

    by_step: ByStep
    labels: np.ndarray | None = None
    weighted: bool = False

    def __len__(self) -> int:
        return len(self.by_step)

    def __getitem__(self, step: int):
        return self.by_step[step]

    def each(self, first: int = 0) -> Iterator:
        """Iterate over the batches of the first epoch from index `first` on, with prefetching."""
        return read_ahead(self, range(first, len(self)))

    def map(self, change: Callable[[tuple, int], tuple], **known) -> "Batches":
        """Return the same batches with `change` applied as they are read.

        Args:
            change: Function of a batch and its index in the epoch.
            **known: Fields that change as well, such as `labels`.
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
    """Build the batches of a source.

    Grain handles only the indices of the images; the images of a batch are read together.

    Args:
        source: `Images`, `ImageFiles` or `RandomCrops`, or any object with `labels`,
            `take(indices)` and optional `weights`.
        batch_size: Images per batch across all processes; a multiple of the number of processes.
        seed: Seed for shuffling, different in each epoch, and for random crops. `None` keeps the
            order of the images.
        feed: Function from raw pixels to what the model takes; `None` leaves them unchanged.
        last: Handling of an incomplete last batch. `"short"` keeps it short (one process only).
            `"dropped"` leaves it out, which with shuffling drops other images in each epoch.
            `"padded"` fills it up and gives all batches sample weights: 0 for the filling, a
            little above 1 for the others. The plain mean of weighted values over the batches is
            then the mean over the images.
        part: Index of this process and number of processes; it reads its share of each batch.

    Raises:
        ValueError: If `last` is `"dropped"` and there are fewer images than `batch_size`, or if
            random crops have no seed.
    """
    index, parts = part
    steps, rest = divmod(len(source), batch_size)
    steps += rest > 0 and last != "dropped"
    if last == "dropped":
        check_fills_a_batch(batch_size, len(source))
    filled = steps * batch_size
    records = grain.MapDataset.range(filled if last == "padded" else len(source))
    if seed is not None:
        # Drawn before the shuffle, so that a draw depends only on seed, epoch and image.
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
    """Check that there are enough images for one full batch.

    Raises:
        ValueError: If there are not.
    """
    if images < batch_size:
        raise ValueError(
            f"Received batch_size={batch_size} and {images} training images. Each step needs "
            "a full batch: lower batch_size."
        )


def _with_draw(number: int, rng: np.random.Generator) -> tuple[int, np.int64]:
    return number, rng.integers(2**62)


def read_ahead(batches: ByStep, steps: range) -> Iterator:
    """Iterate over the batches of some steps; a thread prepares the next one in the meantime."""
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
    following = grain.MapDataset.source(steps).map(batches.__getitem__)
    return iter(following.to_iter_dataset(options))


def padded(batch: np.ndarray, count: int) -> np.ndarray:
    """Return a batch filled up to `count` images by repeating its last one."""
    return np.concatenate([batch, batch[-1:].repeat(max(0, count - len(batch)), axis=0)])


def pixel_batches(
    images: np.ndarray | Sequence, batch_size: int, size: tuple[int, int], crop: float
) -> Iterator[np.ndarray]:
    """Iterate over raw pixels in batches, in order and prefetched; all cores decode files.

    Args:
        images: Array of pixels, or a sequence of paths, records or encoded images as bytes.
        batch_size: Images per batch; the last one may have fewer.
        size: Height and width in pixels, for encoded images, as in `load_image`.
        crop: Share of the covered side to keep, for encoded images, as in `load_image`.
    """

    def read(numbers):
        if isinstance(images, np.ndarray):
            return images[numbers]
        return read_all(lambda i: load_image(content_of(images[i]), size, crop), numbers, size)

    batches = grain.MapDataset.range(len(images)).batch(batch_size).map(read)
    return read_ahead(batches, range(len(batches)))
