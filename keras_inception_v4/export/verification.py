"""Comparison of an artefact's outputs with its model's on images."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.artefacts import open_artefact
from keras_inception_v4.inspection import model_input, task_of
from keras_inception_v4.preprocessing import resize_image
from keras_inception_v4.tasks import Comparison, Task

BATCH = 8
ROUNDS = 3


class Tolerance(NamedTuple):
    """Limits on the difference between an artefact and its model.

    `relative` is the largest difference of a probability. For a quantity it is a share of the
    spread of the model's outputs. `agreement` is the least share of equal decisions: the top class,
    for each class whether it is assigned, or whether a quantity is near the model's. `moved` is the
    largest mean over images of the probability that moves from one class to others, or of the
    difference of a quantity.
    """

    relative: float
    agreement: float
    moved: float


TOLERANCES = {
    "float32": Tolerance(1e-4, 0.99, 1e-2),
    "float16": Tolerance(2e-2, 0.99, 5e-2),
    "int8": Tolerance(1.0, 0.98, 0.1),  # `moved` counts too: ten images may agree by chance
}


class Verification(NamedTuple):
    """Result of comparing an artefact with its model.

    `size` is in bytes, `images` the number of images compared. `difference` is the largest
    difference of a probability, or of a quantity in its unit. `agreement` is the least share of
    equal decisions among the image sets (see `Tolerance`). `rate` and `keras_rate` are the images
    per second of the artefact and of Keras, in batches of 8. `task` is the name of the task.
    """

    size: int
    images: int
    difference: float
    agreement: float
    rate: float
    keras_rate: float
    task: str = SINGLE_LABEL


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def verify(
    model: keras.Model,
    path: Path,
    precision: str,
    image_sets: dict[str, np.ndarray],
    thresholds: list[float] | None = None,
    task: Task | None = None,
) -> Verification:
    """Compare an artefact with its model on the same images and time both.

    Args:
        model: Model that was exported.
        path: Path of the artefact.
        precision: Precision whose tolerance applies. An OpenVINO artefact of `"float32"` also
            runs in float32.
        image_sets: Raw pixels `(images, height, width, channels)` by name of the set. Each set
            must agree by itself, or many other images could hide errors on a few real ones.
        thresholds: Probability from which each class is assigned, where an image may have several.
        task: Task that compares the outputs. Defaults to the model's own.

    Returns:
        The verification.

    Raises:
        ValueError: If they differ beyond the tolerance; the message gives the numbers.
    """
    openvino_float32 = path.is_dir() and (path / "model.xml").exists() and precision == "float32"
    artefact = open_artefact(path, precision="float32" if openvino_float32 else None)
    task, difference, agreement = task or task_of(model), 0.0, 1.0
    for name, pixels in image_sets.items():
        expected, found = model_answers(model, pixels), answers_of(artefact.predict, pixels)
        compared = check_answers(name, expected, found, precision, task, thresholds)
        difference = max(difference, compared.difference)
        agreement = min(agreement, compared.agreement)
    batch = np.resize(pixels, (BATCH, *pixels.shape[1:]))
    rate, keras_rate = _rates(lambda: artefact.predict(batch), lambda: _answer(model, batch))
    images = sum(map(len, image_sets.values()))
    return Verification(size_of(path), images, difference, agreement, rate, keras_rate, task.name)


def model_answers(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Return a model's outputs for raw pixels `(images, height, width, channels)`."""
    return answers_of(lambda batch: _answer(model, batch), pixels)


def answers_of(predict: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Return the outputs of `predict` for raw pixels, in batches of 8."""
    return np.concatenate([predict(batch) for batch in _batches(pixels)])


def check_answers(
    name: str,
    expected: np.ndarray,
    found: np.ndarray,
    precision: str,
    task: Task,
    thresholds: list[float] | None,
) -> Comparison:
    """Check that an artefact's outputs agree with its model's, and return the comparison.

    Args:
        name: Name of the image set, for the message.
        expected: Outputs of the model.
        found: Outputs of the artefact.
        precision: Precision whose tolerance applies.
        task: Task that compares the outputs.
        thresholds: Thresholds of the classes, as in `verify`.

    Raises:
        ValueError: If they differ beyond the tolerance; the message gives the numbers.
    """
    images, compared = len(expected), task.compare(expected, found, thresholds)
    what = f"{images} {name} images"
    tolerance = TOLERANCES[precision]
    # One image may be a tie that is decided differently, except in float32.
    slack = 1 / images if precision != "float32" else 0
    least = min(tolerance.agreement, 1 - slack)
    within = compared.relative <= tolerance.relative and compared.moved <= tolerance.moved
    if not within or compared.agreement < least:
        raise ValueError(
            f"The artefact does not reproduce the model's outputs on {what}: the largest "
            f"difference of a {task.value} is {compared.relative:.2g}{task.unit} (allowed "
            f"{tolerance.relative:g}), on average {compared.moved:.2g} {task.movement} (allowed "
            f"{tolerance.moved:g}), {task.decision} the same for {compared.agreement:.1%} (at "
            f"least {least:.1%}). Nothing was written. For int8, calibrate on images like those "
            "that the model will see."
        )
    return compared


def _answer(model: keras.Model, pixels) -> np.ndarray:
    return np.asarray(model.predict_on_batch(model_input(model, pixels)))


def _batches(pixels):
    return (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))


def _rates(*runs) -> list[float]:
    """Return the median images per second of each run, timed in turns after a warm-up."""
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for times, run in zip(seconds, runs, strict=True):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
    return [BATCH / median(times) for times in seconds]


def synthetic_images(count: int, size: tuple[int, int], channels: int) -> np.ndarray:
    """Generate seeded images of coloured blobs, coarse to fine, for use when none are given.

    Returns:
        Array of shape `(count, height, width, channels)`, float32, 0 to 255.
    """
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        cells = 2 ** (1 + index % 5)
        layers = [
            resize_image(rng.uniform(0, 255, (cells, cells)), size, 1.0)[..., 0]
            for _ in range(channels)
        ]
        images.append(np.stack(layers, axis=-1))
    return np.stack(images)
