"""What a model's answers are worth."""

import keras
import numpy as np

from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.inspection import (
    check_classifier,
    check_weights,
    classifier_of,
    names_of,
    probabilities_of,
    say_pixels,
    task_of,
)
from keras_inception_v4.preprocessing import check_finite
from keras_inception_v4.progress import Verbose, progress
from keras_inception_v4.tasks import Measured, Task, require_scikit_learn


def evaluate(
    model: keras.Model,
    data,
    *,
    class_names: list[str] | None = None,
    batch_size: int = 32,
    thresholds=None,
    pixels: str | None = None,
    answers: bool = False,
    verbose: Verbose = "auto",
) -> dict:
    """Measures a model on labelled images.

    Args:
        model: of this package: probabilities, logits or quantities.
        data: arrays `(images, labels)` or `(images, labels, weights)`, or batches of such, as in
            `train_head`; raw pixels, 0 to 255, channels last.
        class_names: one name a class or quantity; ImageNet's for 1000 classes, else the index.
        batch_size: images a batch, for data that are not batched yet.
        thresholds: for several classes an image: from which probability on a class is answered, 0
            to 1, one number or one a class; default 0.5.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        answers: Whether to return what was answered to every image, too.
        verbose: as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        As `tasks.single_label.classification_report`, `tasks.multi_label.multi_label_report` or
        `tasks.regression.regression_report`, by what the model answers. With `answers` also
        `answers`, a list a column: `label`, `predicted`, `correct`, `rank` (of the label, 1 to
        classes), `loss` (cross entropy, nats), `margin` (probability of the label above the best
        other class's, -1 to 1), `classes` and `probabilities` (lists, the best five first), and
        `weight` where there are any. For other tasks see `each` of `tasks.multi_label.MultiLabel`
        and `tasks.regression.Regression`.

    Raises:
        ValueError: for data of another kind, or labels that are not classes of the model.
        ImportError: without scikit-learn; the message names the extra.
    """
    require_scikit_learn()
    own = classifier_of(model)
    check_classifier(own)
    task, outputs = task_of(own), own.output_shape[-1]
    names = names_of(outputs, class_names)
    limits = task.check_thresholds(thresholds, outputs)
    given = answers_and_targets(model, data, batch_size=batch_size, pixels=pixels, verbose=verbose)
    report = task.measure(given, names, limits)
    if answers:
        report["answers"] = columns_of(task, given, names, limits)
    return report


def columns_of(task: Task, given: Measured, names: list[str], thresholds=None) -> dict[str, list]:
    """What was answered to every image, as in `evaluate`."""
    columns = task.each(given, names, thresholds)
    if given.weights is not None:
        columns["weight"] = np.asarray(given.weights, "float64").tolist()
    return columns


def answers_and_targets(
    model: keras.Model,
    data,
    *,
    batch_size: int = 32,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> Measured:
    """A model's answers, as probabilities where it has classes, beside what they should be.

    Args:
        model: as in `evaluate`, and so is the rest.
        data: labelled images.
        batch_size: images a batch.
        pixels: what the model takes.
        verbose: whether to show progress.

    Raises:
        ValueError: as `evaluate`.
    """
    say_pixels(model, pixels)
    model = classifier_of(model)
    check_classifier(model)
    check_weights(model)
    batches = as_batches(data, model, batch_size)
    answers, labels, weights = [], [], []
    with progress(len(batches), "evaluating", "batches", verbose) as advance:
        for images, batch_labels, *batch_weights in batches.each():
            answers.append(np.asarray(model.predict_on_batch(images), "float32"))
            labels.append(batch_labels)
            weights += batch_weights
            advance(1)
    found = np.concatenate(answers)
    check_finite(found, f"answers of {model.name!r}")
    return Measured(
        probabilities_of(model, found),
        np.concatenate(labels),
        np.concatenate(weights) if weights else None,
    )
