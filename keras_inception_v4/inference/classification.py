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
    """The prediction for one image.

    For a classifier, `top` holds `(name, probability)` pairs, the best first. With several classes
    per image, it holds only classes that reach their threshold, and may be empty. For quantities,
    it holds all of them as `(name, value)`.
    """

    path: str
    top: list[tuple[str, float]]


class Predictions(list[Prediction]):
    """The predictions for files, in order, with the task of the model that made them."""

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
    """Classify image files.

    Args:
        model_path: A run folder or its `model.keras`, whose recorded class names and crop are
            used; any other `.keras` file of this package; or an artefact of `export_model`.
            `None` uses the ImageNet weights.
        images: Paths of image files and of folders. Folders are searched with their subfolders.
        top: Number of classes per image, at most all of the model's. `None` returns five. With
            several classes per image, `None` returns all that reach their threshold.
        threshold: Smallest probability, 0 to 1, at which a class is predicted; only for several
            classes per image. `"best"` uses the thresholds that the run found on its held-out
            images. `None` uses those too if there are any, else 0.5.
        batch_size: Images per batch.
        skip_corrupt: Whether to leave out files that cannot be read.
        precision: `"float32"` or `"bfloat16"`, for OpenVINO artefacts only.
        pixels: Pixel range that the model expects, `"raw"` (0 to 255) or `"scaled"` (-1 to 1).
            Needed only where its layers do not show it.
        verbose: Verbosity as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        One prediction per image, in the given order.

    Raises:
        FileNotFoundError: If the model or an image does not exist.
        ValueError: If the model or an image cannot be read. This is raised before any prediction.
        OSError: If the ImageNet weights are not in the cache and cannot be downloaded.
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
    """Classify any number of files into Parquet.

    The columns are `path`, and `classes` and `probabilities`, which are lists with the best class
    first. For quantities, each has a column instead.

    Args:
        model_path: Model as in `Predictor`.
        images: Files, folders, tables and addresses, as in `data.places.pieces`.
        output: Folder or `.parquet` file, as in `streaming.stream`.
        top: Number of classes per image, as in `Predictor`.
        threshold: Smallest probability at which a class is predicted, as in `Predictor`.
        batch_size: Images per batch.
        strict: Whether to stop at a file that cannot be read. By default it is left out.
        precision: Precision of OpenVINO's arithmetic, as in `Predictor`.
        pixels: Pixel range that the model expects, as in `Predictor`.
        column: Column of a table, as in `data.places.pieces`.
        part: Files per part.
        engine: Engine that runs the model, as in `engines.run_on`.
        address: Address of a Ray cluster.
        verbose: Whether to show progress.

    Returns:
        The number of files classified and the number left out.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: As in `Predictor`, `engines.run_on`
            and `streaming.stream`.
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
    """Replace each folder by the image files below it."""
    paths = []
    for image in map(Path, images):
        require(image, "image file")
        paths += list_images(image) if image.is_dir() else [image]
    return paths
