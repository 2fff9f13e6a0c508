"""Open a model or an artefact with the settings that its run recorded."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_inception_v4.architecture import EMBEDDING, EVALUATION_CROP
from keras_inception_v4.artefacts import Artefact, is_artefact, open_artefact
from keras_inception_v4.inspection import (
    ModelSettings,
    check_classifier,
    classifier_of,
    embedding_model,
    image_size,
    model_input,
    names_of,
    probabilities_of,
    read_settings,
    say_pixels,
    task_of,
)
from keras_inception_v4.tasks import Task, check_threshold, task_named

if TYPE_CHECKING:
    import keras

BEST = "best"


class Classifier(NamedTuple):
    """An opened classifier or regression model, from Keras or an artefact.

    `predict` takes raw pixels of shape `(images, height, width, 3)`, 0 to 255, and returns
    probabilities or quantities. `thresholds` has one value per class, or is `None` if the run
    recorded none.
    """

    size: tuple[int, int]
    crop: float
    class_names: list[str]
    predict: Callable[[np.ndarray], np.ndarray]
    task: Task
    thresholds: list[float] | None


class Extractor(NamedTuple):
    """An opened embedding model, from Keras or an artefact.

    `embed` takes raw pixels of shape `(images, height, width, 3)`, 0 to 255, and returns features
    of shape `(images, 1536)`.
    """

    size: tuple[int, int]
    crop: float
    embed: Callable[[np.ndarray], np.ndarray]


def open_model(
    model_path: str | os.PathLike | None,
    weights: str | os.PathLike = "imagenet",
    *,
    pixels: str | None = None,
) -> tuple["keras.Model", ModelSettings]:
    """Return a model and the settings that its run recorded.

    Args:
        model_path: A run folder or its `model.keras`, or any `.keras` file of this package. `None`
            uses InceptionV4 with `weights`.
        weights: Weights as in `InceptionV4`.
        pixels: Pixel range that the model expects, `"raw"` (0 to 255) or `"scaled"` (-1 to 1).
            Needed only where its layers do not show it.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the model cannot be read or has no classifier.
        OSError: If the ImageNet weights are not in the cache and cannot be downloaded.
    """
    # Imported here because artefacts do not need Keras.
    from keras_inception_v4.model import InceptionV4
    from keras_inception_v4.weights.loading import read_model

    if model_path is None:
        return InceptionV4(weights=weights), ModelSettings(None, EVALUATION_CROP)
    model = read_model(model_path)
    say_pixels(model, pixels)
    model = classifier_of(model)
    image_size(model)  # raises if the model takes no images
    check_classifier(model)
    return model, read_settings(model_path)


def open_classifier(
    model_path: str | os.PathLike | None,
    *,
    precision: str | None = None,
    pixels: str | None = None,
) -> Classifier:
    """Open a model or an artefact for prediction.

    Args:
        model_path: Model as in `open_model`, or an artefact of `export_model`.
        precision: Precision of OpenVINO's arithmetic, as in `open_artefact`.
        pixels: Pixel range that the model expects, as in `open_model`. Not allowed for an artefact,
            which records it.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the model cannot be read, an argument does not apply to it, or it is an
            embedding artefact.
        ImportError: If the artefact's runtime is not installed. The message names the extra.
        OSError: If the ImageNet weights are not in the cache and cannot be downloaded.
    """
    artefact = _artefact(model_path, precision, pixels)
    if artefact is not None:
        about = artefact.description
        if about.task == EMBEDDING:
            raise ValueError(
                f"{model_path} embeds: it returns features, not classes. Use it with embed."
            )
        names = names_of(about.classes, about.class_names)
        task = task_named(about.task)
        return Classifier(about.size, about.crop, names, artefact.predict, task, about.thresholds)
    model, settings = open_model(model_path, pixels=pixels)
    names = names_of(model.output_shape[-1], settings.class_names)
    return Classifier(
        image_size(model),
        settings.crop,
        names,
        lambda pixels: probabilities_of(model, model.predict_on_batch(model_input(model, pixels))),
        task_of(model),
        settings.thresholds,
    )


def open_embedder(
    model_path: str | os.PathLike | None,
    *,
    precision: str | None = None,
    pixels: str | None = None,
) -> Extractor:
    """Open the embedding part of a model, or an embedding artefact.

    Args:
        model_path: A run folder or a `.keras` file, or an artefact that `export_model` wrote with
            `part="embedding"`. `None` uses InceptionV4 with the ImageNet weights.
        precision: Precision of OpenVINO's arithmetic, as in `open_classifier`.
        pixels: Pixel range that the model expects, as in `open_classifier`.

    Raises:
        FileNotFoundError, ImportError, OSError: As in `open_classifier`.
        ValueError: If the model cannot be read, an argument does not apply to it, or it is an
            artefact that is not an embedding.
    """
    artefact = _artefact(model_path, precision, pixels)
    if artefact is not None:
        about = artefact.description
        if about.task != EMBEDDING:
            raise ValueError(
                f"{model_path} returns {about.classes} classes or quantities, not features. "
                "Export the embedding: keras-inception-v4 export --part embedding."
            )
        return Extractor(about.size, about.crop, artefact.predict)
    # Imported here because artefacts do not need Keras.
    from keras_inception_v4.model import InceptionV4
    from keras_inception_v4.weights.loading import read_model

    if model_path is None:
        model, crop = InceptionV4(include_top=False, pooling="avg"), EVALUATION_CROP
    else:
        model, crop = read_model(model_path), read_settings(model_path).crop
    say_pixels(model, pixels)
    extractor = embedding_model(model)

    def embed(batch: np.ndarray) -> np.ndarray:
        return np.asarray(extractor.predict_on_batch(model_input(model, batch)), "float32")

    return Extractor(image_size(model), crop, embed)


def _artefact(model_path, precision: str | None, pixels: str | None) -> Artefact | None:
    """Open an artefact and return it, or return `None` for a model; check that arguments apply."""
    if model_path is None and precision is not None:
        raise ValueError(
            f"Received precision={precision!r} without a model. It is for OpenVINO's artefacts."
        )
    if model_path is None or not (is_artefact(model_path) or precision is not None):
        return None
    if pixels is not None:
        raise ValueError(
            f"Received pixels={pixels!r} for {model_path}. Leave it out: an artefact records it."
        )
    return open_artefact(model_path, precision=precision)


def check_threshold_word(threshold: float | str | None) -> float | str | None:
    """Check and return a threshold from the user: a number from 0 to 1, `"best"` or `None`.

    Raises:
        ValueError: If it is anything else.
    """
    if threshold is None or threshold == BEST:
        return threshold
    try:
        return check_threshold(float(threshold))
    except (TypeError, ValueError):
        raise ValueError(
            f"Received threshold={threshold}. It must be from 0 to 1, or 'best'."
        ) from None


def chosen_thresholds(
    task: Task, threshold: float | str | None, recorded: list[float] | None
) -> float | list[float] | None:
    """Return the smallest probabilities at which classes are predicted.

    Args:
        task: Task of the model.
        threshold: A number, or `"best"` for the thresholds that a run recorded. `None` uses those
            too if there are any.
        recorded: Thresholds that the run recorded, one per class, or `None`.

    Returns:
        One number, or one per class. `None` means the task's default.

    Raises:
        ValueError: If a threshold is out of range, `"best"` is given but none is recorded, or the
            task has no thresholds.
    """
    threshold = check_threshold_word(threshold)
    if threshold is None:
        return recorded
    if not task.thresholded:
        raise ValueError(
            f"Received threshold={threshold} for a model of {task.name}. It is for several classes "
            "an image."
        )
    if not isinstance(threshold, str):
        return threshold
    if recorded is None:
        raise ValueError(
            "Received threshold='best', but no thresholds are recorded for this model. Give a "
            "number, or the run folder as the model."
        )
    return recorded
