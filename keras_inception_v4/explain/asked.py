"""Checks of the images and class indices given to the maps, and the model's predictions."""

import keras
import numpy as np

from keras_inception_v4.inspection import model_input, probabilities_of


def checked_images(images) -> np.ndarray:
    """Return the images as an array.

    Raises:
        ValueError: If its shape is not `(images, height, width, channels)`.
    """
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"Received images of shape {images.shape}. They must be (images, height, width, "
            "channels); for one image pass image[None]."
        )
    return images


def checked_indices(class_index, count: int, classes: int) -> np.ndarray | None:
    """Return one class index per image, or `None` for the best class of each.

    Raises:
        ValueError: If an index is not a class, or there is not one index per image.
    """
    if class_index is None:
        return None
    indices = (
        np.broadcast_to(np.asarray(class_index), (count,))
        if (np.ndim(class_index) == 0 or len(class_index) == count)
        else None
    )
    if (
        indices is None
        or indices.dtype.kind not in "iu"
        or not np.all((indices >= 0) & (indices < classes))
    ):
        raise ValueError(
            f"Received class_index={class_index!r}. It must be None, an index from 0 to "
            f"{classes - 1}, or one for each of the {count} images."
        )
    return indices


def answers_of(model: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the probabilities or quantities for raw pixels, shape `(images, outputs)`."""
    found = [
        model.predict_on_batch(model_input(model, images[start : start + batch_size]))
        for start in range(0, len(images), batch_size)
    ]
    return probabilities_of(model, np.concatenate(found).astype("float32"))
