"""Occlusion: how much an answer loses when a part of the image is covered."""

import keras
import numpy as np

from keras_inception_v4.errors import check_at_least
from keras_inception_v4.explain.asked import checked_images, checked_indices
from keras_inception_v4.inspection import (
    check_classifier,
    classifier_of,
    model_input,
    probabilities_of,
    say_pixels,
)
from keras_inception_v4.preprocessing import warn_of_scaled


def occlusion_map(
    model: keras.Model,
    images,
    class_index=None,
    *,
    cells: int = 8,
    batch_size: int = 32,
    pixels: str | None = None,
) -> np.ndarray:
    """Return how much the answer falls where a patch covers the image.

    A patch of two by two cells, in the image's mean colour, goes over the image cell by cell; a
    cell's value is the mean over the patches that cover it. Slow (an answer for each of `(cells +
    1) ** 2` patches), and it looks into no model: a judge of other maps.

    Source: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2014.

    Args:
        model: Any classifier or model of quantities of this package, or one built on it.
        images: Pixels `(images, height, width, channels)`, 0 to 255.
        class_index: As in `grad_cam`.
        cells: Cells a side of the map.
        batch_size: Covered images a batch.
        pixels: As in `grad_cam`.

    Returns:
        float32 `(images, cells, cells)`: probability, or units of a quantity, that is lost; below 0
        where covering raises the answer.

    Raises:
        ValueError: if an index is not a class, or `cells` is below 1.
    """
    check_at_least(1, cells=cells, batch_size=batch_size)
    say_pixels(model, pixels)
    model = classifier_of(model)
    check_classifier(model)
    images = checked_images(images).astype("float32")
    indices = checked_indices(class_index, len(images), model.output_shape[-1])
    warn_of_scaled(images[:1])

    def answers(batch):
        found = model.predict_on_batch(model_input(model, batch))
        return probabilities_of(model, np.asarray(found, "float32"))

    maps = np.zeros((len(images), cells, cells), "float32")
    for number, image in enumerate(images):
        before = answers(image[None])[0]
        index = before.argmax() if indices is None else indices[number]
        windows = list(_windows(cells))
        lost = np.empty(len(windows), "float32")
        for start in range(0, len(windows), batch_size):
            batch = np.stack([_covered(image, w, cells) for w in windows[start:][:batch_size]])
            lost[start : start + len(batch)] = before[index] - answers(batch)[:, index]
        counts = np.zeros((cells, cells), "float32")
        for (rows, columns), value in zip(windows, lost, strict=True):
            maps[number, rows, columns] += value
            counts[rows, columns] += 1
        maps[number] /= counts
    return maps


def _windows(cells: int):
    """Patches of two by two cells, those at the border cut: each cell is under four of them."""
    for top in range(-1, cells):
        for left in range(-1, cells):
            yield slice(max(top, 0), top + 2), slice(max(left, 0), left + 2)


def _covered(image: np.ndarray, window, cells: int) -> np.ndarray:
    """The image with a window of cells in its mean colour."""
    place = tuple(
        slice(*(round(edge * side / cells) for edge in (part.start, min(part.stop, cells))))
        for part, side in zip(window, image.shape[:2], strict=True)
    )
    image = image.copy()
    image[place] = image.mean(axis=(0, 1))
    return image
