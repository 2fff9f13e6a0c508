"""Standardization: targets have mean 0 and deviation 1 in training, their own units afterwards."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from keras import layers

from keras_inception_v4.data.pipeline import Batches
from keras_inception_v4.tasks import Task


class Standard(NamedTuple):
    """Mean and standard deviation of each target, shape `(targets,)`; 1 for a constant target."""

    mean: np.ndarray
    deviation: np.ndarray

    def batches(self, batches: Batches) -> Batches:
        """Return the batches with standardized targets."""

        def change(batch, index):
            pixels, targets, *weights = batch
            return pixels, ((targets - self.mean) / self.deviation).astype("float32"), *weights

        return batches.map(change)

    def into(self, kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """Convert a head's weights from own units to standardized targets; zeros stay zeros."""
        if not kernel.any():  # untrained: it predicts the mean first
            return [kernel, np.zeros_like(bias)]
        return [kernel / self.deviation, (bias - self.mean) / self.deviation]

    def out_of(self, kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """Convert a head's weights from standardized targets to their own units."""
        return [kernel * self.deviation, bias * self.deviation + self.mean]


def standard_of(task: Task, targets: np.ndarray) -> Standard | None:
    """Return how to standardize a task's targets; `None` if the task does not."""
    if not task.standardized:
        return None
    targets = np.asarray(targets, "float64").reshape(len(targets), -1)
    deviation = targets.std(axis=0)
    return Standard(targets.mean(axis=0), np.where(deviation > 0, deviation, 1))


@contextlib.contextmanager
def standardized(dense: layers.Dense, standard: Standard | None) -> Iterator[None]:
    """Make a head predict standardized targets inside the block; undo it even after an error."""
    if standard is None:
        yield
        return
    dense.set_weights(standard.into(*dense.get_weights()))
    try:
        yield
    finally:
        dense.set_weights(standard.out_of(*dense.get_weights()))
