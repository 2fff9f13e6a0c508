"""Evaluate a model on a labelled folder or on a table of files and targets."""

import os
import sys
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.data.folders import refuse_problems, sound_images
from keras_inception_v4.data.layout import WHOLE, read_layout
from keras_inception_v4.data.sources import ImageFiles
from keras_inception_v4.data.tables import Columns, read_rows
from keras_inception_v4.evaluation import answers_and_targets, columns_of
from keras_inception_v4.files import check_name, has_columns, write_json
from keras_inception_v4.inference.answer_table import check_answers_file, write_answers
from keras_inception_v4.inference.gallery import draw_sections, worst_and_uncertain
from keras_inception_v4.inference.opening import chosen_thresholds, open_model
from keras_inception_v4.inference.report import Evaluated, write_report
from keras_inception_v4.inspection import ModelSettings, image_size, names_of, task_of
from keras_inception_v4.preprocessing import imagenet_classes
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import require_scikit_learn

MEASURED_PARTS = ("test", "validation", WHOLE, "train")  # the first one in the data is used


def evaluate_files(
    model_path: str | os.PathLike | None,
    data: str | os.PathLike,
    *,
    weights: str | os.PathLike = "imagenet",
    batch_size: int = 32,
    skip_corrupt: bool = False,
    nested: bool = False,
    images: str | os.PathLike | None = None,
    columns: Columns | None = None,
    threshold: float | str | None = None,
    pixels: str | None = None,
    report: str | os.PathLike | None = None,
    picture: str | os.PathLike | None = None,
    answers: str | os.PathLike | None = None,
    gallery: str | os.PathLike | None = None,
    html: str | os.PathLike | None = None,
    verbose: Verbose = "auto",
) -> dict:
    """Evaluate a model on a folder with one subfolder per class, or on a table.

    Args:
        model_path: A run folder or its `model.keras`. `None` uses InceptionV4 with `weights`.
        data: A folder or a table as in `read_labelled_table`. A folder's subfolders have the names
            of the model's classes, or WordNet synsets (`n01440764`) for ImageNet's 1000 classes.
            Classes without a subfolder are allowed. If the data are split, the test part is used,
            or else the validation part, or else the training part.
        weights: Weights as in `InceptionV4`, used only without a model.
        batch_size: Images per batch.
        skip_corrupt: Whether to leave out files or rows that cannot be used.
        nested: Whether to accept class folders that hold only folders.
        images: Folder of the images, as in `read_labelled_table`.
        columns: Columns of the table, as in `read_labelled_table`. For quantities they default to
            the model's names.
        threshold: Threshold as in `predict_files`.
        pixels: Pixel range that the model expects, `"raw"` (0 to 255) or `"scaled"` (-1 to 1).
            Needed only where its layers do not show it.
        report: Path of a JSON file for the metrics, or `None`.
        picture: Path of a PNG, or `None`. It shows the confusion matrix, the measures of each
            class, or predictions over targets.
        answers: Path of a `.parquet` or `.csv` file, or `None`. It has one row per image, with its
            path and the columns that `evaluation.evaluate` returns as `answers`.
        gallery: Path of a PNG, or `None`. It shows the worst errors and the least certain
            predictions, with maps of where the model looked.
        html: Path of an `.html` file, or `None`. It is one page with all results, as in
            `report.write_report`.
        verbose: Verbosity as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The metrics of `evaluation.evaluate`, and `left_out`, the number of files left out.

    Raises:
        FileNotFoundError: If the model or the data do not exist.
        ValueError: If the model or the data cannot be read, or a label in the data is not a class
            of the model.
        OSError: If the weights cannot be downloaded or a result cannot be written.
    """
    for output in (report, picture, answers, gallery, html):
        if output is not None:
            check_name(output)
    require_scikit_learn()
    if answers is not None:
        check_answers_file(answers)
    for name, output, suffix in (
        ("picture", picture, ".png"),
        ("gallery", gallery, ".png"),
        ("html", html, ".html"),
    ):
        if output is not None:
            plots.require_matplotlib()
            if Path(output).suffix != suffix:
                raise ValueError(f"Received {name}={str(output)!r}. It must end in {suffix}.")
    layout = None if has_columns(data) else read_layout(data, nested=nested)
    if layout is not None:
        if images is not None or columns not in (None, Columns()):
            raise ValueError(f"Received images or columns for {data}, which is not a table.")
        refuse_problems(
            layout.problems, "links or files", skip_corrupt=skip_corrupt, verbose=verbose
        )
    model, settings = open_model(model_path, weights, pixels=pixels)
    task = task_of(model)
    names = names_of(model.output_shape[-1], settings.class_names)
    thresholds = chosen_thresholds(task, threshold, settings.thresholds)
    if layout is None:
        files, left_out = _of_table(
            model, settings, data, names, skip_corrupt, verbose, images=images, columns=columns
        )
    else:
        if task.name != SINGLE_LABEL:
            raise ValueError(
                f"{data} is a folder of classes, but the model's task is {task.name}. Give a table "
                "of files and targets (.csv, .tsv, .parquet)."
            )
        files, left_out = _of_folder(model, settings, layout, names, skip_corrupt, verbose)
    given = answers_and_targets(model, files, batch_size=batch_size, verbose=verbose)
    metrics = task.measure(given, names, thresholds)
    metrics["left_out"] = left_out
    if task.name != SINGLE_LABEL:
        metrics["task"] = task.name
    if report is not None:
        write_json(report, metrics)
    if picture is not None:
        task.draw(given, metrics, names, Path(picture))
    if answers is None and gallery is None and html is None:
        return metrics
    each = columns_of(task, given, names, thresholds)
    if answers is not None:
        write_answers(answers, [str(place) for place in files.paths], each)
    if gallery is not None or html is not None:
        sections = worst_and_uncertain(model, files, task, given, each)
        if gallery is not None:
            draw_sections(sections, gallery)
        if html is not None:
            about = Evaluated(task, names, files, given, each, metrics)
            write_report(html, about, sections, model=model_path, data=data)
    return metrics


