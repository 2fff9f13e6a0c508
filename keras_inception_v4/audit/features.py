"""Findings from a model's features: wrong labels, odd ones out, and more duplicates."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from keras_inception_v4.errors import require_extra

FOLDS = 5
NEIGHBOURS = 10
FAR = 6.0  # robust standard deviations: how far a prediction's error is above the median error
LONELY = 3.5  # likewise, for the logarithm of the mean distance to the neighbours
SAME = 0.1  # share of the median distance to the neighbours: a nearer picture is a copy
# Least correlation of the thumbnails of such copies, since features of a class may be almost
# equal. Among 500 digits, no two different ones that are nearest neighbours exceed 0.98.
ALIKE = 0.98
# Chosen with the network of the first command: six trials, each with ten wrong labels among 500.
# In each trial all ten are among the first 14 findings. Cleanlab's default rule, pruning by noise
# rate, misses one label in three of the six trials.
RULE = {"filter_by": "low_self_confidence", "return_indices_ranked_by": "self_confidence"}
COMPONENTS = 256  # principal components of the features that heads are trained on
PENALTY = 0.01  # inverse regularization strength of the head, on standardized features
LEAST = 1e-7  # least distance that float32 can tell from 0
RIDGE = 100.0  # penalty of the head for quantities


class WrongLabel(NamedTuple):
    """A label that the other pictures contradict.

    `picture` is the index of its picture. `score` is the probability of its label, for several
    classes cleanlab's label quality, and falls with the error for quantities. `suggested` holds
    indices of classes, or numbers.
    """

    picture: int
    score: float
    suggested: list


def require_cleanlab() -> None:
    """Import cleanlab, which finds wrong labels.

    Raises:
        ImportError: If cleanlab is missing. The message names the extra.
    """
    require_extra("cleanlab", "Finding wrong labels needs", "cleanlab", "audit")


def wrong_labels(
    features: np.ndarray, labels: np.ndarray, task: str, seed: int
) -> list[WrongLabel]:
    """Find labels that a head trained on the other pictures contradicts.

    Each picture is predicted by a head that has not seen it (five folds). Confident learning
    (Northcutt et al., 2021) estimates how many labels are wrong. Cleanlab returns that many, those
    with the lowest probability. For quantities, labels with an unusually large error are returned.

    Args:
        features: Array of shape `(pictures, features)`, with at least two pictures.
        labels: Labels as in `Listed`.
        task: One of `TASKS`.
        seed: Seed for the folds.

    Returns:
        Wrong labels, the most certain first. Classes of one picture are left out.
    """
    find: dict[str, Callable] = {
        SINGLE_LABEL: _wrong_class,
        MULTI_LABEL: _wrong_classes,
        REGRESSION: _wrong_numbers,
    }
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    # With other processes running, threads wait for each other's core: products this small take
    # forty times as long with two threads as with one.
    with threadpool_limits(1):
        scaled = StandardScaler().fit_transform(features.astype("float64"))
        fewer = PCA(min(COMPONENTS, *scaled.shape), random_state=0).fit_transform(scaled)
        return find[task](fewer, labels, seed)


def _out_of_fold(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return probabilities, `(pictures, classes)`; each class must have two pictures or more."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = min(FOLDS, int(np.bincount(labels).min()))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        head = LogisticRegression(C=PENALTY, max_iter=200)
        return cross_val_predict(head, features, labels, cv=split, method="predict_proba")


def _wrong_class(features, labels, seed) -> list[WrongLabel]:
    from cleanlab.filter import find_label_issues

    counts = np.bincount(labels)
    kept = np.flatnonzero(counts[labels] >= 2)
    classes, own = np.unique(labels[kept], return_inverse=True)
    if len(classes) < 2:
        return []
    answers = _out_of_fold(features[kept], own, seed)
    found = find_label_issues(own, answers, **RULE)
    return [
        WrongLabel(int(kept[i]), float(answers[i, own[i]]), [int(classes[answers[i].argmax()])])
        for i in found
    ]


def _wrong_classes(features, labels, seed) -> list[WrongLabel]:
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    flags = labels.astype("int64")
    answers = np.empty(flags.shape)
    for index, flag in enumerate(flags.T):
        rare = min(flag.sum(), len(flag) - flag.sum()) < 2
        answers[:, index] = flag if rare else _out_of_fold(features, flag, seed)[:, 1]
    named = [np.flatnonzero(row).tolist() for row in flags]
    scores = get_label_quality_scores(named, answers)
    found = find_label_issues(named, answers, return_indices_ranked_by="self_confidence")
    return [
        WrongLabel(int(i), float(scores[i]), np.flatnonzero(answers[i] >= 0.5).tolist())
        for i in found
    ]


def _wrong_numbers(features, labels, seed) -> list[WrongLabel]:
    """Return the numbers with a larger prediction error than almost all others."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold, cross_val_predict

    if len(labels) < FOLDS:
        return []
    split = KFold(FOLDS, shuffle=True, random_state=seed)
    answers = cross_val_predict(Ridge(RIDGE), features, labels, cv=split).reshape(labels.shape)
    distance = _robust(np.abs(answers - labels)).max(axis=1)
    order = np.argsort(-distance, kind="stable")
    return [
        WrongLabel(int(i), float(1 / (1 + distance[i])), answers[i].tolist())
        for i in order
        if distance[i] > FAR
    ]


def _robust(values: np.ndarray) -> np.ndarray:
    """Return how many robust standard deviations values are above their column's median."""
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0)
    return (values - middle) / np.where(spread == 0, np.inf, spread)


class Neighbours(NamedTuple):
    """Findings from the nearest neighbours of each picture.

    `odd` holds index and distance of pictures far from all others, the furthest first. The distance
    is in robust standard deviations of its logarithm. `same` holds indices of shape `(pairs, 2)` of
    pictures that a model hardly tells apart.
    """

    odd: list[tuple[int, float]]
    same: np.ndarray


def look_around(features: np.ndarray, small: np.ndarray) -> Neighbours:
    """Compare each picture with its nearest neighbours, by the cosine of their features.

    Two pictures are the same if each is the other's nearest neighbour, much nearer than the other
    neighbours, and their thumbnails look alike.

    Args:
        features: Array of shape `(pictures, features)`.
        small: Thumbnails as in `duplicates.near_pairs`.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(features) - 1)
    if count < 1:
        return Neighbours([], np.empty((0, 2), "int64"))
    search = NearestNeighbors(n_neighbors=count, metric="cosine").fit(features)
    distances, indices = search.kneighbors()
    far = _robust(np.log(np.maximum(distances.mean(axis=1), LEAST)))
    order = np.argsort(-far, kind="stable")
    odd = [(int(i), float(far[i])) for i in order if far[i] > LONELY]
    nearest = indices[:, 0]
    close = distances[:, 0] <= SAME * np.median(distances, axis=1)
    mutual = nearest[nearest] == np.arange(len(nearest))
    first = np.flatnonzero(close & mutual)
    pairs = np.unique(np.sort(np.stack([first, nearest[first]], axis=1), axis=1), axis=0)
    same = [pair for pair in pairs if _correlation(*small[pair]) >= ALIKE]
    return Neighbours(odd, np.array(same, "int64").reshape(-1, 2))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of the pixels of two pictures that are not of one colour."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
