"""Draw where in an image a class was seen, by one of three methods, and measure the map."""

import os
from typing import NamedTuple

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.architecture import ENDPOINTS
from keras_inception_v4.errors import check_one_of
from keras_inception_v4.explain import (
    LAST,
    Faithfulness,
    class_activation_map,
    endpoint_as_drawn,
    faithfulness,
    grad_cam,
    occlusion_map,
    overlay,
)
from keras_inception_v4.files import check_name
from keras_inception_v4.inference.opening import open_model
from keras_inception_v4.inspection import (
    classifier_of,
    image_size,
    model_input,
    names_of,
    pool_and_dense,
    probabilities_of,
    task_of,
)
from keras_inception_v4.preprocessing import load_image
from keras_inception_v4.tasks import Task

CAM, GRADCAM, OCCLUSION = METHODS = ("cam", "gradcam", "occlusion")
UNITS = {CAM: "logits", GRADCAM: "", OCCLUSION: "of probability lost"}
FINER = next(
    name for name in reversed(ENDPOINTS) if ENDPOINTS[name].stride < ENDPOINTS[LAST].stride
)
"""The last endpoint whose grid is finer than the last one's."""


class Explanation(NamedTuple):
    """What a picture shows, and how it was made.

    Attributes:
        top: the best classes of the image, or its quantities.
        explained: the one that the map is of.
        task: that of the model.
        method: one of `METHODS`.
        endpoint: the layer whose grid is drawn; `None` for occlusion.
        cells: height and width of the map.
        measured: of the map, and of the same values in a random order; `None` if not asked for.
    """

    top: list[tuple[str, float]]
    explained: str
    task: Task
    method: str
    endpoint: str | None
    cells: tuple[int, ...]
    measured: list[Faithfulness] | None


def explain_file(
    model_path: str | os.PathLike,
    image: str | os.PathLike,
    output: str | os.PathLike,
    *,
    class_name: str | None = None,
    top: int = 5,
    method: str | None = None,
    endpoint: str | None = None,
    check: bool = False,
    pixels: str | None = None,
) -> Explanation:
    """Draws an image, a map over it and the best classes in one picture.

    Args:
        model_path: a run folder or a `.keras` file with a classifier; its run's class names and
            crop are used.
        image: path of an image file.
        output: path of a PNG; an old one is replaced.
        class_name: the class to explain; the best one if `None`.
        top: how many classes to show.
        method: `"cam"` (exact, for a head of average pool and one dense layer), `"gradcam"` (any
            head and endpoint) or `"occlusion"` (slow). By default the first that fits the head.
        endpoint: name of the layer whose grid is drawn; another than the last takes Grad-CAM.
        check: whether to measure the map by deletion and insertion.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.

    Returns:
        What the picture shows.

    Raises:
        FileNotFoundError: if the model or the image is not there.
        ValueError: if one of them cannot be read, the output is no `.png`, the class is
            unknown, or the method does not fit the model or the endpoint.
        ImportError: without matplotlib; the message names the extra.
    """
    if not str(output).lower().endswith(".png"):
        raise ValueError(f"Received output={str(output)!r}. It must end in .png.")
    if method is not None:
        check_one_of(METHODS, method=method)
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
    method = method or _fitting(model, endpoint)
    activation_map = _maps(model, seen[None], [index], method, endpoint)[0]
    looked_at = None if method == OCCLUSION else endpoint or LAST
    drawn = endpoint_as_drawn(model, looked_at, activation_map.shape, seen.shape[:2])
    shown = [(names[i], float(probabilities[i])) for i in best]
    plots.plot_explanation(
        seen,
        overlay(seen, activation_map, endpoint=drawn),
        activation_map,
        shown,
        names[index],
        output,
        quantity=task.standardized,
        unit="" if task.standardized else UNITS[method],
    )
    measured = None
    if check:
        shuffled = np.random.default_rng(0).permutation(activation_map.ravel())
        both = (activation_map, shuffled.reshape(activation_map.shape))
        measured = [faithfulness(model, seen, each, index, endpoint=drawn) for each in both]
    return Explanation(
        shown,
        names[index],
        task,
        method,
        looked_at,
        activation_map.shape,
        measured,
    )


def _fitting(model, endpoint: str | None) -> str:
    """The exact map where it holds."""
    if endpoint not in (None, LAST):
        return GRADCAM
    try:
        pool_and_dense(classifier_of(model))
    except ValueError:
        return GRADCAM
    return CAM


def overlays(model, images: np.ndarray, indices) -> list[np.ndarray] | None:
    """Lay a map over each image, by the first method whose grid has more than one cell.

    Args:
        model: A classifier, or one of quantities.
        images: Raw pixels `(images, height, width, 3)`.
        indices: One class an image.

    Returns:
        uint8 `(height, width, 3)` each; `None` for a model that has no such grid.
    """
    for endpoint in (LAST, FINER):
        try:
            maps = _maps(model, images, indices, _fitting(model, endpoint), endpoint)
        except ValueError:  # built by other hands: no layer of that name leads to the answer
            return None
        if maps[0].size > 1:
            drawn = endpoint_as_drawn(model, endpoint, maps.shape[1:], images.shape[1:3])
            return [overlay(*each, endpoint=drawn) for each in zip(images, maps, strict=True)]
    return None


def _maps(model, images, indices, method: str, endpoint: str | None) -> np.ndarray:
    if method != GRADCAM and endpoint not in (None, LAST):
        raise ValueError(
            f"Received endpoint={endpoint!r} with method={method!r}. Only 'gradcam' takes another "
            f"endpoint than {LAST}."
        )
    if method == CAM:
        return class_activation_map(model, images, indices)
    if method == OCCLUSION:
        if endpoint is not None:
            raise ValueError(
                f"Received endpoint={endpoint!r} with method={method!r}, which looks at no layer."
            )
        return occlusion_map(model, images, indices)
    return grad_cam(model, images, indices, endpoint=endpoint or LAST)