def _of_table(
    model: keras.Model, settings: ModelSettings, table, names, skip_corrupt, verbose, **where
) -> tuple[ImageFiles, int]:
    """Return the images to evaluate and the number of rows left out."""
    rows = read_rows(
        table,
        task=task_of(model).name,
        names=_names_in_data(settings, names),
        skip_corrupt=skip_corrupt,
        verbose=verbose,
        **where,
    )
    found = [part or WHOLE for part in rows.parts]
    part = next(part for part in MEASURED_PARTS if part in found)
    if verbose and part:
        print(f"measured on the rows of {part}", file=sys.stderr)
    chosen = [i for i, own in enumerate(found) if own == part]
    return rows.files(chosen, image_size(model), settings.crop), len(rows.problems)


def _names_in_data(settings: ModelSettings, names: list[str]) -> list[str]:
    """Return the class names expected in the data: synsets for ImageNet's classes."""
    if settings.class_names is None and len(names) == len(imagenet_classes()):
        return [synset for synset, _ in imagenet_classes()]
    return names


def _of_folder(
    model: keras.Model, settings: ModelSettings, layout, names, skip_corrupt, verbose
) -> tuple[ImageFiles, int]:
    """Return the images to evaluate and the number of files left out."""
    part = next(part for part in MEASURED_PARTS if part in layout.parts)
    folder, found = layout.folders[part], layout.parts[part]
    if verbose and part:
        print(f"measured on {folder}", file=sys.stderr)
    known = _names_in_data(settings, names)
    unknown = [name for name in found if name not in known]
    if unknown:
        raise ValueError(
            f"{len(unknown)} subfolders of {folder} are not classes of the model: "
            f"{', '.join(unknown[:10])}. Its classes are {', '.join(known[:10])}"
            f"{', ...' if len(known) > 10 else ''}."
        )
    labels = {path: known.index(name) for name, paths in found.items() for path in paths}
    if not labels:
        raise ValueError(f"{folder} holds no images.")
    paths, bad = sound_images(list(labels), skip_corrupt=skip_corrupt, verbose=verbose)
    numbers = np.array([labels[path] for path in paths])
    files = ImageFiles(paths, numbers, image_size(model), settings.crop)
    return files, len(bad) + len(layout.problems)
