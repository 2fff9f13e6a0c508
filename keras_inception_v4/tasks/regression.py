"""Quantities to estimate: a linear head, Huber loss, targets in their own units."""

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.architecture import REGRESSION
from keras_inception_v4.tasks.base import (
    Comparison,
    Task,
    check_sample_weight,
    require_scikit_learn,
)

SAME = 0.25  # standard deviations within which two outputs count as the same decision
RANGE = 6  # standard deviations that span nearly all outputs


class Regression(Task):
    """One or several quantities per image."""

    name = REGRESSION
    activation = "linear"
    metric = "mean_absolute_error"
    metric_label = "mean absolute error (standard deviations)"
    loss_label = "loss (squared standard deviations)"
    value, outputs = "value", "targets"
    unit = " of six standard deviations of the outputs"
    movement = "of one standard deviation"
    decision = f"the output is, within {SAME:g} standard deviations,"
    same = f"outputs within {SAME:g} standard deviations"
    picture = "scatter.png"
    standardized = True

    def field(self, outputs):
        """Return a field with a number for each target."""
        return "label", "float32", (outputs,)

    def check_targets(self, labels, outputs):
        """Return finite float32 targets of shape `(images, targets)`."""
        labels = np.asarray(labels)
        if labels.ndim == 1 and outputs == 1:
            labels = labels[:, None]
        if labels.shape[1:] != (outputs,) or labels.dtype.kind not in "biuf":
            raise ValueError(
                f"Received targets of shape {labels.shape} and dtype {labels.dtype}. They must be "
                f"numbers, {outputs} for each image: (images, {outputs})."
            )
        labels = labels.astype("float32")
        bad = np.count_nonzero(~np.isfinite(labels))
        if bad:
            raise ValueError(f"{bad} targets are not finite (NaN or infinity).")
        return labels

    def loss(self, outputs, *, smoothing=0.0, from_logits=False, weights=None):
        """Return Huber loss, the mean over the targets.

        It is quadratic up to one standard deviation, then linear.

        Source: Huber, "Robust Estimation of a Location Parameter", 1964.
        """
        import keras

        return keras.losses.Huber(delta=1.0)

    def measure(self, given, names, thresholds=None):
        """Return the metrics of `regression_report`."""
        return regression_report(given.answers, given.targets, names, given.weights)

    def each(self, given, names, thresholds=None):
        """Return the prediction for every image, one list per column.

        `label`, `predicted` and `error` are lists of one number per target, in its unit. `loss` is
        the mean square of the errors, each divided by the standard deviation of its target.
        """
        answers, targets = (np.asarray(each, "float64") for each in (given.answers, given.targets))
        spread = targets.std(axis=0)
        errors = answers - targets
        return {
            "label": targets.tolist(),
            "predicted": answers.tolist(),
            "error": errors.tolist(),
            "loss": ((errors / np.where(spread > 0, spread, 1)) ** 2).mean(axis=1).tolist(),
        }

    def rows(self, report, prefix=""):
        """Return R2, the mean over the targets, and the errors if there is one target."""
        rows = [[f"{prefix}R2", _number(report["r2"])]]
        if len(report["per_target"]) == 1:
            (row,) = report["per_target"].values()
            rows.append([f"{prefix}mean absolute error", _number(row["mean_absolute_error"])])
            error = _number(row["root_mean_squared_error"])
            rows.append([f"{prefix}root mean squared error", error])
        return rows

    def scalars(self, report):
        """Return R2, and the errors of each target."""
        errors = {
            f"{name}: {kind.replace('_', ' ')}": row[kind]
            for name, row in report["per_target"].items()
            for kind in ("mean_absolute_error", "root_mean_squared_error")
        }
        return {"R2": report["r2"], **errors}

    def table(self, report):
        """Return the metrics of each target."""
        header = ["target", "mean absolute error", "root mean squared error", "R2"]
        keys = ("mean_absolute_error", "root_mean_squared_error", "r2")
        return header, [
            [name, *(_number(row[key]) for key in keys)]
            for name, row in report["per_target"].items()
        ]

    def draw(self, given, report, names, path):
        """Draw outputs over targets, one point per image."""
        plots.plot_scatter(given.targets, given.answers, names, path)

    def answer(self, row, names, top=None, thresholds=None):
        """Return all targets, in their own units and order."""
        return [(name, float(value)) for name, value in zip(names, row, strict=True)]

    def compare(self, expected, found, thresholds=None):
        """Compare relative to the standard deviation of the model's own outputs.

        A hundredth of their absolute mean is added to it. The largest difference is divided by six
        standard deviations, which span nearly all outputs, as 0 to 1 spans all probabilities.
        Outputs within `SAME` standard deviations are the same decision.
        """
        spread = expected.std(axis=0) + np.abs(expected.mean(axis=0)) / 100
        spread = np.where(spread > 0, spread, 1)
        apart = np.abs(expected - found)
        return Comparison(
            float(apart.max()),
            float((apart / spread).max() / RANGE),
            float(np.mean(apart / spread <= SAME)),
            float((apart / spread).mean()),
        )

    def examples(self, targets, names):
        """Return the images with the least, middle and greatest value of the first target."""
        order = np.argsort(np.asarray(targets).reshape(len(targets), -1)[:, 0], kind="stable")
        return {
            "least": int(order[0]),
            "middle": int(order[len(order) // 2]),
            "greatest": int(order[-1]),
        }


def regression_report(answers, targets, names: list[str], sample_weight=None) -> dict:
    """Return metrics of estimated quantities.

    Args:
        answers: Outputs of shape `(images, targets)`, in the targets' units.
        targets: Targets of the same shape and units.
        names: One name per target.
        sample_weight: Weight of each image, shape `(images,)`. All are equal if `None`.

    Returns:
        A dict with `images` (their number), `r2` (the mean over the targets) and `per_target`. The
        latter maps each name to `mean_absolute_error`, `root_mean_squared_error` (both in the
        target's unit) and `r2`. An `r2` of 1 is exact, 0 is what the mean of the targets would
        give, and `None` means that all targets are equal.

    Raises:
        ValueError: If all sample weights are 0.
        ImportError: If scikit-learn is missing. The message names the extra.
    """
    metrics = require_scikit_learn()
    check_sample_weight(sample_weight)
    answers, targets = np.asarray(answers, "float64"), np.asarray(targets, "float64")
    weigh = {"sample_weight": sample_weight}
    per_target = {}
    for index, name in enumerate(names):
        truth, found = targets[:, index], answers[:, index]
        per_target[name] = {
            "mean_absolute_error": float(metrics.mean_absolute_error(truth, found, **weigh)),
            "root_mean_squared_error": float(
                np.sqrt(metrics.mean_squared_error(truth, found, **weigh))
            ),
            "r2": float(metrics.r2_score(truth, found, **weigh)) if np.ptp(truth) > 0 else None,
        }
    known = [row["r2"] for row in per_target.values() if row["r2"] is not None]
    return {
        "images": len(targets),
        "r2": float(np.mean(known)) if known else None,
        "per_target": per_target,
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
