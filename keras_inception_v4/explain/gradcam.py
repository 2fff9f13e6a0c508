"""Grad-CAM: a map of any endpoint under any head, from the gradient of a logit."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.architecture import ENDPOINTS
from keras_inception_v4.explain.asked import checked_images, checked_indices
from keras_inception_v4.inspection import (
    classifier_of,
    input_of,
    is_channels_first,
    last_layer,
    made_once,
    model_input,
    run_through,
    say_pixels,
)
from keras_inception_v4.preprocessing import warn_of_scaled

LAST = list(ENDPOINTS)[-1]


def grad_cam(
    model: keras.Model,
    images,
    class_index=None,
    *,
    endpoint: str = LAST,
    batch_size: int = 8,
    pixels: str | None = None,
) -> np.ndarray:
    """Return where the channels of an endpoint raise the logit of a class.

    Each channel is weighted by the mean of the logit's gradient over the grid. Negative sums are
    set to 0. For the last endpoint and the default head, the result is the positive part of
    `class_activation_map` divided by the number of cells.

    Source: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM: Visual Explanations from
    Deep Networks via Gradient-based Localization", 2017.

    Args:
        model: Model of this package, or one built on it, with any head; it may be nested.
        images: Pixels of shape (images, height, width, channels), 0 to 255.
        class_index: Index of a class or quantity for all images, or one for each. `None` takes the
            best class of each image.
        endpoint: Endpoint whose feature map is used, one of `ENDPOINTS`. Defaults to `"mixed_7d"`.
        batch_size: Images per batch. Defaults to 8.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.

    Returns:
        float32 array of shape (images, h, w), at least 0; 17 x 17 cells for `mixed_6h` and 299 x
        299 pixels.

    Raises:
        ValueError: If the model has no such endpoint, other paths lead around it, or an index is
            not a class.

    Examples:
        ```python
        import numpy as np
        from keras_inception_v4 import InceptionV4, grad_cam, load_image

        model = InceptionV4(include_preprocessing=True)
        image = load_image("photo.jpg")
        (cells,) = grad_cam(model, image[np.newaxis], endpoint="mixed_6h")
        print(cells.shape)
        ```
    """
    say_pixels(model, pixels)
    model = classifier_of(model)
    images = checked_images(images)
    cut = made_once(model, f"cut at {endpoint}", lambda: _cut(model, endpoint))
    indices = checked_indices(class_index, len(images), cut.above.output_shape[-1])
    warn_of_scaled(images[:1])
    maps = []
    for start in range(0, len(images), batch_size):
        fed = model_input(model, images[start : start + batch_size])
        grid = np.asarray(cut.below.predict_on_batch(fed), "float32")
        if indices is None:
            chosen = np.argmax(cut.above.predict_on_batch(grid), axis=1)
        else:
            chosen = indices[start : start + batch_size]
        slopes = cut.slopes(grid, chosen.astype("int32"))
        if is_channels_first(model):
            grid, slopes = np.moveaxis(grid, 1, 3), np.moveaxis(slopes, 1, 3)
        weights = slopes.mean(axis=(1, 2))
        maps.append(np.maximum(np.einsum("nhwc,nc->nhw", grid, weights), 0))
    return np.concatenate(maps) if maps else np.empty((0, 0, 0), "float32")


class _Cut(NamedTuple):
    """A model split at an endpoint: `below` ends there, `above` goes from there to the logits.

    `slopes` returns the gradients of logits by the grid.
    """

    below: keras.Model
    above: keras.Model
    slopes: Callable[[np.ndarray, np.ndarray], np.ndarray]


class _Logits(keras.layers.Layer):
    """A dense layer without its activation. It shares the layer's weights."""

    def __init__(self, dense, **options):
        super().__init__(dtype="float32", **options)
        self.dense = dense

    def call(self, inputs):
        kernel, bias = self.dense.kernel, self.dense.bias
        logits = keras.ops.matmul(inputs, keras.ops.cast(kernel, "float32"))
        return logits if bias is None else logits + keras.ops.cast(bias, "float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dense.units)


def _cut(model: keras.Model, endpoint: str) -> _Cut:
    last = last_layer(model)
    grids = []

    def call(operation, *arguments, training=None, **named):
        if isinstance(operation, keras.Model):
            return run_through(operation, arguments[0], call)
        if operation is last:
            return _without_activation(operation, arguments[0])
        output = operation(*arguments, **named)
        if operation.name == endpoint:
            grids.append(output)
        return output

    inputs = input_of(model)
    answers = run_through(model, inputs, call)
    if not grids or len(grids[-1].shape) != 4:
        raise ValueError(
            f"The model {model.name!r} has no endpoint {endpoint!r}. It must be one of "
            f"{', '.join(ENDPOINTS)}, and the model must include it."
        )
    try:
        above = keras.Model(grids[-1], answers)
    except ValueError as error:
        raise ValueError(
            f"In {model.name!r}, other paths bypass {endpoint!r}, so its grid alone does not "
            "explain the predictions. Choose an endpoint that every path passes through."
        ) from error
    return _Cut(keras.Model(inputs, grids[-1]), above, _slopes_of(above))


def _without_activation(layer, tensor):
    """Return the last layer's logits: softmax and sigmoid flatten confident gradients."""
    if isinstance(layer, keras.layers.Softmax):
        return tensor
    activation = getattr(layer, "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.sigmoid):
        return layer(tensor)
    if isinstance(layer, keras.layers.Activation):
        return tensor
    if getattr(layer, "quantization_mode", None):
        raise ValueError(
            f"The layer {layer.name!r} is quantized to {layer.quantization_mode}, but Grad-CAM "
            "needs floating-point weights. Use the model before quantize()."
        )
    return _Logits(layer)(tensor)


def _slopes_of(above: keras.Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function of a grid and one output index per image: the gradients by the grid."""

    def total(answers, chosen):
        picked = keras.ops.take_along_axis(answers, chosen[:, None], axis=1)
        return keras.ops.sum(keras.ops.cast(picked, "float32"))

    def in_jax(grid, chosen):
        trainable = [variable.value for variable in above.trainable_variables]
        others = [variable.value for variable in above.non_trainable_variables]
        return np.asarray(compiled(grid, chosen, trainable, others))

    def in_tensorflow(grid, chosen):
        import tensorflow as tf

        values = tf.convert_to_tensor(grid)
        with tf.GradientTape() as tape:
            tape.watch(values)
            summed = total(above(values, training=False), chosen)
        return keras.ops.convert_to_numpy(tape.gradient(summed, values))

    def in_torch(grid, chosen):
        import torch

        values = keras.ops.convert_to_tensor(grid).detach().requires_grad_(True)
        summed = total(above(values, training=False), chosen)
        return keras.ops.convert_to_numpy(torch.autograd.grad(summed, values)[0])

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def function(grid, chosen, trainable, others):
            answers, _ = above.stateless_call(trainable, others, grid, training=False)
            return total(answers, chosen)

        compiled = jax.jit(jax.grad(function))
        return in_jax
    return in_tensorflow if backend == "tensorflow" else in_torch
