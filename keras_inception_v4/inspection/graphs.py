"""Traversal of a model's graph, and a cache of models that share another's layers."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import keras

Made = TypeVar("Made")


def run_through(model: "keras.Model", tensor, call: Callable):
    """Pass a tensor through a model's operations; a nested model counts as one operation.

    Args:
        model: Functional or sequential model.
        tensor: Keras tensor that fits the model's input.
        call: Function of an operation, its arguments and its keywords that returns the output.
            It may replace the operation by another.

    Returns:
        The output tensor. It shares layers and weights with the model.

    Raises:
        ValueError: If the model is neither functional nor sequential.
    """
    import keras

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            tensor = call(layer, tensor)
        return tensor
    if not getattr(model, "inputs", None):
        raise ValueError(f"The model {model.name!r} is neither functional nor sequential.")
    given = keras.tree.map_structure(lambda _: tensor, model.input)  # the input may be a list
    return keras.models.clone_model(
        model, input_tensors=given, clone_function=lambda layer: layer, call_function=call
    ).output


def input_of(model: "keras.Model"):
    """Return a new Keras tensor like the model's only input."""
    import keras

    (given,) = model.inputs
    return keras.Input(batch_shape=given.shape, dtype=given.dtype)


def made_once(model: "keras.Model", name: str, make: Callable[[], Made]) -> Made:
    """Return what `make` builds from a model, cached for as long as the model exists.

    A new model takes seconds to trace.

    Args:
        model: Model whose layers the result shares.
        name: Cache key of the result.
        make: Function that builds the result. It is called again if the model's layers have new
            variables, as after quantization or with adapters.
    """
    kept = _MADE.setdefault(model, {})
    variables = tuple(id(variable) for variable in model.variables)
    if kept.get(name, (None,))[0] != variables:
        kept[name] = variables, make()
    return kept[name][1]


_MADE: weakref.WeakKeyDictionary["keras.Model", dict] = weakref.WeakKeyDictionary()
