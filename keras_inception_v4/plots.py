"""Numbers to pictures on disk. Needs the extra `demo` (matplotlib)."""

import os

import numpy as np

from keras_inception_v4.errors import require_extra
from keras_inception_v4.files import printable, replacing


def require_matplotlib():
    """Imports and returns `matplotlib.figure`; call it before work whose pictures come last.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    return require_extra("matplotlib.figure", "Pictures need", "matplotlib", "demo")


def _figure(width: float, height: float, columns: int = 1):
    figure = require_matplotlib().Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _plain(figure) -> None:
    """Makes every text of a figure what it says: `$` is no markup."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)


def save_figure(figure, path: str | os.PathLike) -> None:
    """Writes a matplotlib figure as a PNG, whole or not at all."""
    with replacing(path) as new:
        _plain(figure)
        figure.savefig(new, dpi=100, bbox_inches="tight", pad_inches=0.1)


def plot_curves(phases: dict[str, dict[str, list[float]]], path: str | os.PathLike) -> None:
    """Draws loss and accuracy over the epochs, training and held-out, as a PNG.

    Args:
        phases: name of each phase of a run, in order, to its history: `loss`, `accuracy` and,
            if any, `val_loss`, `val_accuracy`, one number an epoch. A line parts the phases.
        path: where the PNG goes.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    figure, axes = _figure(9, 3.6, columns=2)
    phases = {name: history for name, history in phases.items() if history.get("loss")}
    ends = np.cumsum([len(history["loss"]) for history in phases.values()])
    epochs = np.arange(1, ends[-1] + 1)
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        scale = 100 if metric == "accuracy" else 1
        for key, label in ((metric, "training"), (f"val_{metric}", "held-out")):
            if all(key in history for history in phases.values()):
                values = scale * np.concatenate([history[key] for history in phases.values()])
                axis.plot(epochs, values, marker="o", markersize=3, label=label)
        starts = [0, *ends[:-1]]
        for name, start in zip(phases, starts, strict=True) if len(phases) > 1 else []:
            if start:
                axis.axvline(start + 0.5, color="grey", linewidth=1, linestyle="--")
            axis.annotate(name, (start + 0.6, 1.01), xycoords=("data", "axes fraction"), fontsize=9)
        axis.set_xlabel("epoch")
        axis.set_ylabel("accuracy (%)" if metric == "accuracy" else "loss (nats)")
        axis.set_xticks(epochs[:: -(-len(epochs) // 12)])
        axis.grid(alpha=0.3)
        axis.legend()
    save_figure(figure, path)


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
    class_names = [printable(name) for name in class_names]
    classes = len(class_names)
    side = min(4 + 0.35 * classes, 12)
    figure, (axis,) = _figure(side + 1, side)
    image = axis.imshow(matrix, cmap="Blues", vmin=0)
    figure.colorbar(image, ax=axis, label="images", shrink=0.8)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    if classes <= 40:
        rotation = 0 if max(map(len, class_names)) <= 2 else 90
        axis.set_xticks(range(classes), class_names, rotation=rotation)
        axis.set_yticks(range(classes), class_names)
    if classes <= 20:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = matrix[row, column] > matrix.max() / 2
            axis.text(
                column,
                row,
                matrix[row, column],
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    save_figure(figure, path)


def plot_explanation(
    image, overlaid, activation_map, top: list[tuple[str, float]], explained: str, path
) -> None:
    """Draws an image, a class activation map over it, and the best classes, as a PNG.

    Args:
        image: `(height, width, 3)`, RGB, 0 to 255.
        overlaid: the same with the map in colour.
        activation_map: `(h, w)`, logits per cell.
        top: the best classes as `(name, probability)`, best first.
        explained: the class of the map.
        path: where the PNG goes.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    figure, (left, middle, right) = _figure(11, 3.6, columns=3)
    left.imshow(np.asarray(image, "uint8"))
    left.set_title("image")
    middle.imshow(overlaid)
    low, high = np.min(activation_map), np.max(activation_map)
    middle.set_title(f"where “{_shorten(explained)}” was seen\n({low:.1f} to {high:.1f} logits)")
    for axis in (left, middle):
        axis.set_axis_off()
    names = [_shorten(name) for name, _ in top][::-1]
    shares = [100 * probability for _, probability in top][::-1]
    bars = right.barh(range(len(top)), shares, color="#3b6ea5")
    right.bar_label(bars, fmt="%.1f", padding=3)
    right.set_yticks(range(len(top)), names)
    right.set_xlim(0, 115)
    right.set_xticks(range(0, 101, 25))
    right.set_xlabel("probability (%)")
    save_figure(figure, path)


def _shorten(name: str, length: int = 22) -> str:
    name = printable(name.replace("_", " "))
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plot_feature_maps(image, maps: dict, path: str | os.PathLike) -> None:
    """Draws an image and the mean over the channels of each of its feature maps, as a PNG.

    Args:
        image: `(height, width, 3)`, RGB, 0 to 255.
        maps: name to `(height, width, channels)`, as one image of `feature_extractor`.
        path: where the PNG goes.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    figure, axes = _figure(2.3 * (1 + len(maps)), 2.8, columns=1 + len(maps))
    axes[0].imshow(np.asarray(image, "uint8"))
    axes[0].set_title("image")
    for axis, (name, grid) in zip(axes[1:], maps.items(), strict=True):
        grid = np.asarray(grid, "float32")
        axis.imshow(grid.mean(axis=2), cmap="viridis")
        axis.set_title(f"{name}\n{' x '.join(map(str, grid.shape))}", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    save_figure(figure, path)


def require_pca():
    """Imports and returns scikit-learn's principal component analysis.

    Raises:
        ImportError: without scikit-learn; the message names the extra.
    """
    module = "sklearn.decomposition"
    return require_extra(module, "Pictures of embeddings need", "scikit-learn", "demo").PCA


def plot_embedding(features, groups: list[str], path: str | os.PathLike) -> None:
    """Draws images as points on the first two principal components, as a PNG.

    Each image's features are scaled to unit length first, as retrieval compares them.

    Args:
        features: `(images, features)`, at least two images.
        groups: one name an image; each gets a colour, up to twenty of them.
        path: where the PNG goes.

    Raises:
        ImportError: without matplotlib or scikit-learn; the message names the extra.
    """
    features = np.asarray(features, "float64")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    features = features / np.where(lengths == 0, 1, lengths)
    analysis = require_pca()(2, svd_solver="full")
    with np.errstate(invalid="ignore"):  # images that are all alike have no variance to share
        points = analysis.fit_transform(features)
    shares = 100 * np.nan_to_num(analysis.explained_variance_ratio_)
    figure, (axis,) = _figure(6.5, 5)
    names = sorted(set(groups))
    for index, name in enumerate(names):
        chosen = points[np.asarray(groups) == name]
        axis.scatter(*chosen.T, s=12, color=f"C{index % 10}", label=_shorten(name))
    if 1 < len(names) <= 20:
        axis.legend(bbox_to_anchor=(1.02, 1), loc="upper left", markerscale=1.5)
    axis.set_xlabel(f"first principal component ({shares[0]:.0f} % of the variance)")
    axis.set_ylabel(f"second ({shares[1]:.0f} %)")
    axis.grid(alpha=0.3)
    save_figure(figure, path)
