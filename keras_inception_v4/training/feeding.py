"""Batches in the forms that `fit` takes."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_inception_v4.data.pipeline import Batches, read_ahead


class EpochSteps(keras.utils.PyDataset):
    """Batches of one epoch, by their index, read ahead.

    `begin` sets which batch has index 0, so Keras may read the first batches to learn their shapes.
    Keras must not shuffle (`fit(..., shuffle=False)`). `failure` holds the error that reading
    raised; the backend may wrap it in an error of its own.
    """

    def __init__(self, batches: Batches):
        super().__init__()
        self.batches = batches
        self.failure: Exception | None = None
        self._reading: Iterator = iter(())
        self._following = -1
        self.begin(0)

    def begin(self, epoch: int, first: int = 0) -> None:
        """Move to step `first` of an epoch."""
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
        """Return the batch at an index without reading ahead."""
        return self._noting(lambda: self.batches[self.steps[index]])

    def _noting(self, read: Callable):
        try:
            return read()
        except Exception as error:
            self.failure = error
            raise


def indexed_dataset(steps: EpochSteps, input_shape: tuple):
    """Return the batches as a `tf.data.Dataset` that requests each one by its index.

    Keras would make a dataset from a Python generator. The first such dataset makes TensorFlow
    (2.21, from Python 3.11 on) tell the C library to return every large block to the system,
    permanently. Each training step then requests its memory again, page by page, and took twice
    as long.

    Args:
        steps: Batches that are pairs or triples of arrays, or of dictionaries of arrays.
        input_shape: Shape of the model's input, with the batch.
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
