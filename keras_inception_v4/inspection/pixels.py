"""The images that a model takes: size, channels, and raw or scaled pixels."""

import weakref
from typing import TYPE_CHECKING

import numpy as np

from keras_inception_v4.architecture import DEFAULT_SIZE, PREPROCESSING
from keras_inception_v4.inspection.graphs import input_of, run_through
from keras_inception_v4.preprocessing import preprocess_input

if TYPE_CHECKING:
    import keras

SIDE = 96  # pixels of the test images where a model leaves its size open


PIXELS = {"raw": True, "scaled": False}
"""What a caller may say of a model: it takes 0 to 255, or -1 to 1."""


def say_pixels(model: "keras.Model", pixels: str | None) -> None:
    """Takes a caller's word for what a model's pixels are, for as long as there is the model.

    Args:
        model: of which that cannot be told, or is to be told otherwise.
        pixels: a key of `PIXELS`; `None` says nothing.

    Raises:
        ValueError: for any other word.
    """
    if pixels is None:
        return
    if pixels not in PIXELS:
        raise ValueError(
            f"Received pixels={pixels!r}. Allowed are 'raw' (the model takes 0 to 255), 'scaled' "
            "(-1 to 1) and None (find out)."
        )
    _KNOWN[model] = PIXELS[pixels]


def same_pixels(model: "keras.Model", part: "keras.Model") -> "keras.Model":
    """The part, which takes what the model takes, if that is known."""
    if model in _KNOWN:
        _KNOWN[part] = _KNOWN[model]
    return part


def takes_raw_pixels(model: "keras.Model") -> bool:
    """Whether the model takes pixels from 0 to 255, because something in it scales them.

    A layer named `preprocessing` says so. In other models, what stands before the first layer with
    a kernel, nested models included, is run on a black and on a white image: if they come out as
    they went in, the model takes what `preprocess_input` returns, -1 to 1.

    Raises:
        ValueError: if that cannot be told: for a model without a graph of layers, or one that
            begins with a batch norm, whose statistics may be those of either range.
    """
    if model not in _KNOWN:
        named = any(layer.name == PREPROCESSING for layer in model.layers)
        _KNOWN[model] = named or _scales(model)
    return _KNOWN[model]


_KNOWN: weakref.WeakKeyDictionary["keras.Model", bool] = weakref.WeakKeyDictionary()


class _Reached(Exception):  # noqa: N818  (no error: it carries what was looked for)
    def __init__(self, tensor):
        super().__init__()
        self.tensor = tensor


def _to_the_first_kernel(model: "keras.Model"):
    """A model's input, and the tensor that comes before its first kernel."""
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
        raise ValueError("It is no graph of layers.")
    inputs = input_of(model)
    try:
        run_through(model, inputs, call)
    except _Reached as reached:
        return inputs, reached.tensor
    raise ValueError("It has no layer with a kernel.")


def keeps_size(model: "keras.Model") -> bool:
    """Whether the first kernel sees images of the size that the model takes."""
    try:
        inputs, tensor = _to_the_first_kernel(model)
    except ValueError:  # it cannot be told
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
            f"It cannot be told whether the model {model.name!r} takes pixels from 0 to 255 or "
            f"from -1 to 1. {error} Say which: pixels='raw' or 'scaled' (--pixels)."
        ) from error
    shape = [side or SIDE for side in inputs.shape[1:]]
    for value in (0, 255):
        image = np.full((1, *shape), value, inputs.dtype)
        found = keras.ops.convert_to_numpy(before(image, training=False)).astype("float32")
        if abs(np.median(found) - value) > 0.5:
            return True
    return False


def is_channels_first(model: "keras.Model") -> bool:
    """Whether the model's images have their channels before height and width."""
    return any(
        getattr(layer, "data_format", None) == "channels_first"
        or (hasattr(layer, "layers") and is_channels_first(layer))
        for layer in model.layers
    )


def image_size(model: "keras.Model", default: int = DEFAULT_SIZE) -> tuple[int, int]:
    """Height and width of the model's images; `default` for what the model leaves open.

    Raises:
        ValueError: if the model does not take images.
    """
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(
            f"The model {model.name!r} takes {shape}, not images (batch, height, width, channels)."
        )
    height, width = shape[2:4] if is_channels_first(model) else shape[1:3]
    return height or default, width or default


def model_input(model: "keras.Model", pixels: np.ndarray) -> np.ndarray:
    """Raw pixels as the model takes them.

    Args:
        model: any model of this package.
        pixels: `(images, height, width, channels)`, RGB, 0 to 255.

    Returns:
        float array in the model's range and data format.
    """
    if not takes_raw_pixels(model):
        pixels = preprocess_input(pixels)
    return np.moveaxis(pixels, 3, 1) if is_channels_first(model) else pixels


def feeder(model: "keras.Model"):
    """A function from raw pixels to what the model takes; `None` if that is the same."""
    if takes_raw_pixels(model) and not is_channels_first(model):
        return None
    return lambda pixels: model_input(model, pixels)
