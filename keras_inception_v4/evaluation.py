"""What a classifier's answers are worth."""

import keras
import numpy as np

from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.errors import require_extra
from keras_inception_v4.inspection import (
    check_classifier,
    check_weights,
    classifier_of,
    names_of,
    probabilities_of,
    say_pixels,
)
from keras_inception_v4.preprocessing import check_finite
from keras_inception_v4.progress import Verbose, progress

CALIBRATION_BINS = 15


def evaluate(
    model: keras.Model,
    data,
    *,
    class_names: list[str] | None = None,
    batch_size: int = 32,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> dict:
    """Measures a classifier on labelled images.

    Args:
        model: a classifier of this package, probabilities or logits.
        data: arrays `(images, labels)` or `(images, labels, weights)`, or batches of such, as in
            `train_head`; raw pixels, 0 to 255, channels last.
        class_names: one name a class; ImageNet's for 1000 classes, else the index.
        batch_size: images a batch, for data that are not batched yet.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        verbose: as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        As `classification_report`.

    Raises:
        ValueError: for data of another kind, or labels that are not classes of the model.
        ImportError: without scikit-learn; the message names the extra.
    """
    require_scikit_learn()
    say_pixels(model, pixels)
    model = classifier_of(model)
    check_classifier(model)
    check_weights(model)
    names = names_of(model.output_shape[-1], class_names)
    batches = as_batches(data, model, batch_size)
    answers, labels, weights = [], [], []
    with progress(len(batches), "evaluating", "batches", verbose) as advance:
        for images, batch_labels, *batch_weights in batches.each():
            answers.append(np.asarray(model.predict_on_batch(images), "float32"))
            labels.append(batch_labels)
            weights += batch_weights
            advance(1)
    probabilities = np.concatenate(answers)
    check_finite(probabilities, f"answers of {model.name!r}")
    return classification_report(
        probabilities_of(model, probabilities),
        np.concatenate(labels),
        names,
        np.concatenate(weights) if weights else None,
    )


def classification_report(
    probabilities, labels, class_names: list[str], sample_weight=None
) -> dict:
    """Metrics of a classifier on labelled images.

    Args:
        probabilities: `(images, classes)`.
        labels: integer labels `(images,)`.
        class_names: one name a class.
        sample_weight: what each image counts, `(images,)`; all alike if `None`.

    Returns:
        `images`, `accuracy` and `top_5_accuracy` (0 to 1), `calibration_error` (0 to 1, see
        `calibration_error`), `confusion_matrix` (counts, true classes down, predicted ones
        across; sums of weights if there are any) and `per_class` (name to precision, recall and
        images). Images are counted without weights.

    Raises:
        ValueError: if all sample weights are 0.
        ImportError: without scikit-learn; the message names the extra.
    """
    metrics = require_scikit_learn()
    if sample_weight is not None and not np.sum(sample_weight) > 0:
        raise ValueError("All sample weights are 0, so there is nothing to measure.")
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


def require_scikit_learn():
    """Imports and returns `sklearn.metrics`; call it before work whose evaluation comes last.

    Raises:
        ImportError: without scikit-learn; the message names the extra.
    """
    return require_extra("sklearn.metrics", "Evaluation needs", "scikit-learn", "demo")


def calibration_error(probabilities, labels, sample_weight=None) -> float:
    """Expected calibration error: how far confidence is from accuracy, on average.

    Images are put into 15 bins of equal width by the probability of their best class; the
    result is the mean distance of a bin's accuracy from its mean confidence, weighted by
    its images.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017.

    Args:
        probabilities: `(images, classes)`.
        labels: integer labels `(images,)`.
        sample_weight: what each image counts, `(images,)`; all alike if `None`.

    Returns:
        0 (an answer of 80 % is right in 80 of 100 cases) to 1.
    """
    confidence = np.max(probabilities, axis=1)
    right = np.argmax(probabilities, axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    weights = np.ones(len(right)) if sample_weight is None else np.asarray(sample_weight)
    gaps = np.bincount(bins, weights * right) - np.bincount(bins, weights * confidence)
    return float(np.sum(np.abs(gaps)) / np.sum(weights))
