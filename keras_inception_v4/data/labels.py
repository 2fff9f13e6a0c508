"""Checks of sample weights."""

import numpy as np


def check_sample_weights(weights, count: int) -> np.ndarray:
    """Return sample weights of shape `(images,)` or `(images, 1)` as float32 `(images,)`.

    Raises:
        ValueError: If they are not one finite number of at least 0 for each image.
    """
    weights = np.asarray(weights, "float32")
    if weights.ndim == 2 and weights.shape[1] == 1:
        weights = weights[:, 0]
    if weights.shape != (count,) or not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError(
            f"Received sample weights of shape {weights.shape} for {count} images. They must be "
            "one finite number of at least 0 for each."
        )
    return weights
