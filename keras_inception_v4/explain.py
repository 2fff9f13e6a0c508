"""Where in an image a class was seen: class activation maps, exact and without gradients."""

import keras
import numpy as np
from PIL import Image, ImageOps

from keras_inception_v4.inspection import (
    classifier_of,
    is_channels_first,
    made_once,
    model_input,
    pool_and_dense,
    say_pixels,
)
from keras_inception_v4.preprocessing import warn_of_scaled


def class_activation_map(
    model: keras.Model,
    images,
    class_index=None,
    *,
    batch_size: int = 8,
    pixels: str | None = None,
) -> np.ndarray:
    """What each cell of the last grid adds to the logit of a class.

    The head is an average over the grid and one dense layer, so the logit is the
    mean of a map plus the bias: this map, unnormalised. Exact in float32.

    Source: Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for
    Discriminative Localization", 2016.

    Args:
        model: a model of this package with its classifier.
        images: pixels `(images, height, width, channels)`, 0 to 255.
        class_index: one index of a class or quantity for all images, one for each, or `None`
            for the best class of each image.
        batch_size: images a batch.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.

    Returns:
        float32 `(images, h, w)`, logits per cell; 8 x 8 cells for 299 x 299.

    Raises:
        ValueError: if the model's head is not an average pool and one dense layer, or
            an index is not a class.
    """
    say_pixels(model, pixels)
    model = classifier_of(model)
    pool, dense = pool_and_dense(model)
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"Received images of shape {images.shape}. They must be (images, height, width, "
            "channels); for one image pass image[None]."
        )
    probe = made_once(model, "map", lambda: keras.Model(model.inputs, [pool.input, model.output]))
    warn_of_scaled(images[:1])
    kernel = keras.ops.convert_to_numpy(dense.kernel).astype("float32")
    indices = _indices(class_index, len(images), kernel.shape[1])
    maps = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        grid, predictions = probe.predict_on_batch(model_input(model, batch))
        if is_channels_first(model):
            grid = np.moveaxis(grid, 1, 3)
        if indices is None:
            chosen = np.argmax(predictions, axis=1)
        else:
            chosen = indices[start : start + batch_size]
        maps.append(np.einsum("nhwc,cn->nhw", grid.astype("float32"), kernel[:, chosen]))
    return np.concatenate(maps) if maps else np.empty((0, 0, 0), "float32")


def _indices(class_index, count: int, classes: int):
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


def overlay(image: np.ndarray, activation_map: np.ndarray, *, opacity: float = 0.5) -> np.ndarray:
    """Lays a map over its image in colour, from dark blue (least) over red to yellow (most).

    Args:
        image: `(height, width, 3)`, RGB, 0 to 255.
        activation_map: `(h, w)`, any range; its least and greatest values span the
            colours.
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 `(height, width, 3)`, RGB.

    Raises:
        ValueError: if a shape is another.
    """
    image, activation_map = np.asarray(image), np.asarray(activation_map, "float32")
    if image.ndim != 3 or image.shape[2] != 3 or activation_map.ndim != 2:
        raise ValueError(
            f"Received an image of shape {image.shape} and a map of shape "
            f"{activation_map.shape}. They must be (height, width, 3) and (h, w)."
        )
    span = np.ptp(activation_map)
    share = (activation_map - activation_map.min()) / (span or 1)
    height, width = image.shape[:2]
    resized = Image.fromarray(share).resize((width, height), Image.Resampling.BILINEAR)
    grey = Image.fromarray(np.round(np.asarray(resized) * 255).astype("uint8"))
    colours = np.asarray(ImageOps.colorize(grey, "#0b1e5b", "#ffe94a", mid="#d7263d"))
    mixed = (1 - opacity) * np.clip(image, 0, 255) + opacity * colours
    return np.round(mixed).astype("uint8")
