"""Fine-tuning on cached outputs of the frozen blocks, which are computed once."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.architecture import ENDPOINTS
from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.data.pipeline import Batches, batched
from keras_inception_v4.progress import Verbose
from keras_inception_v4.training import devices
from keras_inception_v4.training.augmentation import augmentation_of
from keras_inception_v4.training.caching import MEMORY_BUDGET, Part, cached_features, record_of
from keras_inception_v4.training.checkpoint import seeds_of
from keras_inception_v4.training.processes import check_same, part

LARGE = "float16"  # for caches too large for memory: half the bytes, rounded by a thousandth
SHARE = 0.8  # of the free disk space; the rest is for checkpoints
SEED_STATE = (2,)  # shape of the state of a `keras.random.SeedGenerator`
DRAWS = 64  # more draws than an augmentation layer needs for a batch


class Trained(NamedTuple):
    """Model to fit, and its data.

    Attributes:
        model: The whole model, or the part above its frozen blocks.
        batches: Batches of the model's inputs and labels.
        held_out: The same for held-out images, or `None`.
        versions: Number of cached versions of each image. 0 for the whole model.
    """

    model: keras.Model
    batches: Batches
    held_out: Batches | None
    versions: int = 0


def frozen_endpoint(model: keras.Model) -> str | None:
    """Return the last endpoint up to which no weight trains; `None` if the first one does."""
    last = None
    names = {layer.name for layer in model.layers}
    for endpoint in ENDPOINTS:
        own = (layer for layer in model.layers if layer.name.startswith(endpoint))
        if any(layer.trainable_weights for layer in own):
            break
        last = endpoint if endpoint in names else last
    return last


@contextlib.contextmanager
def above_frozen(
    whole: Trained,
    train,
    validation,
    *,
    asked: int | None,
    batch_size: int,
    epochs: int,
    seed: int,
    spread: bool,
    checkpoint: Path | None,
    verbose: Verbose,
) -> Iterator[Trained]:
    """Yield the trainable part of a model, and cached outputs of the frozen part as its data.

    Args:
        whole: The model, and the batches with which it would be fitted.
        train: The training images, as in `fine_tune`.
        validation: The held-out images, as in `fine_tune`.
        asked: Number of augmented versions of each image to cache; the epochs use them in turn.
            0 caches nothing. `None` caches one version if nothing augments the images and there
            is more than one epoch.
        batch_size: Images per step.
        epochs: Epochs of the fit.
        seed: Seed of the order.
        spread: Whether batches are for several devices.
        checkpoint: Checkpoint of the fit. The cache lies beside it, or in a temporary place for
            `None`. With `asked=None`, a fit that began without a cache resumes without one.
        verbose: As in `keras.Model.fit`.

    Yields:
        The trainable part with its data, or `whole` if nothing is cached.

    Raises:
        ValueError: If a cache was asked for but is not possible.
        OSError: If a cache was asked for but there is no room for it.
    """
    folder = None if checkpoint is None else checkpoint.parent
    plan = _plan(whole, asked, epochs, checkpoint, bool(verbose))
    check_same("what they cache of the frozen blocks", plan and plan.below.dtype)
    if plan is None:
        yield whole
        return
    with contextlib.ExitStack() as stack:

        def kept(data, part: Part, which, epoch: int = 0):
            part = part._replace(model=model, place=place)
            return stack.enter_context(
                cached_features(
                    whole.model,
                    as_batches(data, whole.model, batch_size),
                    part,
                    batch_size=batch_size,
                    memory_budget=MEMORY_BUDGET if plan.in_memory else 1,
                    path=None if folder is None else _path(folder, which),
                    verbose=bool(verbose),
                    epoch=epoch,
                )
            )

        held_out = None
        with devices.on_own_devices(plan.below.model, spread) as (model, place):
            versions = [kept(train, plan.below, i, i) for i in range(plan.versions)]
            if whole.held_out is not None:
                held_out = batched(
                    kept(validation, plan.below._replace(prepare=None), "validation"),
                    batch_size,
                    **devices.share(spread, held_out=True),
                )
        size = batch_size if whole.batches.labels is not None else len(whole.batches[0][1])
        turns = [batched(each, size, seed=seed, **devices.share(spread)) for each in versions]
        batches = Batches(_InTurn(turns), turns[0].labels, turns[0].weighted)
        yield Trained(plan.above, batches, held_out, plan.versions)


class _Plan(NamedTuple):
    """Plan of a cache: the output of `below`, `versions` times, to train `above` on."""

    below: Part
    above: keras.Model
    versions: int
    in_memory: bool


def _plan(
    whole: Trained, asked: int | None, epochs: int, checkpoint: Path | None, verbose: bool
) -> _Plan | None:
    """Decide what to cache, and print it; return `None` to cache nothing."""
    folder = None if checkpoint is None else checkpoint.parent
    fixed = whole.batches.labels is not None and not augmentation_of(whole.model)
    begun = checkpoint is not None and checkpoint.exists()
    going_on = begun and folder is not None and not _path(folder, 0).exists()
    if asked == 0 or (asked is None and (not fixed or epochs == 1 or going_on)):
        return None
    parts = _parts(whole.model)
    if parts is None:
        if asked is None:
            return None
        raise ValueError(
            f"Received cache_augmented={asked}, but nothing can be cached: {whole.model.name!r} "
            "trains its first block, takes images of any size, or has connections around its "
            "frozen blocks. Pass cache_augmented=0."
        )
    below, above = parts
    versions = 1 if fixed else min(asked or 1, epochs)
    in_memory = _bytes_of(whole, below, versions) <= MEMORY_BUDGET
    if not in_memory:
        below = below._replace(dtype=LARGE)
    # With several processes, their shares and the merged file take room at the same time.
    needed = _bytes_of(whole, below, versions) * (2 - 1 / part()[1])
    what = (
        f"Output of the frozen blocks up to {below.about['endpoint']}, for {versions} "
        f"version{'s' * (versions > 1)} of each image: {needed / 1e6:,.0f} MB"
    )
    place = Path(tempfile.gettempdir()) if folder is None else folder
    free = _free(place)
    if needed > SHARE * free and (folder is not None or not in_memory):
        told = f"{what}, which is more than {SHARE:.0%} of the {free / 1e6:,.0f} MB free in {place}"
        if asked is not None:
            raise OSError(f"{told}. Ask for fewer versions, or make room.")
        if verbose:
            print(f"{told}. It is computed again in each epoch.", file=sys.stderr)
        return None
    if verbose:
        print(f"{what}, kept {'in memory' if in_memory else f'in {place}'}.", file=sys.stderr)
    return _Plan(below, above, versions, in_memory)


def _path(folder: Path, which) -> Path:
    return folder / f"fine_tuning.{which}.features"


def _free(place: Path) -> int:
    """Return the free bytes in a folder, plus those of an interrupted call's cache there."""
    place.mkdir(parents=True, exist_ok=True)
    kept = sum(file.stat().st_size for file in place.glob(f"{_path(place, '*').name}*"))
    return shutil.disk_usage(place).free + kept


