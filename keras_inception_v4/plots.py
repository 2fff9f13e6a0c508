"""Plots, saved as PNG files. They need the extra `demo` (matplotlib)."""

import os

import numpy as np

from keras_inception_v4.errors import require_extra
from keras_inception_v4.files import printable, replacing


def require_matplotlib():
    """Import and return `matplotlib.figure`.

    Call it before long work that ends with plots, to report a missing package early.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
    """
    return require_extra("matplotlib.figure", "Pictures need", "matplotlib", "demo")


def _figure(width: float, height: float, columns: int = 1):
    figure = require_matplotlib().Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _plain(figure) -> None:
    """Turn off math markup in all texts of a figure, to draw `$` as it is."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)


def save_figure(figure, path: str | os.PathLike) -> None:
    """Write a matplotlib figure as a PNG, completely or not at all."""
    with replacing(path) as new:
        _plain(figure)
        figure.savefig(new, dpi=100, bbox_inches="tight", pad_inches=0.1)


def plot_curves(
    phases: dict[str, dict[str, list[float]]],
    path: str | os.PathLike,
    *,
    metric: str = "accuracy",
    label: str = "accuracy (%)",
    scale: float = 100,
    loss_label: str = "loss (nats)",
) -> None:
    """Draw loss and a metric over the epochs, for training and held-out set, as a PNG.

    Args:
        phases: Name of each phase of a run, in order, to its history. A history has `loss`, the
            metric and, if there is a held-out set, both with the prefix `val_`, one number per
            epoch. A line separates the phases.
        path: PNG file to write.
        metric: Name of the metric in the history.
        label: Name of the metric in the plot, with its unit.
        scale: Factor by which the metric's values are multiplied.
        loss_label: Name of the loss in the plot, with its unit.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
    """
    figure, axes = _figure(9, 3.6, columns=2)
    phases = {name: history for name, history in phases.items() if history.get("loss")}
    ends = np.cumsum([len(history["loss"]) for history in phases.values()])
    epochs = np.arange(1, ends[-1] + 1)
    for axis, key in zip(axes, ("loss", metric), strict=True):
        factor = 1 if key == "loss" else scale
        for name, line in ((key, "training"), (f"val_{key}", "held-out")):
            if all(name in history for history in phases.values()):
                values = factor * np.concatenate([history[name] for history in phases.values()])
                axis.plot(epochs, values, marker="o", markersize=3, label=line)
        starts = [0, *ends[:-1]]
        for name, start in zip(phases, starts, strict=True) if len(phases) > 1 else []:
            if start:
                axis.axvline(start + 0.5, color="grey", linewidth=1, linestyle="--")
            axis.annotate(name, (start + 0.6, 1.01), xycoords=("data", "axes fraction"), fontsize=9)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label if key == metric else loss_label)
        axis.set_xticks(epochs[:: -(-len(epochs) // 12)])
        axis.grid(alpha=0.3)
        axis.legend()
    save_figure(figure, path)


def plot_classes(
    class_names: list[str], measures: dict[str, list], path: str | os.PathLike
) -> None:
    """Draw metrics of each class as bars, as a PNG.

    Args:
        class_names: One name per class. More than 60 are not written out.
        measures: Name of each metric to one number per class, 0 to 1, or `None` if undefined.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
    """
    places = np.arange(len(class_names))
    figure, (axis,) = _figure(6.5, min(1.6 + 0.32 * len(class_names), 14))
    height = 0.8 / len(measures)
    for index, (name, values) in enumerate(measures.items()):
        shares = [100 * (value or 0) for value in values]
        bars = axis.barh(places + index * height - 0.4 + height / 2, shares, height, label=name)
        if len(class_names) <= 25:
            texts = ["none" if v is None else f"{100 * v:.0f}" for v in values]
            axis.bar_label(bars, texts, padding=2, fontsize=8)
    if len(class_names) <= 60:
        axis.set_yticks(places, [_shorten(name) for name in class_names])
    axis.invert_yaxis()
    axis.set_xlim(0, 108)
    axis.set_xlabel("%")
    axis.legend(bbox_to_anchor=(0.5, 1.0), loc="lower center", ncols=len(measures))
    save_figure(figure, path)


def plot_scatter(targets, answers, names: list[str], path: str | os.PathLike) -> None:
    """Draw outputs over targets as a PNG, one point per image.

    Up to six targets are drawn, side by side.

    Args:
        targets: Array of shape `(images, targets)`.
        answers: Outputs of the same shape.
        names: One name per target.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
    """
    targets, answers = np.asarray(targets), np.asarray(answers)
    count = min(len(names), 6)
    figure, axes = _figure(1 + 3.6 * count, 4, columns=count)
    for index, axis in enumerate(axes):
        x, y = targets[:, index], answers[:, index]
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        axis.plot([low, high], [low, high], color="grey", linewidth=1, linestyle="--")
        axis.scatter(x, y, s=12, alpha=0.5)
        axis.set_title(_shorten(names[index]))
        axis.set_xlabel("target")
        axis.set_ylabel("prediction")
        axis.grid(alpha=0.3)
    save_figure(figure, path)


def plot_confusion_matrix(matrix, class_names: list[str], path: str | os.PathLike) -> None:
    """Draw a confusion matrix as a PNG, true classes down, predicted classes across.

    Args:
        matrix: Counts of shape `(classes, classes)`.
        class_names: One name per class. More than 40 are not written out.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
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
    image,
    overlaid,
    activation_map,
    top: list[tuple[str, float]],
    explained: str,
    path,
    *,
    quantity: bool = False,
    unit: str = "logits",
) -> None:
    """Draw an image, a map over it, and the best classes, as a PNG.

    Args:
        image: Array of shape `(height, width, 3)`, RGB, 0 to 255.
        overlaid: The same image with the map in colour.
        activation_map: Array of shape `(h, w)`.
        top: Best classes as `(name, probability)`, the best first.
        explained: Name of the class that the map explains.
        path: PNG file to write.
        quantity: Whether the outputs are quantities instead of probabilities.
        unit: Unit of the map's values.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
    """
    figure, (left, middle, right) = _figure(11, 3.6, columns=3)
    left.imshow(np.asarray(image, "uint8"))
    left.set_title("image")
    middle.imshow(overlaid)
    low, high = np.min(activation_map), np.max(activation_map)
    span = f"{low:.3g} to {high:.3g} {unit}".rstrip()
    middle.set_title(f"where “{_shorten(explained)}” was seen\n({span})")
    for axis in (left, middle):
        axis.set_axis_off()
    names = [_shorten(name) for name, _ in top][::-1]
    values = [value if quantity else 100 * value for _, value in top][::-1]
    bars = right.barh(range(len(top)), values, color="#3b6ea5")
    right.bar_label(bars, fmt="%.3g" if quantity else "%.1f", padding=3)
    right.set_yticks(range(len(top)), names)
    if quantity:
        right.margins(x=0.2)
        right.set_xlabel("value")
    else:
        right.set_xlim(0, 115)
        right.set_xticks(range(0, 101, 25))
        right.set_xlabel("probability (%)")
    save_figure(figure, path)


