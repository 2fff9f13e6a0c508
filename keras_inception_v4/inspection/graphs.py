"""Models that share another's layers: walking through a graph, keeping what was made of it."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import keras

Made = TypeVar("Made")


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
    given = keras.tree.map_structure(lambda _: tensor, model.input)  # perhaps in a list
    return keras.models.clone_model(
        model, input_tensors=given, clone_function=lambda layer: layer, call_function=call
    ).output


def input_of(model: "keras.Model"):
    """A new Keras tensor like the only one that a model takes."""
    import keras

    (given,) = model.inputs
    return keras.Input(batch_shape=given.shape, dtype=given.dtype)


def made_once(model: "keras.Model", name: str, make: Callable[[], Made]) -> Made:
    """What `make` made of a model, kept as long as the model; a new one takes seconds to trace.

    Args:
        model: whose layers the other one shares.
        name: of what is made.
        make: makes it. Called again where the model's layers have other variables than before,
            as quantization and adapters leave them.
    """
    kept = _MADE.setdefault(model, {})
    variables = tuple(id(variable) for variable in model.variables)
    if kept.get(name, (None,))[0] != variables:
        kept[name] = variables, make()
    return kept[name][1]


_MADE: weakref.WeakKeyDictionary["keras.Model", dict] = weakref.WeakKeyDictionary()
