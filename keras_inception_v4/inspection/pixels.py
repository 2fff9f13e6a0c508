"""Input images of a model: their size, the order of channels, and raw or scaled pixels."""

import weakref
from typing import TYPE_CHECKING

import numpy as np

from keras_inception_v4.architecture import DEFAULT_SIZE, PREPROCESSING
from keras_inception_v4.inspection.graphs import input_of, run_through
from keras_inception_v4.preprocessing import preprocess_input

if TYPE_CHECKING:
    import keras

SIDE = 96  # pixels, of the test images if the model takes any size


PIXELS = {"raw": True, "scaled": False}
"""Pixel ranges that a caller can declare for a model: 0 to 255, or -1 to 1."""


def say_pixels(model: "keras.Model", pixels: str | None) -> None:
    """Record the pixel range that the caller declares for a model, while the model exists.

    Args:
        model: Model whose range cannot be detected, or should be overridden.
        pixels: Key of `PIXELS`, or `None` to record nothing.

    Raises:
        ValueError: If `pixels` is anything else.
    """
    if pixels is None:
        return
    if pixels not in PIXELS:
        raise ValueError(
            f"Received pixels={pixels!r}. Allowed are 'raw' (the model takes 0 to 255), 'scaled' "
            "(-1 to 1) and None (detect it)."
        )
    _KNOWN[model] = PIXELS[pixels]


def same_pixels(model: "keras.Model", part: "keras.Model") -> "keras.Model":
    """Return the part with the pixel range of the model, if that is known."""
    if model in _KNOWN:
        _KNOWN[part] = _KNOWN[model]
    return part


def takes_raw_pixels(model: "keras.Model") -> bool:
    """Return whether the model takes pixels from 0 to 255, because one of its layers scales them.

    The range declared with `say_pixels` comes first, then a layer named `preprocessing`. In other
    models, the layers before the first kernel, nested models included, are run on a black and a
    white image. If both come out unchanged, the model takes the output of `preprocess_input`,
    -1 to 1.

    Raises:
        ValueError: If the range cannot be detected. The model is neither functional nor
            sequential, has no layer with a kernel, or begins with a batch norm, whose statistics
            may be those of either range.
    """
    if model not in _KNOWN:
        named = any(layer.name == PREPROCESSING for layer in model.layers)
        _KNOWN[model] = named or _scales(model)
    return _KNOWN[model]


_KNOWN: weakref.WeakKeyDictionary["keras.Model", bool] = weakref.WeakKeyDictionary()


class _Reached(Exception):  # noqa: N818  (not an error: it carries the result)
    def __init__(self, tensor):
        super().__init__()
        self.tensor = tensor


def _to_the_first_kernel(model: "keras.Model"):
    """Return a model's input and the tensor that enters its first layer with a kernel."""
    import keras

    def call(operation, *arguments, training=None, **named):
        if isinstance(operation, keras.Model):
            return run_through(operation, arguments[0], call)
        if isinstance(operation, keras.layers.BatchNormalization):
            raise ValueError(f"It begins with the batch norm {operation.name!r}.")
        fixed = isinstance(operation, keras.layers.Normalization)
        if getattr(operation, "weights", None) and not fixed:
            raise _Reached(arguments[0])
        return operation(*arguments, **named)

    if not getattr(model, "inputs", None):
        raise ValueError("It is neither functional nor sequential.")
    inputs = input_of(model)
    try:
        run_through(model, inputs, call)
    except _Reached as reached:
        return inputs, reached.tensor
    raise ValueError("It has no layer with a kernel.")


def keeps_size(model: "keras.Model") -> bool:
    """Return whether images reach the first kernel at the size that the model takes."""
    try:
        inputs, tensor = _to_the_first_kernel(model)
    except ValueError:  # the first kernel cannot be determined
        return False
    sides = slice(2, 4) if is_channels_first(model) else slice(1, 3)
    return inputs.shape[sides] == tensor.shape[sides]


def _scales(model: "keras.Model") -> bool:
    import keras

    try:
        inputs, tensor = _to_the_first_kernel(model)
        before = keras.Model(inputs, tensor)
    except ValueError as error:
        raise ValueError(
            f"Cannot detect whether the model {model.name!r} takes pixels from 0 to 255 or "
            f"from -1 to 1. {error} Pass pixels='raw' or pixels='scaled' (--pixels)."
        ) from error
    shape = [side or SIDE for side in inputs.shape[1:]]
    for value in (0, 255):
        image = np.full((1, *shape), value, inputs.dtype)
        found = keras.ops.convert_to_numpy(before(image, training=False)).astype("float32")
        if abs(np.median(found) - value) > 0.5:
            return True
    return False


def is_channels_first(model: "keras.Model") -> bool:
    """Return whether the channels of the model's images come before height and width."""
    return any(
        getattr(layer, "data_format", None) == "channels_first"
        or (hasattr(layer, "layers") and is_channels_first(layer))
        for layer in model.layers
    )


def image_size(model: "keras.Model", default: int = DEFAULT_SIZE) -> tuple[int, int]:
    """Return height and width of the model's images, with `default` for open dimensions.

    Raises:
        ValueError: If the model does not take images.
    """
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(
            f"The model {model.name!r} takes {shape}, not images (batch, height, width, channels)."
        )
    height, width = shape[2:4] if is_channels_first(model) else shape[1:3]
    return height or default, width or default


def model_input(model: "keras.Model", pixels: np.ndarray) -> np.ndarray:
    """Convert raw pixels to the model's range and data format.

    Args:
        model: Any model of this package.
        pixels: Array of shape `(images, height, width, channels)`, RGB, 0 to 255.

    Returns:
        Array for the model. Scaled pixels are floats; raw pixels keep their dtype.
    """
    if not takes_raw_pixels(model):
        pixels = preprocess_input(pixels)
    return np.moveaxis(pixels, 3, 1) if is_channels_first(model) else pixels


def feeder(model: "keras.Model"):
    """Return a function from raw pixels to the model's input, or `None` if they are the same."""
    if takes_raw_pixels(model) and not is_channels_first(model):
        return None
    return lambda pixels: model_input(model, pixels)
