"""Open a model or an artefact, with what its run recorded."""

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
    """Anything that names what is in an image file.

    `predict` takes raw pixels `(images, height, width, 3)`, 0 to 255, and answers
    probabilities, or quantities. `thresholds` has one a class where a run has found some.
    """

    size: tuple[int, int]
    crop: float
    class_names: list[str]
    predict: Callable[[np.ndarray], np.ndarray]
    task: Task
    thresholds: list[float] | None


class Extractor(NamedTuple):
    """Anything that turns an image file into features.

    `embed` takes raw pixels `(images, height, width, 3)`, 0 to 255, and answers `(images, 1536)`.
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
    # An artefact needs neither these nor Keras.
    from keras_inception_v4.model import InceptionV4
    from keras_inception_v4.weights.loading import read_model

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
    artefact = _artefact(model_path, precision, pixels)
    if artefact is not None:
        about = artefact.description
        if about.task == EMBEDDING:
            raise ValueError(
                f"{model_path} embeds: it answers features, and no classes. Use it with embed."
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
    """The embedding part of a model, or an artefact of it, ready for image files.

    Args:
        model_path: a run folder or a `.keras` file; an artefact that `export_model` wrote with
            `part="embedding"`; `None` for InceptionV4 with the ImageNet weights.
        precision: as in `open_classifier`, and so is the rest.
        pixels: what the model takes.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: as `open_classifier`.
    """
    artefact = _artefact(model_path, precision, pixels)
    if artefact is not None:
        about = artefact.description
        if about.task != EMBEDDING:
            raise ValueError(
                f"{model_path} answers {about.classes} classes or quantities, and no features. "
                "Export the embedding: keras-inception-v4 export --part embedding."
            )
        return Extractor(about.size, about.crop, artefact.predict)
    # An artefact needs neither these nor Keras.
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
    """The artefact, if it is one; what is asked must fit it."""
    if model_path is None and precision is not None:
        raise ValueError(
            f"Received precision={precision!r} without a model. It is for OpenVINO's artefacts."
        )
    if model_path is None or not (is_artefact(model_path) or precision is not None):
        return None
    if pixels is not None:
        raise ValueError(
            f"Received pixels={pixels!r} for {model_path}. An artefact knows what it takes."
        )
    return open_artefact(model_path, precision=precision)


def check_threshold_word(threshold: float | str | None) -> float | str | None:
    """A threshold as a user gives it: a number, `"best"` or `None`.

    Raises:
        ValueError: for anything else.
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
    """From which probability on a class is answered.

    Args:
        task: of the model.
        threshold: a number; `"best"`, those that a run found; `None` takes these where there are
            some.
        recorded: one a class, or `None`.

    Returns:
        A number or one a class; `None` for the task's own.

    Raises:
        ValueError: for a threshold that is out of range, is not recorded, or is for another task.
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
            "Received threshold='best', and nothing recorded which those are. Name a number, or "
            "the run folder."
        )
    return recorded
