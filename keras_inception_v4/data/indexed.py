"""Batches as TensorFlow takes them: each by its index."""

import keras
import numpy as np


def indexed_dataset(batches: keras.utils.PyDataset, input_shape: tuple):
    """The batches as a `tf.data.Dataset`, which asks for each by its index.

    Keras would make one of a Python generator. At the first of those, TensorFlow (2.21, from
    Python 3.11 on) tells the C library to give every large block back to the system, for good;
    each step of a training then takes its memory anew, page by page, and lasted twice as long.

    Args:
        batches: pairs or triples of arrays, or of dictionaries of arrays.
        input_shape: of the model, with the batch.
    """
    import tensorflow as tf

    example = keras.tree.map_structure(np.asarray, batches[0])
    arrays = keras.tree.flatten(example)
    shapes = [input_shape, *((None, *array.shape[1:]) for array in arrays[1:])]

    def take(index):
        return keras.tree.flatten(batches[int(index)])

    def batch(index):
        found = tf.numpy_function(take, [index], [array.dtype for array in arrays])
        for tensor, shape in zip(found, shapes, strict=True):
            tensor.set_shape(shape)
        return keras.tree.pack_sequence_as(example, found)

    return tf.data.Dataset.range(len(batches)).map(batch).prefetch(1)
