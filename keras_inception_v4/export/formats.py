"""Export of a model to the format of a runtime, verified before it replaces anything."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.architecture import (
    CLASSIFIER,
    EMBEDDING,
    EVALUATION_CROP,
)
from keras_inception_v4.artefacts import describe, format_of, require_runtime
from keras_inception_v4.data.folders import list_images, sound_images
from keras_inception_v4.errors import check_one_of
from keras_inception_v4.export.inference import inference_model
from keras_inception_v4.export.saved_model import (
    converter_errors,
    require_tensorflow_backend,
)
from keras_inception_v4.export.verification import Verification, synthetic_images, verify
from keras_inception_v4.export.writers import WRITERS
from keras_inception_v4.files import check_name, replacing
from keras_inception_v4.inspection import (
    check_probabilities,
    check_weights,
    classifier_of,
    embedding_model,
    image_size,
    is_channels_first,
    same_pixels,
    say_pixels,
    takes_raw_pixels,
    task_of,
)
from keras_inception_v4.preprocessing import check_finite, load_image
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import Task, task_named

EXPORTS = {
    "saved_model": ("float32",),
    "litert": ("float32", "float16", "int8"),
    "onnx": ("float32", "float16", "int8"),
    "openvino": ("float32", "float16", "int8"),
    "web": ("float32", "float16", "int8"),
}
"""Supported precisions of each format."""

KERAS_NAMES = {"tf_saved_model": "saved_model"}
SUFFIXES = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx", "openvino": "", "web": ""}
LEAST_CALIBRATION = 16
MOST_CALIBRATION = 300
LEAST_VARIETY = 1.0  # grey levels: standard deviation between images, mean over pixels
MOST_BEYOND, ROUNDING = 0.01, 1.0  # share of the samples' pixels; grey levels
SYNTHETIC = 16


def export_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    format: str,
    precision: str = "float32",
    part: str = CLASSIFIER,
    calibration: str | os.PathLike | np.ndarray | None = None,
    samples: str | os.PathLike | np.ndarray | None = None,
    overwrite: bool = False,
    verification: bool = True,
    class_names: list[str] | None = None,
    thresholds: Sequence[float] | float | None = None,
    crop: float = EVALUATION_CROP,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> Verification | None:
    """Write a model for a runtime, and check that it predicts the same there.

    Args:
        model: Classifier of this package, on the TensorFlow backend.
        path: Folder for `"saved_model"`, `"openvino"` and `"web"` (a page that runs the model), a
            `.tflite` file for `"litert"`, an `.onnx` file for `"onnx"`.
        format: Key of `EXPORTS`. `"tf_saved_model"`, Keras's name, is the same as `"saved_model"`.
        precision: Precision that the format offers there: `"float32"`, `"float16"` (weights of
            half the size) or `"int8"` (quantized weights and activations). Defaults to
            `"float32"`.
        part: `"classifier"`, or `"embedding"` for the part before it, which returns 1536 features
            (not as a SavedModel, whose signatures name classes).
        calibration: Images for int8: a folder, or raw pixels of shape (images, height, width,
            channels). At least 16 are needed, and at most 300 are used. The artefact is verified
            on them too.
        samples: More images to verify on: a folder or raw pixels, as in `calibration`.
        overwrite: Whether to replace what is at `path`. Defaults to `False`.
        verification: Whether to load and run the artefact before it gets its name. Defaults to
            `True`.
        class_names: Names of the classes or quantities, in their order, kept inside the artefact.
        thresholds: For several classes an image: probability from which on a class is predicted, 0
            to 1; one number, or one for each class; kept inside the artefact. Defaults to 0.5.
        crop: Share of the covered side to keep of images in folders, as in `load_image`; kept
            inside the artefact.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.
        verbose: As in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The verification, or `None` without one.

    Raises:
        ValueError: If `EXPORTS` has no such format or precision, the backend is not TensorFlow,
            int8 lacks images, the size is unknown and the format needs one, or the artefact
            differs from the model beyond the tolerance.
        FileExistsError: If there is something at `path` and `overwrite` is false.
        ImportError: If the format's runtime is not installed; the message names the extra.
        OSError: If it cannot be written. What was at `path` is left as it was.

    Examples:
        ```python
        import keras
        from keras_inception_v4 import export_model

        model = keras.saving.load_model("runs/digits/model.keras")
        names = [str(digit) for digit in range(10)]
        print(export_model(model, "example.tflite", format="litert", class_names=names))
        ```
    """
    format = KERAS_NAMES.get(format, format)
    check_one_of(EXPORTS, format=format)
    check_one_of((CLASSIFIER, EMBEDDING), part=part)
    say_pixels(model, pixels)
    path, model, task = Path(path), *_part(model, part, format)
    _check(path, format, precision, calibration, overwrite)
    _check_input(model, format)
    calibrating = _pixels(model, calibration, crop, "calibration", verbose)
    sample = _pixels(model, samples, crop, "samples", verbose)
    if precision == "int8":
        _check_calibration(calibrating, sample)
    given = {"calibration": calibrating, "sample": sample}
    sets = {name: images for name, images in given.items() if images is not None}
    if not sets:
        channels = model.input_shape[1 if is_channels_first(model) else 3]
        sets["synthetic"] = synthetic_images(SYNTHETIC, image_size(model), channels)
    limits = task.check_thresholds(thresholds, model.output_shape[-1])
    description = describe(model, format, precision, crop, class_names, limits, task.name)
    with replacing(path) as new, converter_errors(path):
        WRITERS[format](model, new, precision, calibrating, description)
        return verify(model, new, precision, sets, limits, task) if verification else None


def _part(model: keras.Model, part: str, format: str) -> tuple[keras.Model, Task]:
    """Return the model to export and the task that compares its outputs."""
    require_tensorflow_backend()
    if part == EMBEDDING:
        if format == "web":
            raise ValueError("A web page cannot show an embedding. Export it as onnx.")
        if format == "saved_model":
            raise ValueError(
                "The embedding cannot be exported as saved_model. Use litert, onnx or openvino, or "
                "call export on InceptionV4(include_top=False, pooling='avg', ...)."
            )
        takes_raw_pixels(model)  # detected on the whole model, then copied to its part
        return same_pixels(model, inference_model(embedding_model(model))), task_named(EMBEDDING)
    model = inference_model(classifier_of(model))
    check_probabilities(model)
    check_weights(model)
    return model, task_of(model)


def _check(path: Path, format, precision, calibration, overwrite) -> None:
    if precision not in EXPORTS[format]:
        carried = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in EXPORTS.items())
        raise ValueError(
            f"The format {format} does not support precision={precision!r}. Supported are "
            f"{carried}."
        )
    require_runtime(format)
    if not path.name.endswith(SUFFIXES[format]):
        raise ValueError(
            f"Received path={str(path)!r}. For {format} it must end in {SUFFIXES[format]}."
        )
    check_name(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Name another place, or pass overwrite (--overwrite)."
        )
    if path.is_dir() and any(path.iterdir()) and format_of(path) is None:
        raise FileExistsError(f"{path} is a folder that holds no artefact. Name another place.")
    if precision == "int8" and calibration is None:
        raise ValueError(
            "int8 needs calibration: a folder of images (--calibration FOLDER) like those that the "
            "model will see."
        )


def _check_input(model: keras.Model, format: str) -> None:
    if format == "web" and (is_channels_first(model) or model.input_shape[3] != 3):
        raise ValueError(
            f"A web page needs input of shape (height, width, 3), and this model's input is "
            f"{model.input_shape[1:]}."
        )
    if format == "litert" and None in model.input_shape[1:]:
        raise ValueError(
            f"LiteRT needs a fixed size, and this model's input is {model.input_shape[1:]}. Build "
            "it with input_shape=(299, 299, 3) and load the weights."
        )


def _check_calibration(pixels, samples) -> None:
    check_finite(pixels, "calibration pixels")
    if len(pixels) < LEAST_CALIBRATION:
        raise ValueError(
            f"Received {len(pixels)} calibration images. int8 needs at least {LEAST_CALIBRATION}, "
            "preferably 100, like those that the model will see."
        )
    if np.mean(np.std(pixels, axis=0)) < LEAST_VARIETY:
        raise ValueError(
            "The calibration images are all alike, within one grey level. int8 needs images like "
            "those that the model will see."
        )
    if samples is None:
        return
    low, high = pixels.min(), pixels.max()
    beyond = np.mean((samples < low - ROUNDING) | (samples > high + ROUNDING))
    if beyond > MOST_BEYOND:
        raise ValueError(
            f"The calibration images reach from {low:.0f} to {high:.0f}, and {beyond:.0%} of the "
            "samples' pixels lie outside. int8 needs images like those that the model will see."
        )


def _pixels(model, images, crop, what: str, verbose) -> np.ndarray | None:
    """Return raw pixels: at most 300 of an array, or of images spread evenly over a folder."""
    if images is None:
        return None
    if not isinstance(images, (str, os.PathLike)):
        images = np.asarray(images, "float32")
        if images.ndim != 4 or len(images) == 0:
            raise ValueError(
                f"Received {what} of shape {images.shape}. It must be a folder, or raw pixels "
                "(images, height, width, channels)."
            )
        return images[:MOST_CALIBRATION]
    paths = list_images(images)
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), MOST_CALIBRATION)).astype(int)
    paths, _ = sound_images([paths[i] for i in chosen], skip_corrupt=True, verbose=verbose)
    return np.stack([load_image(path, image_size(model), crop) for path in paths])
