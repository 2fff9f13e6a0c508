"""What feeds a model: its pixels, its image size, and what a run recorded beside it."""

import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_inception_v4.files import model_file, read_json
from keras_inception_v4.preprocessing.checks import check_finite
from keras_inception_v4.preprocessing.graphs import made_once
from keras_inception_v4.preprocessing.images import (
    EVALUATION_CROP,
    imagenet_classes,
    preprocess_input,
)
from keras_inception_v4.preprocessing.scaling import same_pixels, takes_raw_pixels

if TYPE_CHECKING:
    import keras


class ModelSettings(NamedTuple):
    """What turns image files into a model's answers with names.

    `class_names` is `None` where nobody recorded any.
    """

    class_names: list[str] | None
    crop: float


def is_channels_first(model: "keras.Model") -> bool:
    """Whether the model's images have their channels before height and width."""
    return any(
        getattr(layer, "data_format", None) == "channels_first"
        or (hasattr(layer, "layers") and is_channels_first(layer))
        for layer in model.layers
    )


def image_size(model: "keras.Model", default: int = 299) -> tuple[int, int]:
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


def classifier_of(model: "keras.Model") -> "keras.Model":
    """The model with its own classifier alone: without the auxiliary head, if it has one."""
    if not {"predictions", "auxiliary"} <= {layer.name for layer in model.layers}:
        return model
    import keras

    def make():
        return keras.Model(model.inputs, model.get_layer("predictions").output, name=model.name)

    return same_pixels(model, made_once(model, "classifier", make))


def check_classifier(model: "keras.Model") -> None:
    """Checks that a model answers probabilities, or logits, of at least two classes.

    Raises:
        ValueError: if it has no classifier, or one of a single output.
    """
    if len(model.output_shape) != 2 or activation_of(model) is None:
        raise ValueError(
            f"The model {model.name!r} has no classifier: it answers {model.output_shape}."
        )
    if model.output_shape[-1] == 1:
        raise ValueError(
            f"The model {model.name!r} answers one number an image, which names no class. Build "
            "its head with two outputs and 'softmax', one for each class."
        )


def activation_of(model: "keras.Model") -> str | None:
    """Name of the activation that a model's answers come from, `"linear"` for none.

    Of the last layer, in nested models too: a dense layer's own, or that of a softmax or activation
    layer. `None` if the last layer is another.
    """
    import keras

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    activation = getattr(last, "activation", None)
    return None if activation is None else getattr(activation, "__name__", "")


def check_probabilities(model: "keras.Model") -> None:
    """Checks that a model answers probabilities of classes.

    Raises:
        ValueError: if it has no classifier, or one that answers logits.
    """
    check_classifier(model)
    if answers_logits(model):
        raise ValueError(
            f"The model {model.name!r} answers logits, and an artefact answers probabilities. "
            "Build it with classifier_activation='softmax' and load its weights."
        )


def check_weights(model: "keras.Model") -> None:
    """Checks that no weight is NaN or infinite.

    Raises:
        ValueError: with the first layer that has such a weight.
    """
    for layer in model.layers:
        for weights in layer.get_weights():
            check_finite(weights, f"weights of {model.name!r} in {layer.name!r}")


def answers_logits(model: "keras.Model") -> bool:
    """Whether a classifier has no activation."""
    return activation_of(model) == "linear"


def probabilities_of(model: "keras.Model", answers: np.ndarray) -> np.ndarray:
    """A classifier's answers as probabilities, also where it answers logits."""
    if not answers_logits(model):
        return answers
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def feeder(model: "keras.Model"):
    """A function from raw pixels to what the model takes; `None` if that is the same."""
    if takes_raw_pixels(model) and not is_channels_first(model):
        return None
    return lambda pixels: model_input(model, pixels)


def read_settings(model_path: str | os.PathLike) -> ModelSettings:
    """Reads what the training run recorded beside its model.

    Args:
        model_path: a run folder or its `model.keras`, or any model file.

    Returns:
        The run's class names and crop; for a model that stands alone, no names and
        the evaluation crop of the published accuracy.
    """
    folder = model_file(model_path).parent
    names, config = folder / "class_names.json", folder / "config.json"
    return ModelSettings(
        read_json(names) if names.is_file() else None,
        read_json(config).get("crop", EVALUATION_CROP) if config.is_file() else EVALUATION_CROP,
    )


def names_of(classes: int, class_names: list[str] | None) -> list[str]:
    """One name a class: the recorded ones, ImageNet's for 1000, else the index as text.

    Two of ImageNet's names occur twice; they bear their synset.

    Raises:
        ValueError: if the recorded names are not as many as the model's classes.
    """
    if class_names is not None:
        if len(class_names) != classes:
            raise ValueError(
                f"The model answers {classes} classes, but class_names.json beside it names "
                f"{len(class_names)}. Put the model back into the folder of its own run."
            )
        return class_names
    if classes == len(imagenet_classes()):
        counts = Counter(name for _, name in imagenet_classes())
        return [
            name if counts[name] == 1 else f"{name} ({synset})"
            for synset, name in imagenet_classes()
        ]
    return [str(index) for index in range(classes)]
