"""Weights of classes, from what people give."""

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
    """Batches whose images weigh as their classes do, by weights of their own multiplied.

    Where an image may have several classes, the batches stay, and the loss of positive labels is
    what is weighed.

    Args:
        task: of the model.
        batches: of images and labels, with or without weights.
        class_weight: `None`, or as in `class_weights`, and so is the rest.
        classes: number of classes.
        data: of the user's; its `class_names`, where it has some, may name classes.

    Returns:
        The batches, and weights of positive labels, one a class, or `None`.

    Raises:
        ValueError: as `class_weights`, and for quantities, which have no classes.
    """
    if class_weight is None:
        return batches, None
    if task.standardized:
        raise ValueError(
            f"Received class_weight={class_weight!r} for {task.name}, which has no classes. Give "
            "sample weights."
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
    """Weights of classes.

    Args:
        class_weight: `"balanced"`; a dict from class to weight, where a class is an index or, if
            the data has names, a name, and one that is not there weighs 1; or one weight a class,
            in order.
        batches: whose labels are counted for `"balanced"`.
        classes: number of classes.
        class_names: one name a class, where the data has some.

    Raises:
        ValueError: for anything else; the message says what was expected.
    """
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f"Received class_weight={class_weight!r}. Allowed are None, 'balanced', a dict "
                "from class to weight, and one weight a class."
            )
        labels = all_labels(batches)
        if labels.ndim == 2:  # as much for the images with a class as for those without it
            positive = labels.sum(axis=0)
            balance = (len(labels) - positive) / np.maximum(positive, 1)
            balance = np.where(balance > 0, balance, 1)  # of a class that every image has
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
