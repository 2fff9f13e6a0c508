"""Whether an artefact answers what the model answers, on images."""

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
    """What an artefact may differ in.

    `relative` is the largest difference of a probability, or of a quantity as a share of how far
    the model's answers spread; `agreement` the least share of equal decisions (top classes; of each
    class, whether it is answered; quantities that are near); `moved` the most probability that may
    go from one class to others, or the difference of a quantity, in the mean over images.
    """

    relative: float
    agreement: float
    moved: float


TOLERANCES = {
    "float32": Tolerance(1e-4, 0.99, 1e-2),
    "float16": Tolerance(2e-2, 0.99, 5e-2),
    "int8": Tolerance(1.0, 0.98, 0.1),  # ten images may keep their class by chance, but not this
}


class Verification(NamedTuple):
    """How an artefact compares with its model.

    `size` is in bytes, `difference` the largest one of a probability, or of a quantity in its unit,
    `agreement` the least share of equal decisions among the sets (see `Tolerance`), `rate` and
    `keras_rate` images a second in batches of 8, `task` is that of the model.
    """

    size: int
    images: int
    difference: float
    agreement: float
    rate: float
    keras_rate: float
    task: str = SINGLE_LABEL


def size_of(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
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
    """Runs an artefact and its model on the same images.

    Args:
        model: what was exported.
        path: the artefact.
        precision: whose tolerance counts; OpenVINO's float32 is verified in float32.
        image_sets: name to raw pixels `(images, height, width, channels)`. Each set must
            agree, so that a small one of real images is not outvoted.
        thresholds: from which a class is answered, where several may be.
        task: by which answers are compared; the model's own if `None`.

    Raises:
        ValueError: if they differ beyond the tolerance; the message gives the numbers.
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
    """What a model answers raw pixels `(images, height, width, channels)`."""
    return answers_of(lambda batch: _answer(model, batch), pixels)


def answers_of(predict: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """The answers to raw pixels, in batches of 8."""
    return np.concatenate([predict(batch) for batch in _batches(pixels)])


def check_answers(
    name: str,
    expected: np.ndarray,
    found: np.ndarray,
    precision: str,
    task: Task,
    thresholds: list[float] | None,
) -> Comparison:
    """Compares an artefact's answers with its model's.

    Args:
        name: of the images, for the message.
        expected: the model's answers.
        found: the artefact's.
        precision: whose tolerance counts.
        task: by which answers are compared.
        thresholds: as in `verify`.

    Raises:
        ValueError: if they differ beyond the tolerance; the message gives the numbers.
    """
    images, compared = len(expected), task.compare(expected, found, thresholds)
    what = f"{images} {name} images"
    tolerance = TOLERANCES[precision]
    # Of few images one may be a tie that falls the other way, but not in float32.
    slack = 1 / images if precision != "float32" else 0
    least = min(tolerance.agreement, 1 - slack)
    within = compared.relative <= tolerance.relative and compared.moved <= tolerance.moved
    if not within or compared.agreement < least:
        raise ValueError(
            f"The artefact does not answer what the model answers, on {what}: the largest "
            f"difference of a {task.value} is {compared.relative:.2g}{task.unit} (allowed "
            f"{tolerance.relative:g}), in the mean {compared.moved:.2g} {task.movement} (allowed "
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
    """Images a second of each, interleaved, after a warm-up; the median."""
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
    """Seeded pictures of coloured blobs, coarse to fine, where nobody gave any images.

    Returns:
        float32 `(count, height, width, channels)`, 0 to 255.
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
