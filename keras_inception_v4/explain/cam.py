"""Class activation maps: each cell's exact share of a logit, computed without gradients."""

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
    """Return what each cell of the last feature map adds to the logit of a class.

    The head is a global average and one dense layer. The logit is therefore the mean of this map
    plus the bias. The map is not normalized, and exact in float32.

    Source: Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative
    Localization", 2016.

    Args:
        model: Model of this package with its classifier.
        images: Pixels of shape (images, height, width, channels), 0 to 255.
        class_index: Index of a class or quantity for all images, or one for each. `None` takes the
            best class of each image.
        batch_size: Images per batch. Defaults to 8.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.

    Returns:
        float32 array of shape (images, h, w), in logits; 8 x 8 cells for 299 x 299 pixels. Draw
        one with `overlay(..., endpoint="mixed_7d")`.

    Raises:
        ValueError: If the model's head is not an average pool and one dense layer, or an index is
            not a class.

    Examples:
        ```python
        import numpy as np
        from PIL import Image
        from keras_inception_v4 import InceptionV4, class_activation_map, load_image, overlay

        model = InceptionV4(include_preprocessing=True)
        image = load_image("photo.jpg")
        (cells,) = class_activation_map(model, image[np.newaxis])
        Image.fromarray(overlay(image, cells, endpoint="mixed_7d")).save("map.png")
        print(cells.shape)
        ```
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
