"""Removal of the layers that act only in training."""

import keras
import numpy as np

from keras_inception_v4.inspection import input_of, run_through, same_pixels

TRAINING_ONLY = (
    "GaussianNoise", "MixUp", "CutMix", "RandAugment", "AugMix", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform",
    "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
    "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation",
    "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
)  # fmt: skip
"""Keras layers that return their input unchanged at inference. `RandomCrop` is not one of them."""


def _is_training_only(layer) -> bool:
    if isinstance(layer, keras.layers.Pipeline):
        return all(map(_is_training_only, layer.layers))
    return type(layer) in {getattr(keras.layers, name, None) for name in TRAINING_ONLY}


def _is_normalization(layer) -> bool:
    return isinstance(layer, keras.layers.Normalization) and not layer.invert


def _holds_such(layer) -> bool:
    inner = layer.layers if isinstance(layer, keras.Model) else ()
    return _is_training_only(layer) or _is_normalization(layer) or any(map(_holds_such, inner))


def _normalized(layer, tensor):
    """Normalize with constants; exporters treat a normalization layer's tensors as inputs."""
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(value), "float32")
        for value in (layer.mean, layer.variance)
    )
    return (tensor - mean) / np.maximum(np.sqrt(variance), keras.config.epsilon())


def inference_model(model: keras.Model) -> keras.Model:
    """Return the model without the layers that act only in training, such as augmentation.

    Runtimes have no operation for these layers. Keras's exporters do not pass `training=False`, so
    these layers could also switch the rest of the model to training. Normalization layers become
    constants. All other layers are shared with `model`. A model without training-only or
    normalization layers is returned unchanged.

    Args:
        model: Functional or sequential model; it may hold nested models.
    """
    if not _holds_such(model):
        return model

    def call(operation, *arguments, training=None, **named):
        if _is_training_only(operation):
            return arguments[0]
        if _is_normalization(operation):
            return _normalized(operation, arguments[0])
        if _holds_such(operation):
            return run_through(operation, arguments[0], call)
        return operation(*arguments, **named)

    inputs = input_of(model)
    made = keras.Model(inputs, run_through(model, inputs, call), name=model.name)
    return same_pixels(model, made)
