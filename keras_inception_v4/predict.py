"""A model over image files."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.explain import class_activation_map, overlay
from keras_inception_v4.preprocessing import load_image
from keras_inception_v4.preprocessing.feeding import (
    image_size,
    load_input,
    model_input,
    names_of,
    read_settings,
)
from keras_inception_v4.weights.loading import read_model


class Prediction(NamedTuple):
    """The best classes of one image: `(name, probability)`, best first."""

    path: str
    top: list[tuple[str, float]]


def predict_files(
    model_path: str | os.PathLike,
    images: Sequence[str | os.PathLike],
    *,
    top: int = 5,
    batch_size: int = 8,
) -> list[Prediction]:
    """Classifies image files.

    Args:
        model_path: `model.keras` of a run folder, whose class names and crop are
            used, or any `.keras` file of this package.
        images: paths of image files.
        top: how many classes for each image; at most all of the model's.
        batch_size: images a batch.

    Returns:
        One prediction an image, in the given order.

    Raises:
        FileNotFoundError: if the model or an image is not there.
        ValueError: if one of them cannot be read.
    """
    model = read_model(model_path)
    class_names, crop = read_settings(model_path)
    predictions = []
    for start in range(0, len(images), batch_size):
        paths = images[start : start + batch_size]
        probabilities = model.predict_on_batch(load_input(model, paths, crop))
        names = names_of(probabilities.shape[1], class_names)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        for path, row, indices in zip(paths, probabilities, best, strict=True):
            predictions.append(
                Prediction(os.fspath(path), [(names[i], float(row[i])) for i in indices])
            )
    return predictions


class Explanation(NamedTuple):
    """The best classes of an image, and the class whose map was drawn."""

    top: list[tuple[str, float]]
    explained: str


def explain_file(
    model_path: str | os.PathLike,
    image: str | os.PathLike,
    output: str | os.PathLike,
    *,
    class_name: str | None = None,
    top: int = 5,
) -> Explanation:
    """Draws an image, the class activation map over it and the best classes in one picture.

    Args:
        model_path: a `.keras` file with a classifier; its run's class names and crop are used.
        image: path of an image file.
        output: path of a PNG; an old one is replaced.
        class_name: the class to explain; the best one if `None`.
        top: how many classes to show.

    Returns:
        What the picture shows.

    Raises:
        FileNotFoundError: if the model or the image is not there.
        ValueError: if one of them cannot be read, the output is no `.png`, the class is
            unknown, or the model's head has no exact map.
        ImportError: without matplotlib; the message names the extra.
    """
    if not str(output).lower().endswith(".png"):
        raise ValueError(f"Received output={str(output)!r}. It must end in .png.")
    plots.require_matplotlib()
    model = read_model(model_path)
    class_names, crop = read_settings(model_path)
    pixels = load_image(image, image_size(model), crop)
    probabilities = model.predict_on_batch(model_input(model, pixels[None]))[0]
    names = names_of(len(probabilities), class_names)
    if class_name is not None and class_name not in names:
        raise ValueError(
            f"Received class {class_name!r}. The model's classes are "
            f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
        )
    best = np.argsort(-probabilities, kind="stable")[:top]
    index = int(best[0]) if class_name is None else names.index(class_name)
    activation_map = class_activation_map(model, pixels[None], index)[0]
    shown = [(names[i], float(probabilities[i])) for i in best]
    plots.plot_explanation(
        pixels, overlay(pixels, activation_map), activation_map, shown, names[index], output
    )
    return Explanation(shown, names[index])
