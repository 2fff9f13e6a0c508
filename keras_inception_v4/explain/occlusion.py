"""Occlusion maps: how much a prediction falls when a part of the image is covered."""

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
    """Return how much the prediction falls when a patch covers part of the image.

    A patch of two by two cells in the image's mean colour moves over the image cell by cell. A
    cell's value is the mean over the patches that cover it. The map uses nothing but predictions,
    so it can judge other maps. It is slow: it takes `(cells + 1) ** 2` predictions an image.

    Source: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2014.

    Args:
        model: Any classifier or model of quantities of this package, or one built on it.
        images: Pixels of shape (images, height, width, channels), 0 to 255.
        class_index: Index of a class or quantity for all images, or one for each. `None` takes the
            best class of each image.
        cells: Cells per side of the map. Defaults to 8.
        batch_size: Covered images per batch. Defaults to 32.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.

    Returns:
        float32 array of shape (images, cells, cells): the probability, or units of the quantity,
        that is lost. Negative where covering raises the prediction.

    Raises:
        ValueError: If an index is not a class, or `cells` is not between 1 and the pixels per
        side.

    Examples:
        ```python
        import numpy as np
        from keras_inception_v4 import InceptionV4, load_image, occlusion_map

        model = InceptionV4(include_preprocessing=True)
        image = load_image("photo.jpg")
        (cells,) = occlusion_map(model, image[np.newaxis], cells=2)
        print(cells.round(3))
        ```
    """
    check_at_least(1, cells=cells, batch_size=batch_size)
    say_pixels(model, pixels)
    model = classifier_of(model)
    check_classifier(model)
    images = checked_images(images).astype("float32")
    if cells > min(images.shape[1:3]):
        raise ValueError(
            f"Received cells={cells} for images of {images.shape[1]} x {images.shape[2]}. "
            "A cell needs at least one pixel: use fewer cells."
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
        # Four patches cover each cell; those at the border are cropped.
        maps[number] = (lost[:-1, :-1] + lost[1:, :-1] + lost[:-1, 1:] + lost[1:, 1:]) / 4
    return maps


def _covered(image: np.ndarray, top: int, left: int, cells: int) -> np.ndarray:
    """Return the image with two by two cells in its mean colour, cropped at the border."""
    place = tuple(
        slice(*(round(np.clip(cell, 0, cells) * side / cells) for cell in (first, first + 2)))
        for first, side in zip((top, left), image.shape[:2], strict=True)
    )
    image = image.copy()
    image[place] = image.mean(axis=(0, 1))
    return image
