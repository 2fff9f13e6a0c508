"""Measure a model on a labelled folder."""

import os
import sys
from pathlib import Path

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.data.folders import refuse_problems, sound_images
from keras_inception_v4.data.layout import WHOLE, read_layout
from keras_inception_v4.data.sources import ImageFiles
from keras_inception_v4.evaluation import evaluate
from keras_inception_v4.files import check_name, write_json
from keras_inception_v4.inference.opening import open_model
from keras_inception_v4.inspection import image_size, names_of
from keras_inception_v4.preprocessing import imagenet_classes
from keras_inception_v4.progress import Verbose

MEASURED_PARTS = ("test", "validation", WHOLE, "train")  # the first that a folder has


def evaluate_folder(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    *,
    weights: str | os.PathLike = "imagenet",
    batch_size: int = 32,
    skip_corrupt: bool = False,
    nested: bool = False,
    pixels: str | None = None,
    report: str | os.PathLike | None = None,
    picture: str | os.PathLike | None = None,
    verbose: Verbose = "auto",
) -> dict:
    """Measures a classifier on a folder with a subfolder a class.

    Args:
        model_path: a run folder or its `model.keras`; `None` for InceptionV4 with `weights`.
        folder: its subfolders bear names of the model's classes, WordNet synsets
            (`n01440764`) for ImageNet's 1000; not every class needs one. Of a folder that is
            split (see `data.read_layout`) the test part is measured, else the held-out one.
        weights: as in `InceptionV4`; without a model.
        batch_size: images a batch.
        skip_corrupt: whether to leave out files that cannot be read.
        nested: whether folders that hold only folders are classes all the same.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        report: a JSON file to write, or `None`.
        picture: a PNG of the confusion matrix to write, or `None`.
        verbose: as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        As `evaluation.classification_report`, and `left_out`, the number of files.

    Raises:
        FileNotFoundError: if the model or the folder is not there.
        ValueError: if one cannot be read, or a subfolder is no class of the model.
        OSError: if the weights cannot be had or a result cannot be written.
    """
    for output in (report, picture):
        if output is not None:
            check_name(output)
    if picture is not None:
        plots.require_matplotlib()
        if Path(picture).suffix != ".png":
            raise ValueError(f"Received picture={str(picture)!r}. It must end in .png.")
    layout = read_layout(folder, nested=nested)
    refuse_problems(layout.problems, "links or files", skip_corrupt=skip_corrupt, verbose=verbose)
    part = next(part for part in MEASURED_PARTS if part in layout.parts)
    folder, found = layout.folders[part], layout.parts[part]
    if verbose and part:
        print(f"measured on {folder}", file=sys.stderr)
    model, settings = open_model(model_path, weights, pixels=pixels)
    names = names_of(model.output_shape[-1], settings.class_names)
    known = names
    if settings.class_names is None and len(names) == len(imagenet_classes()):
        known = [synset for synset, _ in imagenet_classes()]
    unknown = [name for name in found if name not in known]
    if unknown:
        raise ValueError(
            f"{len(unknown)} subfolders of {folder} are no classes of the model: "
            f"{', '.join(unknown[:10])}. Its classes are {', '.join(known[:10])}"
            f"{', ...' if len(known) > 10 else ''}."
        )
    labels = {path: known.index(name) for name, paths in found.items() for path in paths}
    if not labels:
        raise ValueError(f"{folder} holds no images.")
    paths, bad = sound_images(list(labels), skip_corrupt=skip_corrupt, verbose=verbose)
    files = ImageFiles(
        paths, np.array([labels[path] for path in paths]), image_size(model), settings.crop
    )
    metrics = evaluate(model, files, class_names=names, batch_size=batch_size, verbose=verbose)
    metrics["left_out"] = len(bad) + len(layout.problems)
    if report is not None:
        write_json(report, metrics)
    if picture is not None:
        plots.plot_confusion_matrix(metrics["confusion_matrix"], names, picture)
    return metrics
