"""One class per image: softmax and cross entropy."""

from typing import NamedTuple

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.tasks.base import (
    LEAST,
    Comparison,
    Task,
    check_sample_weight,
    require_scikit_learn,
)

CALIBRATION_BINS = 15
TOP = 5  # classes that are named by default


class SingleLabel(Task):
    """One class per image."""

    name = SINGLE_LABEL
    activation = "softmax"
    metric = "accuracy"
    metric_label, metric_scale = "accuracy (%)", 100
    picture = "confusion_matrix.png"
    least_outputs = 2

    def field(self, outputs):
        """Return a field with an integer."""
        return "label", "int64"

    def check_targets(self, labels, outputs):
        """Return labels as integers, shape `(images,)`, from integers of any type or one-hot."""
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim == 2 and labels.shape[1] == outputs:
            if not np.all((labels == 0) | (labels == 1)) or not np.all(labels.sum(axis=1) == 1):
                raise ValueError(
                    f"Received labels of shape {labels.shape} that are not one-hot. A single-label "
                    "model (softmax) needs a single 1 in each row, and otherwise 0. For several "
                    "classes per image, or none, build the model with task='multi-label' (sigmoid)."
                )
            labels = labels.argmax(axis=1)
        whole = labels.dtype.kind == "f" and np.all(np.mod(labels, 1) == 0)
        if labels.dtype.kind == "b" or whole:
            labels = labels.astype("int64")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"Received labels of shape {labels.shape} and dtype {labels.dtype}. They must be "
                f"one integer per image, or one-hot (images, {outputs})."
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < outputs:
            raise ValueError(
                f"Received labels from {labels.min()} to {labels.max()}. The model's classes are 0 "
                f"to {outputs - 1}."
            )
        return labels.astype("int64")

    def loss(self, outputs, *, smoothing=0.0, from_logits=False, weights=None):
        """Return cross entropy of integer labels, with smoothing, on probabilities or logits."""
        import keras

        def loss(labels, predictions):
            labels = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), outputs)
            return keras.losses.categorical_crossentropy(
                labels, predictions, from_logits=from_logits, label_smoothing=smoothing
            )

        return loss

    def measure(self, given, names, thresholds=None):
        """Return the metrics of `classification_report`."""
        return classification_report(given.answers, given.targets, names, given.weights)

    def each(self, given, names, thresholds=None):
        """Return the prediction for every image, one list per column.

        `loss` is cross entropy in nats. `rank` is the rank of the label (1: the best class).
        `margin` is the label's probability minus that of the best other class.
        """
        images = np.arange(len(given.targets))
        own = given.answers[images, given.targets]
        others = np.array(given.answers)
        others[images, given.targets] = -1
        order = np.argsort(-given.answers, axis=1, kind="stable")
        found = [self.answer(row, names) for row in given.answers]
        return {
            "label": [names[i] for i in given.targets],
            "predicted": [names[i] for i in order[:, 0]],
            "correct": (order[:, 0] == given.targets).tolist(),
            "rank": (1 + np.argmax(order == given.targets[:, None], axis=1)).tolist(),
            "loss": (-np.log(np.maximum(own.astype("float64"), LEAST))).tolist(),
            "margin": (own - others.max(axis=1)).tolist(),
            "classes": [[name for name, _ in top] for top in found],
            "probabilities": [[value for _, value in top] for top in found],
        }

    def rows(self, report, prefix=""):
        """Return accuracy, top-5 accuracy and calibration error."""
        return [
            [f"{prefix}accuracy", f"{report['accuracy']:.1%}"],
            [f"{prefix}top-5 accuracy", f"{report['top_5_accuracy']:.1%}"],
            ["calibration error", f"{report['calibration_error']:.1%}"],
        ]

    def scalars(self, report):
        """Return accuracy, top-5 accuracy and calibration error."""
        return {
            name.replace("_", " "): report[name]
            for name in ("accuracy", "top_5_accuracy", "calibration_error")
        }

    def table(self, report):
        """Return precision, recall and number of images of each class."""
        return ["class", "precision", "recall", "images"], [
            [name, f"{row['precision']:.1%}", f"{row['recall']:.1%}", row["images"]]
            for name, row in report["per_class"].items()
        ]

    def draw(self, given, report, names, path):
        """Draw the confusion matrix."""
        plots.plot_confusion_matrix(report["confusion_matrix"], names, path)

    def answer(self, row, names, top=None, thresholds=None):
        """Return the best classes, by default five."""
        best = np.argsort(-row, kind="stable")[: top or TOP]
        return [(names[i], float(row[i])) for i in best]

    def compare(self, expected, found, thresholds=None):
        """Compare the top classes, and the probability that moved to other classes."""
        apart = np.abs(expected - found)
        return Comparison(
            float(apart.max()),
            float(apart.max()),
            float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1))),
            float(apart.sum(axis=1).mean() / 2),
        )


