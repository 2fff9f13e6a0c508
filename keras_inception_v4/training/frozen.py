"""What the blocks below the first one that moves make of images: computed once, and kept."""

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

LARGE = "float16"  # of what is too much for memory: half of the bytes, rounded by a thousandth
SHARE = 0.8  # of what is free on a disk; the rest is for checkpoints
SEED_STATE = (2,)  # the shape of what a `keras.random.SeedGenerator` keeps
DRAWS = 64  # more than a layer of augmentation draws for a batch


class Trained(NamedTuple):
    """What is fitted.

    Attributes:
        model: the whole, or what is above its frozen part.
        batches: what it takes, with labels.
        held_out: the same of held-out images, or `None`.
        versions: how often an image is kept; 0 for the whole.
    """

    model: keras.Model
    batches: Batches
    held_out: Batches | None
    versions: int = 0


def frozen_endpoint(model: keras.Model) -> str | None:
    """The last endpoint up to which no weight of a model moves; `None` if the first one does."""
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
    """The trainable part of a model, and what the frozen part makes of images.

    Args:
        whole: the model and the batches that it would be fitted with.
        train: the same images, as in `fine_tune`.
        validation: likewise.
        asked: versions that are drawn of an image and kept, the epochs taking turns; 0 for none of
            this; `None` for one where no image is drawn and more than one epoch is fitted.
        batch_size: images a step.
        epochs: of the fit.
        seed: of the order.
        spread: whether batches are for several devices.
        checkpoint: of the fit; what is kept lies beside it, or in a temporary place for `None`.
            A fit that has one and nothing beside it goes on so.
        verbose: as in `keras.Model.fit`.

    Yields:
        The part, or `whole` where nothing is kept.

    Raises:
        ValueError: if it was asked for and cannot be.
        OSError: likewise, if there is no room for it.
    """
    folder = None if checkpoint is None else checkpoint.parent
    plan = _plan(whole, asked, epochs, checkpoint, bool(verbose))
    check_same("what they keep of the frozen blocks", plan and plan.below.dtype)
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
    """What is kept: the output of `below`, `versions` times, for the training of `above`."""

    below: Part
    above: keras.Model
    versions: int
    in_memory: bool


def _plan(
    whole: Trained, asked: int | None, epochs: int, checkpoint: Path | None, verbose: bool
) -> _Plan | None:
    """Decides what is kept, and says so; `None` where nothing is."""
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
            f"Received cache_augmented={asked}, and nothing can be kept: {whole.model.name!r} "
            "trains its first block, or takes images of any size, or other ways lead around the "
            "frozen blocks."
        )
    below, above = parts
    versions = 1 if fixed else min(asked or 1, epochs)
    in_memory = _bytes_of(whole, below, versions) <= MEMORY_BUDGET
    if not in_memory:
        below = below._replace(dtype=LARGE)
    # With many processes, the shares lie beside the whole that they become.
    needed = _bytes_of(whole, below, versions) * (2 - 1 / part()[1])
    what = (
        f"What the frozen blocks, up to {below.about['endpoint']}, make of {versions} "
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
    """Bytes that are free in a folder, or hold what an interrupted call kept there."""
    place.mkdir(parents=True, exist_ok=True)
    kept = sum(file.stat().st_size for file in place.glob(f"{_path(place, '*').name}*"))
    return shutil.disk_usage(place).free + kept


def _parts(model: keras.Model) -> tuple[Part, keras.Model] | None:
    """A model in two: what does not move, behind augmentation, and what does."""
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
    except ValueError:  # other ways lead around
        return None
    prepare = _drawing(augmentation) if augmentation else None
    about = {"endpoint": endpoint, "drawn": bool(augmentation)}
    return Part(below, prepare=prepare, about=about), above


def _drawing(augmentation: Sequence[keras.layers.Layer]):
    """Augments a batch as training does; what is drawn depends on the seeds and the step alone."""
    states = [s for layer in augmentation for s in seeds_of(layer) if s.shape == SEED_STATE]

    def draw(pixels: np.ndarray, step: int) -> np.ndarray:
        for state in states:  # a seed, and how often it was drawn from
            seed, _ = keras.ops.convert_to_numpy(state)
            state.assign(np.array([seed, step * DRAWS], "uint32"))
        drawn = keras.ops.convert_to_tensor(pixels)
        for layer in augmentation:
            drawn = layer(drawn, training=True)
        return keras.ops.convert_to_numpy(drawn)

    return draw


def _bytes_of(whole: Trained, part: Part, versions: int) -> int:
    """What is kept of all images."""
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
    """Batches of which each epoch has the next ones."""

    turns: Sequence[Batches]

    def __len__(self) -> int:
        return len(self.turns[0])

    def __getitem__(self, step: int):
        return self.turns[step // len(self) % len(self.turns)][step]
