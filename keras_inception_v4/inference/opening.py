"""Open a model or an artefact, with what its run recorded."""

import os
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.export import is_artefact, open_artefact
from keras_inception_v4.inspection import (
    ModelSettings,
    check_classifier,
    classifier_of,
    image_size,
    model_input,
    names_of,
    probabilities_of,
    read_settings,
    say_pixels,
)
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.weights.loading import read_model


class Classifier(NamedTuple):
    """Anything that names what is in an image file.

    `predict` takes raw pixels `(images, height, width, 3)`, 0 to 255, and answers
    probabilities.
    """

    size: tuple[int, int]
    crop: float
    class_names: list[str]
    predict: Callable[[np.ndarray], np.ndarray]


def open_model(
    model_path: str | os.PathLike | None,
    weights: str | os.PathLike = "imagenet",
    *,
    pixels: str | None = None,
) -> tuple[keras.Model, ModelSettings]:
    """A model and what its run recorded.

    Args:
        model_path: a run folder or its `model.keras`, or any `.keras` file of this package;
            `None` for InceptionV4 with `weights`.
        weights: as in `InceptionV4`.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if it cannot be read or has no classifier.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
    """
    if model_path is None:
        return InceptionV4(weights=weights), ModelSettings(None, EVALUATION_CROP)
    model = read_model(model_path)
    say_pixels(model, pixels)
    model = classifier_of(model)
    image_size(model)  # refuses what takes no images
    check_classifier(model)
    return model, read_settings(model_path)


def open_classifier(
    model_path: str | os.PathLike | None,
    *,
    precision: str | None = None,
    pixels: str | None = None,
) -> Classifier:
    """A model or an artefact, ready for image files.

    Args:
        model_path: as in `open_model`, or an artefact of `export_model`.
        precision: of OpenVINO's arithmetic, as in `open_artefact`.
        pixels: as in `open_model`; an artefact knows.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if it cannot be read, or `precision` is for another format.
        ImportError: without the artefact's runtime; the message names the extra.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
    """
    if model_path is not None and (is_artefact(model_path) or precision is not None):
        if pixels is not None:
            raise ValueError(
                f"Received pixels={pixels!r} for {model_path}. An artefact knows what it takes."
            )
        artefact = open_artefact(model_path, precision=precision)
        about = artefact.description
        names = names_of(about.classes, about.class_names)
        return Classifier(about.size, about.crop, names, artefact.predict)
    if precision is not None:
        raise ValueError(
            f"Received precision={precision!r} without a model. It is for OpenVINO's artefacts."
        )
    model, settings = open_model(model_path, pixels=pixels)
    names = names_of(model.output_shape[-1], settings.class_names)
    return Classifier(
        image_size(model),
        settings.crop,
        names,
        lambda pixels: probabilities_of(model, model.predict_on_batch(model_input(model, pixels))),
    )
