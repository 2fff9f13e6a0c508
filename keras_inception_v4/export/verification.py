"""Whether an artefact answers what the model answers, on images."""

import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.export.runtimes import open_artefact
from keras_inception_v4.inspection import model_input
from keras_inception_v4.preprocessing import resize_image

BATCH = 8
ROUNDS = 3


class Tolerance(NamedTuple):
    """What an artefact may differ in.

    `probability` is the largest difference of one, `agreement` the least share of images of the
    same top class, `moved` the most probability that may go from one class to others, in the mean
    over images.
    """

    probability: float
    agreement: float
    moved: float


TOLERANCES = {
    "float32": Tolerance(1e-4, 0.99, 1e-2),
    "float16": Tolerance(2e-2, 0.99, 5e-2),
    "int8": Tolerance(1.0, 0.98, 0.1),  # ten images may keep their class by chance, but not this
}


class Verification(NamedTuple):
    """How an artefact compares with its model.

    `size` is in bytes, `difference` the largest one of a probability, `agreement` the least
    share of images of the same top class among the sets, `rate` and `keras_rate` images a
    second in batches of 8.
    """

    size: int
    images: int
    difference: float
    agreement: float
    rate: float
    keras_rate: float


def size_of(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def verify(
    model: keras.Model, path: Path, precision: str, image_sets: dict[str, np.ndarray]
) -> Verification:
    """Runs an artefact and its model on the same images.

    Args:
        model: what was exported.
        path: the artefact.
        precision: whose tolerance counts; OpenVINO's float32 is verified in float32.
        image_sets: name to raw pixels `(images, height, width, channels)`. Each set must
            agree, so that a small one of real images is not outvoted.

    Raises:
        ValueError: if they differ beyond the tolerance; the message gives the numbers.
    """
    openvino_float32 = path.is_dir() and (path / "model.xml").exists() and precision == "float32"
    artefact = open_artefact(path, precision="float32" if openvino_float32 else None)
    difference, agreement = 0.0, 1.0
    for name, pixels in image_sets.items():
        expected = np.concatenate([_answer(model, batch) for batch in _batches(pixels)])
        found = np.concatenate([artefact.predict(batch) for batch in _batches(pixels)])
        same = np.mean(expected.argmax(axis=1) == found.argmax(axis=1))
        largest = float(np.max(np.abs(expected - found)))
        moved = float(np.abs(expected - found).sum(axis=1).mean() / 2)
        _check(name, precision, len(pixels), largest, same, moved)
        difference, agreement = max(difference, largest), min(agreement, float(same))
    batch = np.resize(pixels, (BATCH, *pixels.shape[1:]))
    return Verification(
        size_of(path),
        sum(map(len, image_sets.values())),
        difference,
        agreement,
        *_rates(lambda: artefact.predict(batch), lambda: _answer(model, batch)),
    )


def _check(
    name: str, precision: str, images: int, difference: float, same: float, moved: float
) -> None:
    tolerance = TOLERANCES[precision]
    # Of few images one may be a tie that falls the other way, but not in float32.
    slack = 1 / images if precision != "float32" else 0
    least = min(tolerance.agreement, 1 - slack)
    within = difference <= tolerance.probability and moved <= tolerance.moved
    if not within or same < least:
        raise ValueError(
            f"The artefact does not answer what the model answers, on {images} {name} images: the "
            f"largest difference of a probability is {difference:.2g} (allowed "
            f"{tolerance.probability:g}), in the mean {moved:.2g} of it moved to other classes "
            f"(allowed {tolerance.moved:g}), the top class is the same for {same:.1%} (at least "
            f"{least:.1%}). Nothing was written. For int8, calibrate on images like those that "
            "the model will see."
        )


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
