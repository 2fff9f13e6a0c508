"""Batches as `fit` asks for them."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_inception_v4.data.pipeline import Batches, read_ahead


class EpochSteps(keras.utils.PyDataset):
    """The batches of one epoch, by their index in it, read ahead.

    Which batch has index 0 is set by `begin`; so Keras may look at the first ones for their shapes.
    Keras must not shuffle (`fit(..., shuffle=False)`). `failure` is the error that reading ended
    with, which the backend may wrap into one of its own.
    """

    def __init__(self, batches: Batches):
        super().__init__()
        self.batches = batches
        self.failure: Exception | None = None
        self._reading: Iterator = iter(())
        self._following = -1
        self.begin(0)

    def begin(self, epoch: int, first: int = 0) -> None:
        """Goes to an epoch, and inside it to a step."""
        start = epoch * len(self.batches)
        self.steps = range(start + first, start + len(self.batches))
        self._following = -1

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int):
        if index == 0 or index != self._following:
            self._reading = read_ahead(self.batches, self.steps[index:])
        self._following = index + 1
        return self._noting(lambda: next(self._reading))

    def take(self, index: int):
        """The same, not read ahead."""
        return self._noting(lambda: self.batches[self.steps[index]])

    def _noting(self, read: Callable):
        try:
            return read()
        except Exception as error:
            self.failure = error
            raise


def indexed_dataset(steps: EpochSteps, input_shape: tuple):
    """The batches as a `tf.data.Dataset`, which asks for each by its index.

    Keras would make one of a Python generator. At the first of those, TensorFlow (2.21, from
    Python 3.11 on) tells the C library to give every large block back to the system, for good;
    each step of a training then takes its memory anew, page by page, and lasted twice as long.

    Args:
        steps: of pairs or triples of arrays, or of dictionaries of arrays.
        input_shape: of the model, with the batch.
    """
    import tensorflow as tf

    example = keras.tree.map_structure(np.asarray, steps.take(0))
    arrays = keras.tree.flatten(example)
    shapes = [input_shape, *((None, *array.shape[1:]) for array in arrays[1:])]

    def take(index):
        return keras.tree.flatten(steps.take(int(index)))

    def batch(index):
        found = tf.numpy_function(take, [index], [array.dtype for array in arrays])
        for tensor, shape in zip(found, shapes, strict=True):
            tensor.set_shape(shape)
        return keras.tree.pack_sequence_as(example, found)

    return tf.data.Dataset.range(len(steps)).map(batch).prefetch(1)
