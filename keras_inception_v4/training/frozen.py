"""What the blocks below the first one that moves make of images: computed once, and kept."""

import contextlib
import os
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
from keras_inception_v4.training.augmentation import augmentation_of
from keras_inception_v4.training.caching import MEMORY_BUDGET, Part, cached_features, record_of

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
    model, drawn = whole.model, bool(augmentation_of(whole.model))
    fixed = whole.batches.labels is not None and not drawn
    going_on = checkpoint is not None and checkpoint.exists() and not _path(folder, 0).exists()
    if asked == 0 or (asked is None and (not fixed or epochs == 1 or going_on)):
        yield whole
        return
    parts = _parts(model)
    if parts is None:
        if asked is not None:
            raise ValueError(
                f"Received cache_augmented={asked}, and nothing can be kept: {model.name!r} trains "
                "its first block, or takes images of any size, or other ways lead around the "
                "frozen blocks."
            )
        yield whole
        return
    below, above = parts
    versions = 1 if fixed else min(asked or 1, epochs)
    size = batch_size if whole.batches.labels is not None else len(whole.batches[0][1])
    if _bytes_of(whole, below, versions) > MEMORY_BUDGET:
        below = below._replace(dtype=LARGE)
    room = _Room(folder, _bytes_of(whole, below, versions))
    if not room.suffices:
        text = (
            f"The output of {below.model.name} takes {room.needed / 1e6:,.0f} MB, and "
            f"{room.free / 1e6:,.0f} MB are free in {room.place}"
        )
        if asked is not None:
            raise OSError(f"{text}. Ask for fewer versions, or make room.")
        if verbose:
            print(f"{text}: each epoch computes it again.", file=sys.stderr)
        yield whole
        return
    if verbose:
        where = "memory" if room.in_memory else room.place
        print(f"Kept in {where}: {below.model.name}, {room.needed / 1e6:,.0f} MB.", file=sys.stderr)
    with contextlib.ExitStack() as stack:

        def kept(data, part: Part, path: Path | None, epoch: int = 0):
            return stack.enter_context(
                cached_features(
                    model,
                    as_batches(data, model, batch_size),
                    part,
                    batch_size=batch_size,
                    memory_budget=MEMORY_BUDGET if room.in_memory else 1,
                    path=path,
                    verbose=bool(verbose),
                    epoch=epoch,
                )
            )

        turns = [
            batched(kept(train, below, folder and _path(folder, epoch), epoch), size, seed=seed)
            for epoch in range(versions)
        ]
        batches = turns[0]
        if versions > 1:
            batches = Batches(_InTurn(turns), batches.labels, batches.weighted)
        held_out = None
        if whole.held_out is not None:
            as_it_is = below._replace(prepare=None)
            features = kept(validation, as_it_is, folder and _path(folder, "validation"))
            held_out = batched(features, batch_size)
        yield Trained(above, batches, held_out, versions)


def _path(folder: Path | None, which) -> Path:
    return (folder or Path()) / f"fine_tuning.{which}.features"


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
    if below.trainable_weights or any(_seeds(layer) for layer in below.layers):
        return None
    try:
        above = keras.Model(grid, model.output, name=model.name)
    except ValueError:  # other ways lead around
        return None
    prepare = _drawing(augmentation) if augmentation else None
    about = {"endpoint": endpoint, "drawn": bool(augmentation)}
    return Part(below, prepare=prepare, about=about), above


def _seeds(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The states of a layer's seed generators."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def _drawing(augmentation: Sequence[keras.layers.Layer]):
    """Augments a batch as training does; what is drawn depends on the seeds and the step alone."""
    states = [s for layer in augmentation for s in _seeds(layer) if s.shape == SEED_STATE]

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


class _Room:
    """Where so many bytes would lie, and whether they can."""

    def __init__(self, folder: Path | None, needed: int):
        self.needed, self.in_memory = needed, needed <= MEMORY_BUDGET
        self.place = Path(tempfile.gettempdir()) if folder is None else folder
        there = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            there = sum(file.stat().st_size for file in folder.glob("fine_tuning.*.features*"))
        self.free = shutil.disk_usage(os.fspath(self.place)).free + there
        self.suffices = needed <= SHARE * self.free or (folder is None and self.in_memory)


@dataclass(frozen=True)
class _InTurn:
    """Batches of which each epoch has the next ones."""

    turns: Sequence[Batches]

    def __len__(self) -> int:
        return len(self.turns[0])

    def __getitem__(self, step: int):
        return self.turns[step // len(self) % len(self.turns)][step]