def _shorten(name: str, length: int = 22) -> str:
    name = printable(name.replace("_", " "))
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plot_feature_maps(image, maps: dict, path: str | os.PathLike) -> None:
    """Draw an image and the channel mean of each of its feature maps, as a PNG.

    Args:
        image: Array of shape `(height, width, 3)`, RGB, 0 to 255.
        maps: Name of each feature map to an array of shape `(height, width, channels)`, the output
            of `feature_extractor` for one image.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
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


def plot_gallery(
    sections: dict[str, list[tuple[np.ndarray, str]]],
    path: str | os.PathLike,
    *,
    columns: int = 8,
    aspect: float = 1.0,
) -> None:
    """Draw pictures with captions, section by section, as a PNG.

    Args:
        sections: Title of each section to its pictures with captions. A picture is an array of
            shape `(height, width, 3)`, RGB, 0 to 255.
        path: PNG file to write.
        columns: Pictures per row.
        aspect: Width of a picture divided by its height.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
    """
    rows = {title: -(-len(tiles) // columns) for title, tiles in sections.items()}
    high = max(1, sum(rows.values()))
    whole = require_matplotlib().Figure(
        figsize=(1.6 * aspect * columns, 2.1 * high), layout="constrained"
    )
    parts = whole.subfigures(
        max(1, len(sections)), 1, squeeze=False, height_ratios=[*rows.values()] or None
    )[:, 0]
    for part, (title, tiles) in zip(parts, sections.items(), strict=False):
        part.suptitle(printable(title), fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes = part.subplots(rows[title], columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, (pixels, caption) in zip(axes.flat, tiles, strict=False):
            axis.imshow(np.asarray(pixels, "uint8"))
            lines = [_shorten(line, int(22 * aspect)) for line in caption.splitlines()]
            axis.set_title("\n".join(lines), fontsize=7)
    if not sections:
        parts[0].suptitle("nothing to show", fontsize=11)
    save_figure(whole, path)


def require_pca():
    """Import and return scikit-learn's class for principal component analysis.

    Raises:
        ImportError: If scikit-learn is missing. The message names the extra.
    """
    module = "sklearn.decomposition"
    return require_extra(module, "Pictures of embeddings need", "scikit-learn", "demo").PCA


def plot_embedding(features, groups: list[str], path: str | os.PathLike) -> None:
    """Draw images as points on the first two principal components, as a PNG.

    Each image's features are first scaled to unit length, as in retrieval.

    Args:
        features: Array of shape `(images, features)`, with at least two images.
        groups: Name of the group of each image. Colours repeat after ten groups, and more than
            twenty groups have no legend.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib or scikit-learn is missing. The message names the extra.
    """
    features = np.asarray(features, "float64")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    features = features / np.where(lengths == 0, 1, lengths)
    analysis = require_pca()(2, svd_solver="full")
    with np.errstate(invalid="ignore"):  # identical images have no variance
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
