"""Labels and sample weights as people give them."""

import numpy as np


def check_labels(labels, classes: int) -> np.ndarray:
    """Labels as integers `(images,)`, from integers or one-hot.

    Raises:
        ValueError: if they are neither, or not classes of the model.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape[1] == classes:
        if not np.all((labels == 0) | (labels == 1)) or not np.all(labels.sum(axis=1) == 1):
            raise ValueError(
                f"Received labels of shape {labels.shape} that are not one-hot. Each row must have "
                "a single 1 and otherwise 0; mixed or several classes an image are not supported."
            )
        labels = labels.argmax(axis=1)
    if labels.dtype.kind == "b" or (labels.dtype.kind == "f" and np.all(np.mod(labels, 1) == 0)):
        labels = labels.astype("int64")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Received labels of shape {labels.shape} and dtype {labels.dtype}. They must be one "
            f"integer an image, or one-hot (images, {classes})."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"Received labels from {labels.min()} to {labels.max()}. The model's classes are 0 to "
            f"{classes - 1}."
        )
    return labels.astype("int64")


def check_sample_weights(weights, count: int) -> np.ndarray:
    """Sample weights as float32 `(images,)`.

    Raises:
        ValueError: if they are not one finite number of at least 0 for each image.
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
