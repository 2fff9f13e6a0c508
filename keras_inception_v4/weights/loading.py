"""Assigning weights to a model by layer name."""

import keras


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of every layer of `target` from the layer of that name in `source`.

    Raises:
        ValueError: if `source` has no such layer, or one of other shapes.
    """
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
