"""Which images are held out."""

import math
import warnings

import numpy as np

from keras_inception_v4.errors import require_extra


def split_indices(labels, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits seeded and stratified: every class gives the same share, and at least one image.

    Args:
        labels: integer labels `(images,)`, at least two images a class.
        validation_split: share held out, in (0, 1).
        seed: of the split.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: if the share leaves a class without training images.
        ImportError: without scikit-learn; the message names the extra.
    """
    selection = require_extra("sklearn.model_selection", "Splitting needs", "scikit-learn", "demo")
    labels = np.asarray(labels)
    classes = len(np.unique(labels))
    held_out_count = max(math.ceil(validation_split * len(labels)), classes)
    if not 0 < validation_split < 1 or len(labels) - held_out_count < classes:
        raise ValueError(
            f"Received validation_split={validation_split} for {len(labels)} images of {classes} "
            "classes. It must be above 0, below 1, and leave a training image for every class."
        )
    train, held_out = selection.train_test_split(
        np.arange(len(labels)), test_size=held_out_count, stratify=labels, random_state=seed
    )
    for rare in np.setdiff1d(labels, labels[held_out]):  # too few images for their share
        chosen = train[labels[train] == rare][:1]
        held_out = np.concatenate([held_out, chosen])
        train = np.setdiff1d(train, chosen)
    return train, held_out


def split_groups(
    labels, groups, validation_split: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits seeded, no group on both sides, and as stratified as groups allow.

    Every class keeps training images. Every class of two groups or more gets held-out ones, unless
    each of its groups has the only training images of another class.

    Args:
        labels: integer labels `(images,)`.
        groups: what belongs together, `(images,)`, of any type that sorts.
        validation_split: share held out, in (0, 0.5].
        seed: of the split.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: for a share out of range, or if no group can be held out.
        ImportError: without scikit-learn; the message names the extra.
    """
    selection = require_extra("sklearn.model_selection", "Splitting needs", "scikit-learn", "demo")
    labels, groups = np.asarray(labels), np.unique(groups, return_inverse=True)[1]
    if not 0 < validation_split <= 0.5:
        raise ValueError(
            f"Received validation_split={validation_split}. With groups it must be above 0 and at "
            "most 0.5."
        )
    count = int(groups.max()) + 1
    if count < 2:
        raise ValueError("All images are of one group, so none can be held out.")
    table = np.zeros((count, int(labels.max()) + 1), int)  # images of each group, by class
    np.add.at(table, (groups, labels), 1)
    folds = min(round(1 / validation_split), count, table.sum(axis=0).max())
    held_out = np.zeros(count, bool)
    if folds > 1:
        held_out[_fold(selection, labels, groups, folds, seed)] = True
    scarce = np.argsort(table.sum(axis=0), kind="stable")
    for label in scarce:  # first of all something to learn from
        if not table[~held_out, label].any():
            held_out[np.flatnonzero(table[:, label])[0]] = False
    for label in scarce:
        if not table[held_out, label].any():
            _hold_out(table, held_out, label)
    if not held_out.any():
        raise ValueError(
            f"None of the {count} groups can be held out: each has the only images of some class."
        )
    chosen = held_out[groups]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _fold(selection, labels, groups, folds: int, seed: int) -> np.ndarray:
    """Which groups scikit-learn's first fold holds out."""
    splitter = selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        _, chosen = next(iter(splitter.split(labels, labels, groups)))
    return groups[chosen]


def _hold_out(table: np.ndarray, held_out: np.ndarray, label: int) -> None:
    """Holds out the smallest group with a class that has no class's last training images.

    Args:
        table: images of each group, by class.
        held_out: which groups are; changed here.
        label: the class.
    """
    here = np.flatnonzero(~held_out & (table[:, label] > 0))
    for group in here[np.argsort(table[here].sum(axis=1), kind="stable")]:
        left = ~held_out
        left[group] = False
        if (table[left].sum(axis=0) > 0).all():
            held_out[group] = True
            return
