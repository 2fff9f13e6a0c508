"""Draw where in an image a class was seen."""

import os
from typing import NamedTuple

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.explain import class_activation_map, overlay
from keras_inception_v4.files import check_name
from keras_inception_v4.inference.opening import open_model
from keras_inception_v4.inspection import (
    image_size,
    model_input,
    names_of,
    probabilities_of,
    task_of,
)
from keras_inception_v4.preprocessing import load_image
from keras_inception_v4.tasks import Task


class _Explanation(NamedTuple):
    top: list[tuple[str, float]]
    explained: str


class Explanation(_Explanation):
    """The best classes of an image, or its quantities, and which of them the map is of.

    Besides, `task` is that of the model.
    """

    task: Task


def explain_file(
    model_path: str | os.PathLike,
    image: str | os.PathLike,
    output: str | os.PathLike,
    *,
    class_name: str | None = None,
    top: int = 5,
    pixels: str | None = None,
) -> Explanation:
    """Draws an image, the class activation map over it and the best classes in one picture.

    Args:
        model_path: a run folder or a `.keras` file with a classifier; its run's class names and
            crop are used.
        image: path of an image file.
        output: path of a PNG; an old one is replaced.
        class_name: the class to explain; the best one if `None`.
        top: how many classes to show.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.

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
    check_name(output)
    model, settings = open_model(model_path, pixels=pixels)
    task = task_of(model)
    seen = load_image(image, image_size(model), settings.crop)
    answers = model.predict_on_batch(model_input(model, seen[None]))
    probabilities = probabilities_of(model, answers)[0]
    names = names_of(len(probabilities), settings.class_names)
    if class_name is not None and class_name not in names:
        raise ValueError(
            f"Received class {class_name!r}. The model's {task.outputs} are "
            f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
        )
    best = np.argsort(-probabilities, kind="stable")[:top]
    index = int(best[0]) if class_name is None else names.index(class_name)
    activation_map = class_activation_map(model, seen[None], index)[0]
    shown = [(names[i], float(probabilities[i])) for i in best]
    plots.plot_explanation(
        seen,
        overlay(seen, activation_map),
        activation_map,
        shown,
        names[index],
        output,
        quantity=task.standardized,
    )
    explanation = Explanation(shown, names[index])
    explanation.task = task
    return explanation
