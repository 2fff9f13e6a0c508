"""The exact map: what each cell of the last grid adds to a logit, without gradients."""

import keras
import numpy as np

from keras_inception_v4.explain.asked import checked_images, checked_indices
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
        float32 `(images, h, w)`, logits per cell; 8 x 8 cells for 299 x 299. `overlay` draws one
        with `endpoint="mixed_7d"`.

    Raises:
        ValueError: if the model's head is not an average pool and one dense layer, or
            an index is not a class.
    """
    say_pixels(model, pixels)
    model = classifier_of(model)
    pool, dense = pool_and_dense(model)
    images = checked_images(images)
    probe = made_once(model, "map", lambda: keras.Model(model.inputs, [pool.input, model.output]))
    warn_of_scaled(images[:1])
    kernel = keras.ops.convert_to_numpy(dense.kernel).astype("float32")
    indices = checked_indices(class_index, len(images), kernel.shape[1])
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
