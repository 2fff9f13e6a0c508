"""What a model makes of the pictures: wrong labels, odd ones out, and more duplicates."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from keras_inception_v4.errors import require_extra

FOLDS = 5
NEIGHBOURS = 10
FAR = 6.0  # robust standard deviations of an answer from its target
LONELY = 3.5  # likewise, of the logarithm of the distance to the neighbours
SAME = 0.1  # of the distance to the other neighbours: one picture, changed a little
# Correlation of such pictures in small, since features of a class may be all but equal. Of 500
# digits no two different ones that are each other's neighbours have more than 0.98.
ALIKE = 0.98
# On the first command's network, six times ten wrong labels among 500: all are among the first 14
# findings. Cleanlab's default rule, pruning by noise rate, leaves out one of three of the six.
RULE = {"filter_by": "low_self_confidence", "return_indices_ranked_by": "self_confidence"}
COMPONENTS = 256  # principal ones of the features, that heads are trained on
PENALTY = 0.01  # inverse of the head's, on standardized features
LEAST = 1e-7  # distance that float32 tells from none
RIDGE = 100.0  # penalty of a quantity's head


class WrongLabel(NamedTuple):
    """A label that the other pictures speak against.

    `picture` is its index; `score` is the probability of the label, or falls with the distance
    from it; `suggested` are indices of classes, or numbers.
    """

    picture: int
    score: float
    suggested: list


def require_cleanlab() -> None:
    """Import what finds wrong labels.

    Raises:
        ImportError: without cleanlab; the message names the extra.
    """
    require_extra("cleanlab", "Finding wrong labels needs", "cleanlab", "audit")


def wrong_labels(
    features: np.ndarray, labels: np.ndarray, task: str, seed: int
) -> list[WrongLabel]:
    """Find labels that a head, trained on the other pictures, contradicts.

    Each picture is answered by a head that has not seen it (five folds). Confident learning
    (Northcutt et al., 2021) estimates how many labels are wrong, and cleanlab names as many, those
    that got the least probability.

    Args:
        features: `(pictures, features)`, at least two pictures.
        labels: As in `Listed`.
        task: Of `TASKS`.
        seed: Seed for the folds.

    Returns:
        The most certain first. Classes of one picture are left out.
    """
    find: dict[str, Callable] = {
        SINGLE_LABEL: _wrong_class,
        MULTI_LABEL: _wrong_classes,
        REGRESSION: _wrong_numbers,
    }
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    # Beside other processes threads wait for each other's core: products this small take forty
    # times as long with two threads as with one.
    with threadpool_limits(1):
        scaled = StandardScaler().fit_transform(features.astype("float64"))
        fewer = PCA(min(COMPONENTS, *scaled.shape), random_state=0).fit_transform(scaled)
        return find[task](fewer, labels, seed)


def _out_of_fold(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities of all classes, `(pictures, classes)`; each class has two pictures or more."""
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
    """Numbers from which the answer is further than from almost all others."""
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
    """How many robust standard deviations values are above their median, down each column."""
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0)
    return (values - middle) / np.where(spread == 0, np.inf, spread)


class Neighbours(NamedTuple):
    """What the pictures next to each tell.

    `odd` are index and distance of those far from all others, in robust standard deviations of its
    logarithm, the furthest first; `same` are indices `(pairs, 2)` of pictures that a model hardly
    tells apart.
    """

    odd: list[tuple[int, float]]
    same: np.ndarray


def look_around(features: np.ndarray, small: np.ndarray) -> Neighbours:
    """Compare each picture with its nearest neighbours, by the cosine of their features.

    Two pictures are the same if each is the other's nearest neighbour, much nearer than the others
    around, and they look alike in small.

    Args:
        features: `(pictures, features)`.
        small: As in `duplicates.near_pairs`.
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
    """Of the pixels of two pictures that are not of one colour."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
