"""A model over image files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.data import (
    ImageFiles,
    find_classes,
    list_images,
    read_ahead,
    sound_images,
)
from keras_inception_v4.evaluation import evaluate
from keras_inception_v4.explain import class_activation_map, overlay
from keras_inception_v4.export import is_artefact, open_artefact
from keras_inception_v4.files import write_json
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.preprocessing import EVALUATION_CROP, imagenet_classes, load_image
from keras_inception_v4.preprocessing.feeding import (
    ModelSettings,
    check_classifier,
    classifier_of,
    image_size,
    model_input,
    names_of,
    probabilities_of,
    read_settings,
)
from keras_inception_v4.progress import progress
from keras_inception_v4.weights.loading import read_model


class Prediction(NamedTuple):
    """The best classes of one image: `(name, probability)`, best first."""

    path: str
    top: list[tuple[str, float]]


class Classifier(NamedTuple):
    """Anything that names what is in an image file.

    `predict` takes raw pixels `(images, height, width, 3)`, 0 to 255, and answers
    probabilities.
    """

    size: tuple[int, int]
    crop: float
    class_names: list[str]
    predict: Callable[[np.ndarray], np.ndarray]


def open_model(
    model_path: str | os.PathLike | None, weights: str | os.PathLike = "imagenet"
) -> tuple[keras.Model, ModelSettings]:
    """A model and what its run recorded.

    Args:
        model_path: `model.keras` of a run folder, or any `.keras` file of this package;
            `None` for InceptionV4 with `weights`.
        weights: as in `InceptionV4`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if it cannot be read or has no classifier.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
    """
    if model_path is None:
        return InceptionV4(weights=weights), ModelSettings(None, EVALUATION_CROP)
    model = classifier_of(read_model(model_path))
    image_size(model)  # refuses what takes no images
    check_classifier(model)
    return model, read_settings(model_path)


def open_classifier(
    model_path: str | os.PathLike | None, *, precision: str | None = None
) -> Classifier:
    """A model or an artefact, ready for image files.

    Args:
        model_path: as in `open_model`, or an artefact of `export_model`.
        precision: of OpenVINO's arithmetic, as in `open_artefact`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if it cannot be read, or `precision` is for another format.
        ImportError: without the artefact's runtime; the message names the extra.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
    """
    if model_path is not None and (is_artefact(model_path) or precision is not None):
        artefact = open_artefact(model_path, precision=precision)
        about = artefact.description
        names = names_of(about.classes, about.class_names)
        return Classifier(about.size, about.crop, names, artefact.predict)
    if precision is not None:
        raise ValueError(
            f"Received precision={precision!r} without a model. It is for OpenVINO's artefacts."
        )
    model, settings = open_model(model_path)
    names = names_of(model.output_shape[-1], settings.class_names)
    return Classifier(
        image_size(model),
        settings.crop,
        names,
        lambda pixels: probabilities_of(model, model.predict_on_batch(model_input(model, pixels))),
    )


def predict_files(
    model_path: str | os.PathLike | None,
    images: Sequence[str | os.PathLike],
    *,
    top: int = 5,
    batch_size: int = 8,
    skip_corrupt: bool = False,
    precision: str | None = None,
    verbose: bool = True,
) -> list[Prediction]:
    """Classifies image files.

    Args:
        model_path: `model.keras` of a run folder, whose class names and crop are
            used, or any `.keras` file of this package, or an artefact of `export_model`;
            `None` for the ImageNet weights.
        images: paths of image files, and of folders, searched with their subfolders.
        top: how many classes for each image; at most all of the model's.
        batch_size: images a batch.
        skip_corrupt: whether to leave out files that cannot be read.
        precision: `"float32"` or `"bfloat16"`, for OpenVINO's artefacts.
        verbose: whether to show progress bars.

    Returns:
        One prediction an image, in the given order.

    Raises:
        FileNotFoundError: if the model or an image is not there.
        ValueError: if one of them cannot be read; raised before any prediction.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
    """
    for name, value in (("top", top), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"Received {name}={value}. It must be at least 1.")
    paths, _ = sound_images(_expand(images), skip_corrupt=skip_corrupt, verbose=verbose)
    classifier = open_classifier(model_path, precision=precision)
    starts = range(0, len(paths), batch_size)
    batches = read_ahead(
        np.stack([load_image(path, classifier.size, classifier.crop) for path in chosen])
        for chosen in (paths[start : start + batch_size] for start in starts)
    )
    predictions = []
    with progress(len(paths), "predicting", "images", verbose) as advance:
        for start, batch in zip(starts, batches, strict=True):
            probabilities = classifier.predict(batch)
            best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
            for path, row, indices in zip(paths[start:], probabilities, best, strict=False):
                found = [(classifier.class_names[i], float(row[i])) for i in indices]
                predictions.append(Prediction(os.fspath(path), found))
            advance(len(batch))
    return predictions


def _expand(images: Sequence[str | os.PathLike]) -> list[Path]:
    """Files as they are, folders as the files below them."""
    paths = []
    for image in map(Path, images):
        if not image.exists():
            raise FileNotFoundError(f"There is no image file {image}.")
        paths += list_images(image) if image.is_dir() else [image]
    return paths


def evaluate_folder(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    *,
    weights: str | os.PathLike = "imagenet",
    batch_size: int = 32,
    skip_corrupt: bool = False,
    report: str | os.PathLike | None = None,
    picture: str | os.PathLike | None = None,
    verbose: bool = True,
) -> dict:
    """Measures a classifier on a folder with a subfolder a class.

    Args:
        model_path: `model.keras` of a run folder; `None` for InceptionV4 with `weights`.
        folder: its subfolders bear names of the model's classes, WordNet synsets
            (`n01440764`) for ImageNet's 1000; not every class needs one. Of a folder with
            `train` and `validation` the latter is measured.
        weights: as in `InceptionV4`; without a model.
        batch_size: images a batch.
        skip_corrupt: whether to leave out files that cannot be read.
        report: a JSON file to write, or `None`.
        picture: a PNG of the confusion matrix to write, or `None`.
        verbose: whether to show progress bars.

    Returns:
        As `evaluation.classification_report`, and `left_out`, the number of files.

    Raises:
        FileNotFoundError: if the model or the folder is not there.
        ValueError: if one cannot be read, or a subfolder is no class of the model.
        OSError: if the weights cannot be had or a result cannot be written.
    """
    if picture is not None:
        plots.require_matplotlib()
        if Path(picture).suffix != ".png":
            raise ValueError(f"Received picture={str(picture)!r}. It must end in .png.")
    folder = Path(folder)
    if all((folder / part).is_dir() for part in ("train", "validation")):
        folder = folder / "validation"
    found = find_classes(folder)
    model, settings = open_model(model_path, weights)
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
    metrics["left_out"] = len(bad)
    if report is not None:
        write_json(report, metrics)
    if picture is not None:
        plots.plot_confusion_matrix(metrics["confusion_matrix"], names, picture)
    return metrics


class Explanation(NamedTuple):
    """The best classes of an image, and the class whose map was drawn."""

    top: list[tuple[str, float]]
    explained: str


def explain_file(
    model_path: str | os.PathLike,
    image: str | os.PathLike,
    output: str | os.PathLike,
    *,
    class_name: str | None = None,
    top: int = 5,
) -> Explanation:
    """Draws an image, the class activation map over it and the best classes in one picture.

    Args:
        model_path: a `.keras` file with a classifier; its run's class names and crop are used.
        image: path of an image file.
        output: path of a PNG; an old one is replaced.
        class_name: the class to explain; the best one if `None`.
        top: how many classes to show.

    Returns:
        What the picture shows.

    Raises:
        FileNotFoundError: if the model or the image is not there.
        ValueError: if one of them cannot be read, the output is no `.png`, the class is
            unknown, or the model's head has no exact map.
        ImportError: without matplotlib; the message names the extra.
    """
    if not str(output).lower().endswith(".png"):
        raise ValueError(f"Received output={str(output)!r}. It must end in .png.")
    plots.require_matplotlib()
    model, (class_names, crop) = open_model(model_path)
    pixels = load_image(image, image_size(model), crop)
    answers = model.predict_on_batch(model_input(model, pixels[None]))
    probabilities = probabilities_of(model, answers)[0]
    names = names_of(len(probabilities), class_names)
    if class_name is not None and class_name not in names:
        raise ValueError(
            f"Received class {class_name!r}. The model's classes are "
            f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
        )
    best = np.argsort(-probabilities, kind="stable")[:top]
    index = int(best[0]) if class_name is None else names.index(class_name)
    activation_map = class_activation_map(model, pixels[None], index)[0]
    shown = [(names[i], float(probabilities[i])) for i in best]
    plots.plot_explanation(
        pixels, overlay(pixels, activation_map), activation_map, shown, names[index], output
    )
    return Explanation(shown, names[index])
