"""Targets with mean 0 and deviation 1 while a head learns, and in their own units afterwards."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from keras import layers

from keras_inception_v4.data.pipeline import Batches
from keras_inception_v4.tasks import Task


class Standard(NamedTuple):
    """Mean and standard deviation of each target, `(targets,)`; 1 where all are alike."""

    mean: np.ndarray
    deviation: np.ndarray

    def batches(self, batches: Batches) -> Batches:
        """The batches with standardized targets."""

        def change(batch, index):
            pixels, targets, *weights = batch
            return pixels, ((targets - self.mean) / self.deviation).astype("float32"), *weights

        return batches.map(change)

    def into(self, kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """A head in the targets' units as one of standardized targets; zeros stay zeros."""
        if not kernel.any():  # it has learnt nothing: the mean is its first answer
            return [kernel, np.zeros_like(bias)]
        return [kernel / self.deviation, (bias - self.mean) / self.deviation]

    def out_of(self, kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """The other way."""
        return [kernel * self.deviation, bias * self.deviation + self.mean]


def standard_of(task: Task, targets: np.ndarray) -> Standard | None:
    """How a task's targets are standardized; `None` where they are not."""
    if not task.standardized:
        return None
    targets = np.asarray(targets, "float64").reshape(len(targets), -1)
    deviation = targets.std(axis=0)
    return Standard(targets.mean(axis=0), np.where(deviation > 0, deviation, 1))


@contextlib.contextmanager
def standardized(dense: layers.Dense, standard: Standard | None) -> Iterator[None]:
    """Has a head answer standardized targets inside the block, also when it is left by an error."""
    if standard is None:
        yield
        return
    dense.set_weights(standard.into(*dense.get_weights()))
    try:
        yield
    finally:
        dense.set_weights(standard.out_of(*dense.get_weights()))
