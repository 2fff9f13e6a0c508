"""Numbers to estimate: a linear head, Huber's loss, targets in their own units."""

import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.architecture import REGRESSION
from keras_inception_v4.tasks.base import (
    Comparison,
    Task,
    check_sample_weight,
    require_scikit_learn,
)

SAME = 0.25  # standard deviations within which two answers count as the same decision
RANGE = 6  # standard deviations


class Regression(Task):
    """Each picture has one or several quantities."""

    name = REGRESSION
    activation = "linear"
    metric = "mean_absolute_error"
    metric_label = "mean absolute error (standard deviations)"
    loss_label = "loss (squared standard deviations)"
    value, outputs = "value", "targets"
    unit = " of six standard deviations of the answers"
    movement = "of one"
    decision = f"the answer is, within {SAME:g} of one,"
    same = f"answers within {SAME:g} standard deviations"
    picture = "scatter.png"
    standardized = True

    def field(self, outputs):
        """A number for each target."""
        return "label", "float32", (outputs,)

    def check_targets(self, labels, outputs):
        """float32 `(images, targets)`, finite."""
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
        """Huber's: squares up to one standard deviation, then lines; the mean over the targets.

        Source: Huber, "Robust Estimation of a Location Parameter", 1964.
        """
        import keras

        return keras.losses.Huber(delta=1.0)

    def measure(self, given, names, thresholds=None):
        """As `regression_report`."""
        return regression_report(given.answers, given.targets, names, given.weights)

    def each(self, given, names, thresholds=None):
        """`label`, `predicted` and `error` are lists, a number a target, in its unit.

        `loss` is the mean square of the errors, each over the standard deviation of its targets.
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
        """R2, the mean over the targets, and the errors where there is one target."""
        rows = [[f"{prefix}R2", _number(report["r2"])]]
        if len(report["per_target"]) == 1:
            (row,) = report["per_target"].values()
            rows.append([f"{prefix}mean absolute error", _number(row["mean_absolute_error"])])
            error = _number(row["root_mean_squared_error"])
            rows.append([f"{prefix}root mean squared error", error])
        return rows

    def scalars(self, report):
        """R2, and the errors of each target."""
        errors = {
            f"{name}: {kind.replace('_', ' ')}": row[kind]
            for name, row in report["per_target"].items()
            for kind in ("mean_absolute_error", "root_mean_squared_error")
        }
        return {"R2": report["r2"], **errors}

    def table(self, report):
        """Measures of each target."""
        header = ["target", "mean absolute error", "root mean squared error", "R2"]
        keys = ("mean_absolute_error", "root_mean_squared_error", "r2")
        return header, [
            [name, *(_number(row[key]) for key in keys)]
            for name, row in report["per_target"].items()
        ]

    def draw(self, given, report, names, path):
        """Answers over targets, an image a point."""
        plots.plot_scatter(given.targets, given.answers, names, path)

    def answer(self, row, names, top=None, thresholds=None):
        """All targets, in their own units and order."""
        return [(name, float(value)) for name, value in zip(names, row, strict=True)]

    def compare(self, expected, found, thresholds=None):
        """Relative to the standard deviation of the model's own answers, or six for the largest.

        Six of them hold nearly all answers, as 0 to 1 holds all probabilities. Decisions are
        answers near by.
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
        """The least, the middle and the greatest of the first target."""
        order = np.argsort(np.asarray(targets).reshape(len(targets), -1)[:, 0], kind="stable")
        return {
            "least": int(order[0]),
            "middle": int(order[len(order) // 2]),
            "greatest": int(order[-1]),
        }


def regression_report(answers, targets, names: list[str], sample_weight=None) -> dict:
    """Metrics of estimated quantities.

    Args:
        answers: `(images, targets)`, in the targets' units.
        targets: likewise.
        names: one name a target.
        sample_weight: what each image counts, `(images,)`; all alike if `None`.

    Returns:
        `images`, `r2` (the mean over the targets) and `per_target`: name to
        `mean_absolute_error`, `root_mean_squared_error` (in the target's unit) and `r2` (1 is
        exact, 0 what the mean of the targets would give; `None` where all targets are alike).

    Raises:
        ValueError: if all sample weights are 0.
        ImportError: without scikit-learn; the message names the extra.
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