def classification_report(
    probabilities, labels, class_names: list[str], sample_weight=None
) -> dict:
    """Return metrics of a single-label classifier.

    Args:
        probabilities: Array of shape `(images, classes)`.
        labels: Integer labels of shape `(images,)`.
        class_names: One name per class.
        sample_weight: Weight of each image, shape `(images,)`. All are equal if `None`.

    Returns:
        A dict with `images` (their number), `accuracy` and `top_5_accuracy` (0 to 1),
        `calibration_error` (0 to 1, see `calibration_error`), `confusion_matrix` and `per_class`.
        `confusion_matrix` has true classes down and predicted classes across. It holds counts, or
        sums of weights if there are weights. `per_class` maps each name to `precision`, `recall`
        and `images`. Images are counted without weights.

    Raises:
        ValueError: If all sample weights are 0.
        ImportError: If scikit-learn is missing. The message names the extra.
    """
    metrics = require_scikit_learn()
    check_sample_weight(sample_weight)
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    predicted = best[:, 0]
    classes = np.arange(len(class_names))
    weigh = {"sample_weight": sample_weight}
    precision, recall, _, _ = metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0, **weigh
    )
    images = np.bincount(labels, minlength=len(class_names))
    return {
        "images": len(labels),
        "accuracy": float(np.average(predicted == labels, weights=sample_weight)),
        "top_5_accuracy": float(
            np.average(np.any(best == labels[:, None], axis=1), weights=sample_weight)
        ),
        "calibration_error": calibration_error(probabilities, labels, sample_weight),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "images": int(n)}
            for name, p, r, n in zip(class_names, precision, recall, images, strict=True)
        },
        "confusion_matrix": metrics.confusion_matrix(
            labels, predicted, labels=classes, **weigh
        ).tolist(),
    }


class Reliability(NamedTuple):
    """Images in bins of equal width by the probability of their best class, 0 to 1.

    `confidence` and `accuracy` are the mean of each bin, 0 if it is empty. `images` are counts, or
    sums of weights.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    images: np.ndarray


def reliability(probabilities, labels, sample_weight=None) -> Reliability:
    """Return accuracy by confidence; the arguments are those of `calibration_error`."""
    confidence = np.max(probabilities, axis=1)
    right = np.argmax(probabilities, axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    weights = np.ones(len(right)) if sample_weight is None else np.asarray(sample_weight)
    images, said, true = (
        np.bincount(bins, values, minlength=CALIBRATION_BINS)
        for values in (weights, weights * confidence, weights * right)
    )
    some = np.where(images == 0, 1, images)
    return Reliability(said / some, true / some, images)


def calibration_error(probabilities, labels, sample_weight=None) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    Images are put into 15 bins of equal width by the probability of their best class. The result is
    the mean distance of a bin's accuracy from its mean confidence, weighted by its images.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017.

    Args:
        probabilities: Array of shape `(images, classes)`.
        labels: Integer labels of shape `(images,)`.
        sample_weight: Weight of each image, shape `(images,)`. All are equal if `None`.

    Returns:
        Error from 0 (a prediction of 80 % is right in 80 of 100 cases) to 1.
    """
    bins = reliability(probabilities, labels, sample_weight)
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.average(gaps, weights=bins.images))
