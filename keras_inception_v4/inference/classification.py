"""Classify image files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.data.folders import list_images, sound_images
from keras_inception_v4.data.pipeline import pixel_batches
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.files import require
from keras_inception_v4.inference.opening import open_classifier
from keras_inception_v4.preprocessing import check_finite
from keras_inception_v4.progress import Verbose, progress


class Prediction(NamedTuple):
    """The best classes of one image: `(name, probability)`, best first."""

    path: str
    top: list[tuple[str, float]]


def predict_files(
    model_path: str | os.PathLike | None,
    images: Sequence[str | os.PathLike],
    *,
    top: int = 5,
    batch_size: int = 8,
    skip_corrupt: bool = False,
    precision: str | None = None,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> list[Prediction]:
    """Classifies image files.

    Args:
        model_path: a run folder or its `model.keras`, whose class names and crop are
            used, or any `.keras` file of this package, or an artefact of `export_model`;
            `None` for the ImageNet weights.
        images: paths of image files, and of folders, searched with their subfolders.
        top: how many classes for each image; at most all of the model's.
        batch_size: images a batch.
        skip_corrupt: whether to leave out files that cannot be read.
        precision: `"float32"` or `"bfloat16"`, for OpenVINO's artefacts.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        verbose: as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        One prediction an image, in the given order.

    Raises:
        FileNotFoundError: if the model or an image is not there.
        ValueError: if one of them cannot be read; raised before any prediction.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
    """
    check_at_least(1, top=top, batch_size=batch_size)
    paths, _ = sound_images(_expand(images), skip_corrupt=skip_corrupt, verbose=verbose)
    classifier = open_classifier(model_path, precision=precision, pixels=pixels)
    batches = pixel_batches(paths, batch_size, classifier.size, classifier.crop)
    predictions: list[Prediction] = []
    with progress(len(paths), "predicting", "images", verbose) as advance:
        for batch in batches:
            probabilities = classifier.predict(batch)
            check_finite(probabilities, "answers of the model")
            best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
            for row, indices in zip(probabilities, best, strict=True):
                found = [(classifier.class_names[i], float(row[i])) for i in indices]
                predictions.append(Prediction(os.fspath(paths[len(predictions)]), found))
            advance(len(batch))
    return predictions


def _expand(images: Sequence[str | os.PathLike]) -> list[Path]:
    """Files as they are, folders as the files below them."""
    paths = []
    for image in map(Path, images):
        require(image, "image file")
        paths += list_images(image) if image.is_dir() else [image]
    return paths
