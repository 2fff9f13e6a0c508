"""Draw a map of where in an image a class was seen, by one of three methods, and measure it."""

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
"""The deepest endpoint whose grid is finer than that of the last endpoint."""


class Explanation(NamedTuple):
    """The content of an explanation picture, and how it was made.

    Attributes:
        top: Best classes of the image, or its quantities, with their values.
        explained: Class or quantity that the map explains.
        task: Task of the model.
        method: One of `METHODS`.
        endpoint: Layer whose grid is drawn; `None` for occlusion.
        cells: Height and width of the map, in cells.
        measured: Faithfulness of the map, then of the same values in a random order; `None`
            without `check`.
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
    """Draw an image, a map over it and the best classes in one picture.

    Args:
        model_path: A run folder or a `.keras` file with a classifier. The class names and crop
            recorded by the run are used.
        image: Path of an image file.
        output: Path of a PNG file, replaced if it exists.
        class_name: Class to explain. `None` explains the best one.
        top: Number of classes to show.
        method: `"cam"` (exact, for a head of average pooling and one dense layer), `"gradcam"` (any
            head and endpoint) or `"occlusion"` (slow). `None` uses CAM where the head and the
            endpoint allow it, else Grad-CAM.
        endpoint: Name of the layer whose grid is drawn. `None` is the last one, or none for
            occlusion, which takes no endpoint. Any layer but the last needs Grad-CAM.
        check: Whether to measure the map by deletion and insertion.
        pixels: Pixel range that the model expects, `"raw"` (0 to 255) or `"scaled"` (-1 to 1).
            Needed only where its layers do not show it.

    Returns:
        The content of the picture.

    Raises:
        FileNotFoundError: If the model or the image does not exist.
        ValueError: If the model or the image cannot be read, `output` does not end in `.png`, or
            the class is unknown. Also if the method does not fit the model or the endpoint.
        ImportError: If matplotlib is not installed. The message names the extra.
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
    """Return CAM, which is exact, where the head and the endpoint allow it, else Grad-CAM."""
    if endpoint not in (None, LAST):
        return GRADCAM
    try:
        pool_and_dense(classifier_of(model))
    except ValueError:
        return GRADCAM
    return CAM


def overlays(model, images: np.ndarray, indices) -> list[np.ndarray] | None:
    """Lay a map over each image, from the deepest endpoint whose grid has more than one cell.

    The last endpoint is tried first, then `FINER`.

    Args:
        model: A classifier or a regression model.
        images: Raw pixels of shape `(images, height, width, 3)`.
        indices: Index of one class or quantity per image.

    Returns:
        One uint8 array of shape `(height, width, 3)` per image; `None` for a model without such a
        grid.
    """
    for endpoint in (LAST, FINER):
        try:
            maps = _maps(model, images, indices, _fitting(model, endpoint), endpoint)
        except ValueError:  # a custom model: no layer of that name leads to the output
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
