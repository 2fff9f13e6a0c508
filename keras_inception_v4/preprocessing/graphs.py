"""Walking through a model's graph, nested models included, with its own layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def run_through(model: "keras.Model", tensor, call: Callable):
    """Passes a tensor through a model's operations; models inside it are called as operations.

    Args:
        model: functional or sequential.
        tensor: a Keras tensor that fits its input.
        call: takes an operation, its arguments and keywords, and returns the output; it may
            return something else in the operation's place.

    Returns:
        The output tensor. Layers and weights are shared with the model.

    Raises:
        ValueError: for a model that is no graph of layers.
    """
    import keras

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            tensor = call(layer, tensor)
        return tensor
    if not getattr(model, "inputs", None):
        raise ValueError(f"The model {model.name!r} is no graph of layers.")
    return keras.models.clone_model(
        model, input_tensors=tensor, clone_function=lambda layer: layer, call_function=call
    ).output


def input_of(model: "keras.Model"):
    """A new Keras tensor like the only one that a model takes."""
    import keras

    (given,) = model.inputs
    return keras.Input(batch_shape=given.shape, dtype=given.dtype)
