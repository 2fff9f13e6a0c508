"""Occlusion: how much an answer loses when a part of the image is covered."""

import itertools

import keras
import numpy as np

from keras_inception_v4.errors import check_at_least
from keras_inception_v4.explain.asked import answers_of, checked_images, checked_indices
from keras_inception_v4.inspection import check_classifier, classifier_of, say_pixels
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
    1) ** 2` patches), and it needs nothing of the model but its answers: a judge of other maps.

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
        ValueError: if an index is not a class, or `cells` is not from 1 to the pixels of a side.
    """
    check_at_least(1, cells=cells, batch_size=batch_size)
    say_pixels(model, pixels)
    model = classifier_of(model)
    check_classifier(model)
    images = checked_images(images).astype("float32")
    if cells > min(images.shape[1:3]):
        raise ValueError(
            f"Received cells={cells} for images of {images.shape[1]} x {images.shape[2]}. A cell "
            "needs a pixel."
        )
    indices = checked_indices(class_index, len(images), model.output_shape[-1])
    warn_of_scaled(images[:1])

    maps = np.empty((len(images), cells, cells), "float32")
    corners = list(itertools.product(range(-1, cells), range(-1, cells)))
    for number, image in enumerate(images):
        before = answers_of(model, image[None], 1)[0]
        index = before.argmax() if indices is None else indices[number]
        found = []
        for start in range(0, len(corners), batch_size):
            covered = [_covered(image, *each, cells) for each in corners[start:][:batch_size]]
            found.append(answers_of(model, np.stack(covered), batch_size)[:, index])
        lost = before[index] - np.concatenate(found).reshape(cells + 1, cells + 1)
        # Each cell is under four patches, those at the border being cut.
        maps[number] = (lost[:-1, :-1] + lost[1:, :-1] + lost[:-1, 1:] + lost[1:, 1:]) / 4
    return maps


def _covered(image: np.ndarray, top: int, left: int, cells: int) -> np.ndarray:
    """The image with two by two cells in its mean colour, cut where they leave it."""
    place = tuple(
        slice(*(round(np.clip(cell, 0, cells) * side / cells) for cell in (first, first + 2)))
        for first, side in zip((top, left), image.shape[:2], strict=True)
    )
    image = image.copy()
    image[place] = image.mean(axis=(0, 1))
    return image
