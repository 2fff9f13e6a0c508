"""Classify image files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_inception_v4.data.folders import list_images, sound_images
from keras_inception_v4.data.pipeline import pixel_batches
from keras_inception_v4.data.places import check_place
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.files import require
from keras_inception_v4.inference.answering import Predictor
from keras_inception_v4.inference.engines import run_on
from keras_inception_v4.inference.opening import (
    check_threshold_word,
    chosen_thresholds,
    open_classifier,
)
from keras_inception_v4.inference.parts import Streamed
from keras_inception_v4.inference.streaming import PART
from keras_inception_v4.preprocessing import check_finite
from keras_inception_v4.progress import Verbose, progress
from keras_inception_v4.tasks import Task


class Prediction(NamedTuple):
    """What was found in one image.

    `top` has `(name, probability)`, best first; where a picture may show several classes those from
    their thresholds on, perhaps none; for quantities all of them as `(name, value)`.
    """

    path: str
    top: list[tuple[str, float]]


class Predictions(list[Prediction]):
    """Predictions of files in order, and the task of the model that made them."""

    def __init__(self, task: Task):
        super().__init__()
        self.task = task


def predict_files(
    model_path: str | os.PathLike | None,
    images: Sequence[str | os.PathLike],
    *,
    top: int | None = None,
    threshold: float | str | None = None,
    batch_size: int = 8,
    skip_corrupt: bool = False,
    precision: str | None = None,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> Predictions:
    """Classifies image files.

    Args:
        model_path: a run folder or its `model.keras`, whose class names and crop are
            used, or any `.keras` file of this package, or an artefact of `export_model`;
            `None` for the ImageNet weights.
        images: paths of image files, and of folders, searched with their subfolders.
        top: how many classes for each image, at most all of the model's; `None` for five, or where
            an image may show several for all that are answered.
        threshold: for several classes an image: from which probability on a class is answered, 0
            to 1, or `"best"`, those that the run found on its held-out images; `None` takes these
            where there are some, else 0.5.
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
    check_at_least(1, top=1 if top is None else top, batch_size=batch_size)
    check_threshold_word(threshold)
    paths, _ = sound_images(_expand(images), skip_corrupt=skip_corrupt, verbose=verbose)
    classifier = open_classifier(model_path, precision=precision, pixels=pixels)
    task = classifier.task
    thresholds = chosen_thresholds(task, threshold, classifier.thresholds)
    batches = pixel_batches(paths, batch_size, classifier.size, classifier.crop)
    predictions = Predictions(task)
    with progress(len(paths), "predicting", "images", verbose) as advance:
        for batch in batches:
            answers = classifier.predict(batch)
            check_finite(answers, "answers of the model")
            for row in answers:
                found = task.answer(row, classifier.class_names, top, thresholds)
                path = os.fspath(paths[len(predictions)])
                predictions.append(Prediction(path, found))
            advance(len(batch))
    return predictions


def stream_predictions(
    model_path: str | os.PathLike | None,
    images: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    top: int | None = None,
    threshold: float | str | None = None,
    batch_size: int = 8,
    strict: bool = False,
    precision: str | None = None,
    pixels: str | None = None,
    column: str | None = None,
    part: int = PART,
    engine: str | None = None,
    address: str | None = None,
    verbose: Verbose = "auto",
) -> Streamed:
    """Classifies any number of files into Parquet: `path`, and what was found.

    That is `classes` and `probabilities`, lists with the best first, or a column a quantity.

    Args:
        model_path: as in `Predictor`, and so are `top`, `threshold`, `precision` and `pixels`.
        images: files, folders, tables and addresses, as in `data.places.pieces`.
        output: as in `streaming.stream`.
        top: how many classes for each image.
        threshold: from which probability on a class is answered.
        batch_size: images a batch.
        strict: whether a file that cannot be read ends the work; else it is left out.
        precision: of OpenVINO's arithmetic.
        pixels: what the model takes.
        column: of a table, as in `data.places.pieces`.
        part: files of a part.
        engine: what does the work, as in `engines.run_on`.
        address: of a Ray cluster.
        verbose: whether to show progress.

    Returns:
        How many files were answered, and how many left out.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: as `Predictor`, `engines.run_on` and
            `streaming.stream`.
    """
    check_at_least(1, batch_size=batch_size, part=part)
    for image in images:
        check_place(image)
    arguments = {"top": top, "threshold": threshold, "precision": precision, "pixels": pixels}
    return run_on(
        engine, Predictor, model_path, arguments, images, output, address=address,
        batch_size=batch_size, column=column, strict=strict, part=part, verbose=verbose,
    )  # fmt: skip


def _expand(images: Sequence[str | os.PathLike]) -> list[Path]:
    """Files as they are, folders as the files below them."""
    paths = []
    for image in map(Path, images):
        require(image, "image file")
        paths += list_images(image) if image.is_dir() else [image]
    return paths
