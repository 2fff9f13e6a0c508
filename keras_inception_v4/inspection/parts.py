"""Parts of a model that answer something else, sharing its layers."""

from typing import TYPE_CHECKING

from keras_inception_v4.architecture import AUXILIARY_HEAD, HEAD, POOL
from keras_inception_v4.inspection.graphs import made_once
from keras_inception_v4.inspection.pixels import is_channels_first, same_pixels
from keras_inception_v4.preprocessing import check_finite

if TYPE_CHECKING:
    import keras


def classifier_of(model: "keras.Model") -> "keras.Model":
    """The model with its own classifier alone: without the auxiliary head, if it has one."""
    if not {HEAD, AUXILIARY_HEAD} <= {layer.name for layer in model.layers}:
        return model
    import keras

    def make():
        both = model.output
        own = both[HEAD] if isinstance(both, dict) else model.get_layer(HEAD).output
        return keras.Model(model.inputs, own, name=model.name)

    return same_pixels(model, made_once(model, "classifier", make))


def embedding_model(model: "keras.Model") -> "keras.Model":
    """The part of a model that turns images into 1536 numbers: up to the average pool.

    It shares the model's layers, and is made and traced once for each model.

    Raises:
        ValueError: if it is no model of this package that reaches the last endpoint, or its weights
            are not finite.
    """

    def make():
        check_weights(model)  # behind a ReLU, JAX makes a 0 of NaN
        return _up_to_the_pool(model)

    return made_once(model, "embedding", make)


def _up_to_the_pool(model: "keras.Model") -> "keras.Model":
    import keras
    from keras import layers

    (inputs,) = model.inputs
    if any(layer.name == POOL for layer in model.layers):
        return keras.Model(inputs, model.get_layer(POOL).output)
    grid = endpoint_output(model, "mixed_7d")
    data_format = "channels_first" if is_channels_first(model) else "channels_last"
    pool = layers.GlobalAveragePooling2D(data_format=data_format, name=POOL, dtype="float32")
    return keras.Model(inputs, pool(grid))


def endpoint_output(model: "keras.Model", name: str):
    """The output tensor of an endpoint.

    Raises:
        ValueError: if the model has no such layer.
    """
    try:
        return model.get_layer(name).output
    except ValueError:
        raise ValueError(
            f"The model {model.name!r} has no layer {name!r}. It must be a model of this package "
            "that reaches that endpoint."
        ) from None


def check_weights(model: "keras.Model") -> None:
    """Checks that no weight is NaN or infinite.

    Raises:
        ValueError: with the first layer that has such a weight.
    """
    for layer in model.layers:
        for weights in layer.get_weights():
            check_finite(weights, f"weights of {model.name!r} in {layer.name!r}")
