"""Evaluation of a model on labelled images."""

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
    """Measure a model on labelled images.

    Args:
        model: Model of this package that returns probabilities, logits or quantities.
        data: Arrays (images, labels) or (images, labels, weights), or batches of such, as in
            `train_head`; raw pixels, 0 to 255, channels last.
        class_names: Names of the classes or quantities, in their order. Defaults to ImageNet's for
            1000 classes, else to the index.
        batch_size: Images per batch, for data that are not batched yet. Defaults to 32.
        thresholds: For several classes an image: probability from which on a class is predicted, 0
            to 1; one number, or one for each class. Defaults to 0.5.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.
        answers: Whether to return the prediction for every image too.
        verbose: As in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The measures of the model's task: those of `tasks.single_label.classification_report`,
        `tasks.multi_label.multi_label_report` or `tasks.regression.regression_report`. With
        `answers` there is also `answers`, a dict of columns with one value an image: `label`,
        `predicted`, `correct`, `rank` (of the label, 1 to classes), `loss` (cross entropy, nats),
        `margin` (probability of the label minus that of the best other class, -1 to 1), `classes`
        and `probabilities` (lists, the best five first), and `weight` if the data have weights.
        The columns of other tasks: see `each` of `tasks.multi_label.MultiLabel` and
        `tasks.regression.Regression`.

    Raises:
        ValueError: If the data are of another kind, or labels are not classes of the model.
        ImportError: If scikit-learn is not installed; the message names the extra.

    Examples:
        ```python
        import keras
        from keras_inception_v4 import evaluate
        from keras_inception_v4.data.digits import load_digits_data

        model = keras.saving.load_model("runs/digits/model.keras")
        held_out = load_digits_data(75).validation
        report = evaluate(model, (held_out.pixels, held_out.labels))
        print(report["accuracy"], report["calibration_error"])
        ```
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
    """Return the prediction for every image, one list per column, as in `evaluate`."""
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
    """Return a model's outputs, as probabilities if it has classes, with their targets.

    Args:
        model: Model as in `evaluate`.
        data: Labelled images as in `evaluate`.
        batch_size: Images per batch.
        pixels: Pixel range that the model takes, as in `evaluate`.
        verbose: Whether to show progress.

    Raises:
        ValueError: As in `evaluate`.
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
    check_finite(found, f"outputs of {model.name!r}")
    return Measured(
        probabilities_of(model, found),
        np.concatenate(labels),
        np.concatenate(weights) if weights else None,
    )