def _parts(model: keras.Model) -> tuple[Part, keras.Model] | None:
    """Split a model into its frozen part, after augmentation, and its trainable part."""
    endpoint = frozen_endpoint(model)
    if endpoint is None:
        return None
    augmentation = augmentation_of(model)
    (inputs,) = model.inputs
    grid = model.get_layer(endpoint).output
    if None in grid.shape[1:]:
        return None
    start = augmentation[-1].output if augmentation else inputs
    below = keras.Model(start, grid, name=f"{model.name}_to_{endpoint}")
    if below.trainable_weights or any(seeds_of(layer) for layer in below.layers):
        return None
    try:
        above = keras.Model(grid, model.output, name=model.name)
    except ValueError:  # connections lead around the frozen blocks
        return None
    prepare = _drawing(augmentation) if augmentation else None
    about = {"endpoint": endpoint, "drawn": bool(augmentation)}
    return Part(below, prepare=prepare, about=about), above


def _drawing(augmentation: Sequence[keras.layers.Layer]):
    """Return a function that augments a batch by the layers' seeds and the step alone."""
    states = [s for layer in augmentation for s in seeds_of(layer) if s.shape == SEED_STATE]

    def draw(pixels: np.ndarray, step: int) -> np.ndarray:
        for state in states:  # a state is a seed and the number of draws so far
            seed, _ = keras.ops.convert_to_numpy(state)
            state.assign(np.array([seed, step * DRAWS], "uint32"))
        drawn = keras.ops.convert_to_tensor(pixels)
        for layer in augmentation:
            drawn = layer(drawn, training=True)
        return keras.ops.convert_to_numpy(drawn)

    return draw


def _bytes_of(whole: Trained, part: Part, versions: int) -> int:
    """Return the size of the cache of all images."""
    total = 0
    for batches, times in ((whole.batches, versions), (whole.held_out, 1)):
        if batches is not None:
            labels = batches.labels
            images = len(batches) * len(batches[0][1]) if labels is None else len(labels)
            record = record_of(whole.model, part, weights=batches.weighted)
            total += times * images * record.itemsize
    return total


@dataclass(frozen=True)
class _InTurn:
    """Batches that switch to the next cached version at each epoch."""

    turns: Sequence[Batches]

    def __len__(self) -> int:
        return len(self.turns[0])

    def __getitem__(self, step: int):
        return self.turns[step // len(self) % len(self.turns)][step]
