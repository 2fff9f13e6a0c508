"""Export of a model file to an artefact."""

import os
from pathlib import Path

from keras_inception_v4.architecture import CLASSIFIER, EMBEDDING
from keras_inception_v4.errors import check_one_of
from keras_inception_v4.export.formats import EXPORTS, KERAS_NAMES, export_model
from keras_inception_v4.export.verification import Verification
from keras_inception_v4.files import model_file
from keras_inception_v4.inspection import classifier_of, names_of, read_settings
from keras_inception_v4.preprocessing import imagenet_classes
from keras_inception_v4.progress import Verbose
from keras_inception_v4.weights.loading import read_model


def next_version(path: str | os.PathLike) -> Path:
    """Return the next version folder in `path`; servers expect `1`, `2` and so on."""
    path = Path(path)
    entries = path.iterdir() if path.is_dir() else ()
    known = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return path / str(max(known, default=0) + 1)


def export_file(
    model_path: str | os.PathLike,
    path: str | os.PathLike,
    *,
    format: str,
    precision: str = "float32",
    part: str = CLASSIFIER,
    calibration: str | os.PathLike | None = None,
    overwrite: bool = False,
    verification: bool = True,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> Verification | None:
    """Export a model file with its run's class names, thresholds, crop and examples.

    Args:
        model_path: Run folder or `.keras` file.
        path: File or folder to write, as in `export_model`.
        format: Format of the artefact, as in `export_model`.
        precision: Precision of the weights, as in `export_model`.
        part: Part of the model to export, as in `export_model`.
        calibration: Folder of calibration images, as in `export_model`.
        overwrite: Whether to replace what is at `path`.
        verification: Whether to run the artefact on the calibration images and the run's
            examples before it is moved to `path`.
        pixels: Pixel range that the model takes, as in `export_model`.
        verbose: Verbosity, as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The verification, or `None` if `verification` is false.

    Raises:
        FileNotFoundError: If the model or the calibration folder does not exist.
        ValueError, ImportError, OSError: As in `export_model`.
    """
    check_one_of(EXPORTS, format=KERAS_NAMES.get(format, format))  # before seconds of reading
    model = read_model(model_path)
    class_names, crop, thresholds = read_settings(model_path)
    if part == EMBEDDING:
        class_names = thresholds = None
    else:
        classes = classifier_of(model).output_shape[-1]
        if class_names is not None or classes == len(imagenet_classes()):
            class_names = names_of(classes, class_names)
    examples = model_file(model_path).parent / "examples"
    return export_model(
        model,
        path,
        format=format,
        precision=precision,
        part=part,
        calibration=calibration,
        samples=examples if examples.is_dir() else None,
        overwrite=overwrite,
        verification=verification,
        class_names=class_names,
        thresholds=thresholds,
        crop=crop,
        pixels=pixels,
        verbose=verbose,
    )
