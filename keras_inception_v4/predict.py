"""A model over image files."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.feeding import load_input, names_of, read_settings


class Prediction(NamedTuple):
    """The best classes of one image: `(name, probability)`, best first."""

    path: str
    top: list[tuple[str, float]]


def load_model(path: str | os.PathLike) -> keras.Model:
    """Loads a `.keras` file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no Keras model; the message names the file.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no model file {path}.")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # keras and h5py raise whatever the damage led to
        raise ValueError(
            f"{path} cannot be loaded as a Keras model ({type(error).__name__}: {error}). It must "
            "be a .keras file that model.save or `keras-inception-v4 train` wrote."
        ) from error


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
    model = load_model(model_path)
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
