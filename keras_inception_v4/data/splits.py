"""Splits of a dataset into training and held-out images."""

import math
import warnings

import numpy as np

from keras_inception_v4.errors import require_extra

TRIED = 50  # groups that are tried on each side of an exchange


def split_indices(labels, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split images with stratification: hold out the same share of each class, at least one.

    Args:
        labels: Integer labels of shape `(images,)`, with at least two images per class.
        validation_split: Share to hold out, above 0 and below 1.
        seed: Seed for the split.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: If the share is out of range, or leaves too few training images for one of
            every class.
        ImportError: If scikit-learn is missing; the message names the extra.
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
    """Split images by whole groups, none of which is on both sides.

    With one class per image, the split is stratified as far as the groups allow (scikit-learn's
    `StratifiedGroupKFold`). For other targets, groups are drawn at random. Then groups change
    sides until every class has training images. Classes in several groups also get held-out
    images, unless that would take another class's last training images.

    Args:
        labels: Integers of shape `(images,)`, or zeros and ones of shape `(images, classes)`,
            with no columns for quantities.
        groups: Group of each image, of shape `(images,)`.
        validation_split: Approximate share of the images to hold out, above 0. At most 0.5 with
            one class per image, else below 1.
        seed: Seed for the split.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: If the share is out of range, or no group can be held out.
        ImportError: If scikit-learn is missing; the message names the extra.
    """
    labels, groups = np.asarray(labels), np.unique(groups, return_inverse=True)[1]
    most = 0.5 if labels.ndim == 1 else 1.0
    if not 0 < validation_split <= most or validation_split == 1:
        raise ValueError(
            f"Received validation_split={validation_split}. With groups it must be above 0 and at "
            "most 0.5."
            if labels.ndim == 1
            else f"Received validation_split={validation_split}. It must be above 0 and below 1."
        )
    count = int(groups.max()) + 1
    if count < 2:
        raise ValueError("All images belong to one group, so none can be held out.")
    table = _classes_of_groups(labels, groups, count)
    held_out = np.zeros(count, bool)
    if labels.ndim == 2:
        order = np.random.default_rng(seed).permutation(count)
        filled = np.cumsum(np.bincount(groups)[order])
        wanted = 1 + np.searchsorted(filled, validation_split * len(groups))
        held_out[order[: min(wanted, count - 1)]] = True
    elif (folds := min(round(1 / validation_split), count, table.sum(axis=0).max())) > 1:
        held_out[groups[_stratified_folds(labels, groups, groups, folds, seed)[0]]] = True
    scarce = np.argsort(table.sum(axis=0), kind="stable")
    for label in scarce:  # training images come before held-out ones
        if not table[~held_out, label].any():
            held_out[np.flatnonzero(table[:, label])[0]] = False
    for label in scarce:
        if not table[held_out, label].any():
            _hold_out(table, held_out, label)
    if not held_out.any():
        _hold_out(table, held_out)
    if not held_out.any():
        raise ValueError(
            f"None of the {count} groups can be held out: each has the only images of some class."
        )
    chosen = held_out[groups]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _classes_of_groups(labels: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Count the images of each group by class; classes without images are left out."""
    hot = np.eye(int(labels.max()) + 1)[labels] if labels.ndim == 1 else labels
    table = np.zeros((count, hot.shape[1]), int)
    np.add.at(table, groups, hot.astype(int))
    return table[:, table.any(axis=0)]


def split_fold(labels, groups, fold: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off one fold of several that together hold out every image once.

    Args:
        labels: Labels or targets, as in `split_groups`.
        groups: Group of each image, of shape `(images,)`; `None` if each image is its own group.
        fold: Number of the fold, counted from 1, and number of folds.
        seed: Seed for the folds, which must be the same for all of them.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: If there are more folds than groups, or than images of the largest class. Also
            if any of the folds would leave a class without training images.
        ImportError: If scikit-learn is missing; the message names the extra.
    """
    number, folds = fold
    labels = np.asarray(labels)
    given = np.arange(len(labels)) if groups is None else groups
    own = np.unique(given, return_inverse=True)[1]
    count, what = int(own.max()) + 1, "images" if groups is None else "groups"
    if count < folds:
        raise ValueError(f"Received folds={folds} for {count} {what}.")
    table = _classes_of_groups(labels, own, count)
    if labels.ndim == 2:
        of_group = _mended(table, _drawn_folds(count, folds, seed), folds)
    else:
        if max(table.sum(axis=0)) < folds:
            raise ValueError(f"Received folds={folds}, and no class has that many images.")
        of_group = np.zeros(count, int)
        for index, held_out in enumerate(_stratified_folds(labels, own, groups, folds, seed)):
            of_group[own[held_out]] = index
    left = [int(np.sum(table[of_group != index].any(axis=0))) for index in range(folds)]
    if min(left) < table.shape[1]:
        raise ValueError(
            f"Fold {int(np.argmin(left)) + 1} of {folds} would hold out all images of a class. "
            f"With folds each class needs two {what} or more."
        )
    chosen = of_group[own] == number - 1
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _stratified_folds(labels, own, groups, folds: int, seed: int) -> list[np.ndarray]:
    """Return the held-out indices of each of scikit-learn's folds, for one class per image."""
    selection = require_extra("sklearn.model_selection", "Splitting needs", "scikit-learn", "demo")
    kind = selection.StratifiedKFold if groups is None else selection.StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes with fewer images than folds
        return [chosen for _, chosen in splitter.split(labels, labels, own)]


def _drawn_folds(count: int, folds: int, seed: int) -> np.ndarray:
    """Draw a fold for each group, so that folds have equally many."""
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)


def _mended(table: np.ndarray, of_group: np.ndarray, folds: int) -> np.ndarray:
    """Move groups so that each class in two or more groups is in two or more folds, if possible."""
    has = table > 0
    for label in np.argsort(has.sum(axis=0), kind="stable"):  # the rarest first
        holders = np.flatnonzero(has[:, label])
        if len(holders) < 2 or len(set(of_group[holders])) > 1:
            continue
        for group in holders:  # moves the first with which more classes are in several folds
            others = [fold for fold in range(folds) if fold != of_group[group]]
            moved = of_group.copy()
            moved[group] = min(others, key=lambda fold: np.sum(of_group == fold))
            if _spread(has, moved) > _spread(has, of_group):
                of_group = moved
                break
    return of_group


def _spread(has: np.ndarray, of_group: np.ndarray) -> int:
    """Count the classes with groups in more than one fold."""
    return sum(len(set(of_group[column])) > 1 for column in has.T)


def split(
    labels, groups, *, validation_split: float, seed: int, fold: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split images by fold, by group or by class, depending on the arguments.

    Args:
        labels: Integers of shape `(images,)`, or zeros and ones of shape `(images, classes)`,
            with no columns for quantities.
        groups: Group of each image, or `None`.
        validation_split: Share to hold out; ignored if `fold` is given.
        seed: Seed for the split.
        fold: Fold to hold out, as in `split_fold`; `None` for a single split.

    Returns:
        Indices of the training and of the held-out images.

    Raises:
        ValueError: If `split_indices`, `split_groups` or `split_fold` raises it.
    """
    labels = np.asarray(labels)
    if fold is not None:
        return split_fold(labels, groups, fold, seed)
    if groups is None and labels.ndim == 1:
        return split_indices(labels, validation_split, seed)
    return split_groups(
        labels, np.arange(len(labels)) if groups is None else groups, validation_split, seed
    )


def _hold_out(table: np.ndarray, held_out: np.ndarray, label: int | None = None) -> None:
    """Hold out the smallest group with a class, if every class keeps training images.

    If there is no such group, one is exchanged for a held-out group. Every class must keep
    training images, and held-out images if it had some.

    Args:
        table: Number of images of each group by class.
        held_out: Mask of the held-out groups, changed in place.
        label: Index of the class; `None` for any group.
    """
    has = True if label is None else table[:, label] > 0
    here = np.flatnonzero(~held_out & has)
    here = here[np.argsort(table[here].sum(axis=1), kind="stable")]
    before = table[held_out].any(axis=0)
    for back in (None, *np.flatnonzero(held_out)[:TRIED]):
        for group in here if back is None else here[:TRIED]:
            tried = held_out.copy()
            tried[group] = True
            if back is not None:
                tried[back] = False
            if table[~tried].any(axis=0).all() and table[tried].any(axis=0)[before].all():
                held_out[:] = tried
                return
