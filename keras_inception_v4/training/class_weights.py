"""Class weights, from the forms in which users pass them."""

import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from keras_inception_v4.data.inputs import all_labels
from keras_inception_v4.data.layout import few
from keras_inception_v4.data.pipeline import Batches
from keras_inception_v4.tasks import Task


def weighted(
    task: Task,
    batches: Batches,
    class_weight,
    classes: int,
    data,
) -> tuple[Batches, np.ndarray | None]:
    """Multiply the sample weights of batches by the weights of the classes.

    Where an image may have several classes, the batches stay as they are. The weights then apply
    to the positive labels in the loss.

    Args:
        task: Task of the model.
        batches: Batches of images and labels, with or without weights.
        class_weight: `None` for no class weights, or as in `class_weights`.
        classes: Number of classes.
        data: The user's data. If it has `class_names`, `class_weight` may use them.

    Returns:
        The batches, and the weights of positive labels, one per class, or `None`.

    Raises:
        ValueError: As in `class_weights`, and for quantities, which have no classes.
    """
    if class_weight is None:
        return batches, None
    if task.standardized:
        raise ValueError(
            f"Received class_weight={class_weight!r} for {task.name}, which has no classes. Pass "
            "sample weights instead."
        )
    class_names = getattr(data, "class_names", None)
    table = np.zeros(classes, "float32")
    for label, weight in class_weights(class_weight, batches, classes, class_names).items():
        table[label] = weight
    if task.thresholded:
        return batches, table

    def weigh(batch, index):
        pixels, labels, *weights = batch
        return pixels, labels, np.prod([table[labels], *weights], axis=0)

    return batches.map(weigh, weighted=True), None


def class_weights(
    class_weight, batches: Batches, classes: int, class_names: Sequence[str] | None = None
) -> dict[int, float]:
    """Return the weight of each class, by index.

    Args:
        class_weight: `"balanced"`, a dict from class to weight, or one weight per class in order.
            A class in the dict is an index or, if the data has names, a name. Classes missing
            from the dict weigh 1.
        batches: Batches whose labels are counted for `"balanced"`.
        classes: Number of classes.
        class_names: One name per class, if the data has names.

    Raises:
        ValueError: If `class_weight` is anything else. The message says what was expected.
    """
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f"Received class_weight={class_weight!r}. Allowed are None, 'balanced', a dict "
                "from class to weight, and one weight a class."
            )
        labels = all_labels(batches)
        if labels.ndim == 2:  # positive labels of a class weigh as much as negative ones
            positive = labels.sum(axis=0)
            balance = (len(labels) - positive) / np.maximum(positive, 1)
            balance = np.where(balance > 0, balance, 1)  # 1 for a class that every image has
            return dict(enumerate(balance.tolist()))
        counts = np.bincount(labels, minlength=classes)
        return {label: np.sum(counts) / (classes * max(n, 1)) for label, n in enumerate(counts)}
    names = list(class_names or ())
    expected = f"the classes 0 to {classes - 1}" + (f", or {few(names)}" if names else "")
    if not isinstance(class_weight, Mapping):
        given = np.asarray(class_weight)
        if given.shape != (classes,):
            raise ValueError(
                f"Received class_weight of shape {given.shape}. It must have one weight for each "
                f"of {classes} classes, or be a dict with {expected}."
            )
        class_weight = dict(enumerate(given.tolist()))
    weights = dict.fromkeys(range(classes), 1.0)
    for key, weight in class_weight.items():
        index = names.index(key) if key in names else key
        if (
            isinstance(index, bool)
            or not isinstance(index, numbers.Integral)
            or not 0 <= int(index) < classes
        ):
            raise ValueError(
                f"Received class_weight for {key!r}, which is no class. Allowed are {expected}."
            )
        if (
            isinstance(weight, bool)
            or not isinstance(weight, numbers.Real)
            or not 0 <= float(weight) < float("inf")
        ):
            raise ValueError(
                f"Received class_weight={weight!r} for {key!r}. It must be a finite number of at "
                "least 0."
            )
        weights[int(index)] = float(weight)
    return weights
