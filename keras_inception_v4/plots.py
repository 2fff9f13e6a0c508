"""Numbers to pictures on disk. Needs the extra `demo` (matplotlib)."""

import os

import numpy as np

from keras_inception_v4.files import replacing


def require_matplotlib():
    """Imports and returns `matplotlib.figure`; call it before work whose pictures come last.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    try:
        from matplotlib import figure
    except ImportError:
        raise ImportError(
            "Pictures need matplotlib: pip install 'keras-inception-v4[demo]'"
        ) from None
    return figure


def _figure(width: float, height: float, columns: int = 1):
    figure = require_matplotlib().Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure, path: str | os.PathLike) -> None:
    with replacing(path) as new:
        figure.savefig(new, dpi=100)


def plot_curves(history: dict[str, list[float]], path: str | os.PathLike) -> None:
    """Draws loss and accuracy over the epochs, training and held-out, as a PNG.

    Args:
        history: `loss`, `accuracy` and, if any, `val_loss`, `val_accuracy`, one number an epoch.
        path: where the PNG goes.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    figure, axes = _figure(9, 3.6, columns=2)
    epochs = np.arange(1, len(history["loss"]) + 1)
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        scale = 100 if metric == "accuracy" else 1
        for key, label in ((metric, "training"), (f"val_{metric}", "held-out")):
            if key in history:
                values = scale * np.asarray(history[key], float)
                axis.plot(epochs, values, marker="o", markersize=3, label=label)
        axis.set_xlabel("epoch")
        axis.set_ylabel("accuracy (%)" if metric == "accuracy" else "loss (nats)")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    _save(figure, path)


def plot_confusion_matrix(matrix, class_names: list[str], path: str | os.PathLike) -> None:
    """Draws a confusion matrix as a PNG, true classes down, predicted ones across.

    Args:
        matrix: counts `(classes, classes)`.
        class_names: one name a class; not written out beyond 40 classes.
        path: where the PNG goes.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    matrix = np.asarray(matrix)
    classes = len(class_names)
    side = min(4 + 0.35 * classes, 12)
    figure, (axis,) = _figure(side + 1, side)
    image = axis.imshow(matrix, cmap="Blues", vmin=0)
    figure.colorbar(image, ax=axis, label="images", shrink=0.8)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    if classes <= 40:
        axis.set_xticks(range(classes), class_names, rotation=90 if classes > 10 else 45, ha="right")
        axis.set_yticks(range(classes), class_names)
    if classes <= 20:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = matrix[row, column] > matrix.max() / 2
            axis.text(
                column, row, matrix[row, column], ha="center", va="center",
                color="white" if dark else "black",
            )
    _save(figure, path)
