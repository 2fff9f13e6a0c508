"""Deletion and insertion: a test of whether a map's best pixels decide the prediction."""

from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.errors import check_at_least
from keras_inception_v4.explain.asked import answers_of, checked_images, checked_indices
from keras_inception_v4.explain.drawing import enlarged
from keras_inception_v4.inspection import check_classifier, classifier_of, say_pixels


class Faithfulness(NamedTuple):
    """Predictions while pixels are removed or inserted, in the order of a map's values.

    Attributes:
        shares: Shares of the pixels, 0 to 1, shape `(steps + 1,)`.
        deletion: Prediction with that share of pixels replaced by the image's mean colour.
        insertion: Prediction with that share of pixels kept and the rest in the mean colour.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Mean of the deletion curve; lower is better."""
        return _area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Mean of the insertion curve; higher is better."""
        return _area(self.insertion)


def _area(curve: np.ndarray) -> float:
    """Return the area under a curve sampled at equal steps from 0 to 1."""
    return float(np.mean((curve[1:] + curve[:-1]) / 2))


def faithfulness(
    model: keras.Model,
    image,
    activation_map: np.ndarray,
    class_index: int | None = None,
    *,
    steps: int = 20,
    batch_size: int = 32,
    pixels: str | None = None,
    endpoint: str | None = None,
) -> Faithfulness:
    """Measure a map by deleting, then inserting, the pixels that it ranks highest.

    Deletion covers the pixels that the map ranks highest first; insertion shows them first. A
    faithful map makes the probability fall quickly in deletion and rise quickly in insertion.

    Source: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", 2018. Here, covered pixels get the mean colour of the image.

    Args:
        model: Any classifier or model of quantities of this package, or one built on it.
        image: Pixels of shape (height, width, channels), 0 to 255.
        activation_map: Array of shape (h, w), any range; enlarged to the image.
        class_index: Index of the class or quantity. `None` takes the best class.
        steps: Number of equal shares of the pixels to cover. Defaults to 20.
        batch_size: Images per batch. Defaults to 32.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.
        endpoint: Endpoint whose grid the map has, as in `overlay`.

    Returns:
        Both curves and the mean height of each: `deletion_area`, the lower the better, and
        `insertion_area`, the higher the better.

    Raises:
        ValueError: If a shape does not match, the index is not a class, or the endpoint has
            another grid.

    Examples:
        ```python
        import numpy as np
        from keras_inception_v4 import InceptionV4, class_activation_map, faithfulness, load_image

        model = InceptionV4(include_preprocessing=True)
        image = load_image("photo.jpg")
        (cells,) = class_activation_map(model, image[np.newaxis])
        measured = faithfulness(model, image, cells, steps=4, endpoint="mixed_7d")
        print(measured.deletion_area, measured.insertion_area)
        ```
    """
    check_at_least(1, steps=steps, batch_size=batch_size)
    say_pixels(model, pixels)
    model = classifier_of(model)
    check_classifier(model)
    (image,) = checked_images(np.asarray(image)[None]).astype("float32")
    indices = checked_indices(class_index, 1, model.output_shape[-1])
    activation_map = np.asarray(activation_map, "float32")
    if activation_map.ndim != 2:
        raise ValueError(f"Received a map of shape {activation_map.shape}. It must be (h, w).")
    height, width = image.shape[:2]
    large = enlarged(activation_map, (height, width), endpoint)
    rank = np.empty(height * width, int)  # 0: the pixel with the highest value in the map
    rank[np.argsort(-large.ravel(), kind="stable")] = np.arange(height * width)
    shares = np.linspace(0, 1, steps + 1)
    counts = np.round(shares * height * width)
    first = (rank.reshape(height, width) < counts[:, None, None])[..., None]
    mean = image.mean(axis=(0, 1))
    batch = np.concatenate([np.where(first, mean, image), np.where(first, image, mean)])
    answers = answers_of(model, batch.astype("float32"), batch_size)
    index = answers[0].argmax() if indices is None else indices[0]
    curves = answers[:, index].reshape(2, -1)
    return Faithfulness(shares, *curves)
