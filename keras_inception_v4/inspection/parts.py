"""Parts of a model with other outputs. They share the model's layers."""

from typing import TYPE_CHECKING

from keras_inception_v4.architecture import AUXILIARY_HEAD, HEAD, POOL
from keras_inception_v4.inspection.graphs import made_once
from keras_inception_v4.inspection.pixels import is_channels_first, same_pixels
from keras_inception_v4.preprocessing import check_finite

if TYPE_CHECKING:
    import keras


def classifier_of(model: "keras.Model") -> "keras.Model":
    """Return the model without its auxiliary head, or the model itself if it has none."""
    if not {HEAD, AUXILIARY_HEAD} <= {layer.name for layer in model.layers}:
        return model
    import keras

    def make():
        both = model.output
        own = both[HEAD] if isinstance(both, dict) else model.get_layer(HEAD).output
        return keras.Model(model.inputs, own, name=model.name)

    return same_pixels(model, made_once(model, "classifier", make))


def embedding_model(model: "keras.Model") -> "keras.Model":
    """Return the part of a model up to the average pool, which outputs 1536 features per image.

    It shares the model's layers and is built and traced once per model.

    Raises:
        ValueError: If the model is not one of this package with the last endpoint, or its weights
            are not finite.
    """

    def make():
        check_weights(model)  # JAX's ReLU turns NaN into 0 and would hide it
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
    """Return the output tensor of an endpoint.

    Raises:
        ValueError: If the model has no such layer.
    """
    try:
        return model.get_layer(name).output
    except ValueError:
        raise ValueError(
            f"The model {model.name!r} has no layer {name!r}. It must be a model of this package "
            "that includes that endpoint."
        ) from None


def check_weights(model: "keras.Model") -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        ValueError: If a weight is. The message names the first such layer.
    """
    for layer in model.layers:
        for weights in layer.get_weights():
            check_finite(weights, f"weights of {model.name!r} in {layer.name!r}")
