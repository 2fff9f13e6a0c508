"""Several classes per image, or none: sigmoid and binary cross entropy."""

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.architecture import MULTI_LABEL
from keras_inception_v4.tasks.base import (
    LEAST,
    Comparison,
    Task,
    check_sample_weight,
    require_scikit_learn,
)

THRESHOLD = 0.5


def check_threshold(threshold: float) -> float:
    """Check a threshold of probabilities, and return it.

    Raises:
        ValueError: If it is not from 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"Received threshold={threshold}. It must be from 0 to 1.")
    return threshold


class MultiLabel(Task):
    """Any number of classes per image."""

    name = MULTI_LABEL
    activation = "sigmoid"
    metric = "binary_accuracy"
    metric_label, metric_scale = "right decisions at 0.5 (%)", 100
    picture = "average_precision.png"
    movement = "for each class"
    decision = "the decision on a class is, for the class with the most changes,"
    same = "same decision on a class, lowest class"
    least_outputs = 2
    thresholded = True

    def field(self, outputs):
        """Return a field with a 0 or 1 for each class."""
        return "label", "float32", (outputs,)

    def check_targets(self, labels, outputs):
        """Return float32 targets of 0 and 1, shape `(images, classes)`."""
        labels = np.asarray(labels)
        if labels.shape[1:] != (outputs,) or labels.dtype.kind not in "biuf":
            raise ValueError(
                f"Received labels of shape {labels.shape} and dtype {labels.dtype}. A multi-label "
                f"model (sigmoid) needs (images, {outputs}), 1 for each class that an image shows "
                "and otherwise 0."
            )
        if not np.all((labels == 0) | (labels == 1)):
            raise ValueError(
                "Received labels other than 0 and 1. A multi-label model (sigmoid) needs a 1 for "
                "each class that an image shows, and otherwise 0."
            )
        return labels.astype("float32")

    def check_thresholds(self, thresholds, outputs):
        """Return one threshold per class, from 0 to 1; 0.5 by default."""
        try:
            given = np.asarray(THRESHOLD if thresholds is None else thresholds, "float64")
        except ValueError:
            raise ValueError(f"Received thresholds={thresholds!r}. They must be numbers.") from None
        if given.shape not in ((), (outputs,)):
            raise ValueError(
                f"Received thresholds of shape {given.shape} for {outputs} classes. They must be "
                "one number, or one per class."
            )
        return [check_threshold(limit) for limit in np.broadcast_to(given, outputs).tolist()]

    def loss(self, outputs, *, smoothing=0.0, from_logits=False, weights=None):
        """Return binary cross entropy, the mean over the classes.

        `weights` multiply the terms of positive labels.
        """
        import keras

        positive = np.asarray(np.ones(outputs) if weights is None else weights, "float32")

        def loss(labels, predictions):
            labels = keras.ops.cast(labels, predictions.dtype)
            smooth = labels * (1 - smoothing) + smoothing / 2
            each = keras.ops.binary_crossentropy(smooth, predictions, from_logits=from_logits)
            extra = keras.ops.convert_to_tensor(positive - 1, each.dtype)
            return keras.ops.mean(each * (1 + labels * extra), axis=-1)

        return loss

    def thresholds(self, given):
        """Return the threshold of each class with the highest F1, see `best_threshold`.

        It is 0.5 for a class that all images or no images show.
        """
        return [
            best_threshold(truth, answers, given.weights)
            if 0 < truth.sum() < len(truth)
            else THRESHOLD
            for truth, answers in zip(given.targets.T, given.answers.T, strict=True)
        ]

    def measure(self, given, names, thresholds=None):
        """Return the metrics of `multi_label_report`."""
        return multi_label_report(given.answers, given.targets, names, given.weights, thresholds)

    def each(self, given, names, thresholds=None):
        """Return the prediction for every image, one list per column.

        `loss` is binary cross entropy in nats, the mean over the classes. `label` and `predicted`
        are lists of names, and `correct` is whether they are equal. `margin` is the distance of
        the nearest class from its threshold if all are right, else minus the distance of the class
        that is farthest on the wrong side.
        """
        limits = np.broadcast_to(
            THRESHOLD if thresholds is None else thresholds, given.answers.shape[1:]
        )
        truth = given.targets == 1
        own = np.where(truth, given.answers, 1 - given.answers.astype("float64"))
        order = np.argsort(-given.answers, axis=1, kind="stable")
        return {
            "label": [_named(row, names) for row in truth],
            "predicted": [_named(row, names) for row in given.answers >= limits],
            "correct": np.all((given.answers >= limits) == truth, axis=1).tolist(),
            "loss": (-np.log(np.maximum(own, LEAST))).mean(axis=1).tolist(),
            "margin": (np.where(truth, 1, -1) * (given.answers - limits)).min(axis=1).tolist(),
            "classes": [[names[i] for i in row] for row in order],
            "probabilities": np.take_along_axis(given.answers, order, axis=1).tolist(),
        }

    def rows(self, report, prefix=""):
        """Return mean average precision and F1."""
        return [
            [f"{prefix}mean average precision", _percent(report["mean_average_precision"])],
            [f"{prefix}F1, micro", f"{report['micro_f1']:.1%}"],
            [f"{prefix}F1, macro", f"{report['macro_f1']:.1%}"],
        ]

    def scalars(self, report):
        """Return mean average precision, F1, and the share of images with all classes right."""
        return {
            name.replace("_", " "): report[name]
            for name in ("mean_average_precision", "micro_f1", "macro_f1", "exact_match")
        }

    def table(self, report):
        """Return the metrics of each class."""
        header = ["class", "average precision", "AUROC", "precision", "recall", "F1",
                  "threshold", "images"]  # fmt: skip
        return header, [
            [
                name,
                _percent(row["average_precision"]),
                _percent(row["auroc"]),
                f"{row['precision']:.1%}",
                f"{row['recall']:.1%}",
                f"{row['f1']:.1%}",
                f"{row['threshold']:.2f}",
                row["images"],
            ]
            for name, row in report["per_class"].items()
        ]

    def draw(self, given, report, names, path):
        """Draw average precision and F1 of each class."""
        plots.plot_classes(
            names,
            {
                "average precision": [r["average_precision"] for r in report["per_class"].values()],
                "F1 at the threshold": [row["f1"] for row in report["per_class"].values()],
            },
            path,
        )

    def answer(self, row, names, top=None, thresholds=None):
        """Return the classes at or above their threshold, the most probable first; may be empty."""
        limits = np.broadcast_to(THRESHOLD if thresholds is None else thresholds, row.shape)
        best = [i for i in np.argsort(-row, kind="stable") if row[i] >= limits[i]][:top]
        return [(names[i], float(row[i])) for i in best]

    def compare(self, expected, found, thresholds=None):
        """Compare probabilities, and the decision on each class of each image at its threshold.

        `agreement` is that of the class with the least.
        """
        limits = THRESHOLD if thresholds is None else np.asarray(thresholds)
        apart = np.abs(expected - found)
        same = np.mean((expected >= limits) == (found >= limits), axis=0)
        return Comparison(
            float(apart.max()), float(apart.max()), float(same.min()), float(apart.mean())
        )

    def _examples_of(self, targets, index):
        return targets[:, index] == 1


def multi_label_report(
    probabilities, targets, class_names: list[str], sample_weight=None, thresholds=None
) -> dict:
    """Return metrics of a multi-label classifier.

    Args:
        probabilities: Array of shape `(images, classes)`.
        targets: Array of 0 and 1, shape `(images, classes)`.
        class_names: One name per class.
        sample_weight: Weight of each image, shape `(images,)`. All are equal if `None`.
        thresholds: Probability from which on a class is predicted, one number or one per class.
            Defaults to 0.5.

    Returns:
        A dict with `images` (their number), `mean_average_precision`, `micro_f1`, `macro_f1`,
        `exact_match` (share of images with all classes right), all four 0 to 1, and `per_class`.
        `mean_average_precision` is over the classes that some images show and some do not.
        `per_class` maps each name to `average_precision`, `auroc`, `precision`, `recall`, `f1`,
        `threshold`, `best_threshold` (see `best_threshold`) and `images`. Values that are undefined
        for lack of images are `None`.

    Raises:
        ValueError: If all sample weights are 0.
        ImportError: If scikit-learn is missing. The message names the extra.
    """
    metrics = require_scikit_learn()
    check_sample_weight(sample_weight)
    probabilities, targets = np.asarray(probabilities), np.asarray(targets)
    classes = probabilities.shape[1]
    limits = np.broadcast_to(THRESHOLD if thresholds is None else thresholds, (classes,))
    predicted = probabilities >= limits
    weigh = {"sample_weight": sample_weight}

    def scores(average):
        return metrics.precision_recall_fscore_support(
            targets, predicted, average=average, zero_division=0, **weigh
        )

    per_class = {}
    for index, (name, p, r, f) in enumerate(zip(class_names, *scores(None)[:3], strict=True)):
        truth, answers = targets[:, index], probabilities[:, index]
        both = 0 < truth.sum() < len(truth)
        per_class[name] = {
            "average_precision": _of(metrics.average_precision_score, truth, answers, both, weigh),
            "auroc": _of(metrics.roc_auc_score, truth, answers, both, weigh),
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "threshold": float(limits[index]),
            "best_threshold": best_threshold(truth, answers, sample_weight) if both else None,
            "images": int(truth.sum()),
        }
    all_of_them = (row["average_precision"] for row in per_class.values())
    known = [value for value in all_of_them if value is not None]
    return {
        "images": len(targets),
        "mean_average_precision": float(np.mean(known)) if known else None,
        "micro_f1": float(scores("micro")[2]),
        "macro_f1": float(scores("macro")[2]),
        "exact_match": float(
            np.average(np.all(predicted == targets, axis=1), weights=sample_weight)
        ),
        "per_class": per_class,
    }


def best_threshold(truth, probabilities, sample_weight=None) -> float:
    """Return the threshold with the highest F1 of a class, halfway between two outputs, or 0.5.

    Args:
        truth: Array of 0 and 1, with both values, shape `(images,)`.
        probabilities: Array of shape `(images,)`.
        sample_weight: Weight of each image, shape `(images,)`. All are equal if `None`.

    Returns:
        Threshold from 0 to 1. If several have the highest F1, it is the one nearest to 0.5.
    """
    precision, recall, limits = require_scikit_learn().precision_recall_curve(
        truth, probabilities, sample_weight=sample_weight
    )
    total = np.maximum(precision + recall, np.finfo(float).tiny)
    f1 = (2 * precision * recall / total)[:-1]  # the last point has no threshold
    below = np.concatenate([[0.0], limits[:-1]])
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    # Any threshold above the next lower output and up to this one gives the same decisions.
    low, high = below[best], limits[best]
    middle = np.where((low < THRESHOLD) & (high >= THRESHOLD), THRESHOLD, (low + high) / 2)
    return float(middle[np.argmin(np.abs(middle - THRESHOLD))])


def _named(flags, names: list[str]) -> list[str]:
    return [name for name, flag in zip(names, flags, strict=True) if flag]


def _of(measure, truth, answers, defined: bool, weigh: dict) -> float | None:
    return float(measure(truth, answers, **weigh)) if defined else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
