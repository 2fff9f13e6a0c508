"""Galleries of a model's worst errors and least certain predictions, with maps."""

import os
from typing import NamedTuple

import numpy as np

from keras_inception_v4.data.pipeline import padded
from keras_inception_v4.data.sources import ImageFiles
from keras_inception_v4.files import printable
from keras_inception_v4.inference.explanation import overlays
from keras_inception_v4.plots import plot_gallery
from keras_inception_v4.tasks import Measured, Task

SHOWN = 16  # pictures per section: two batches for the maps
WORST, UNCERTAIN = "worst errors", "right, but least certain"


class Shown(NamedTuple):
    """A picture in a gallery.

    Attributes:
        picture: Index of the picture in the data.
        pixels: The picture as the model sees it, uint8 of shape `(height, width, 3)`. If there is a
            map, it is beside the picture, which doubles the width.
        caption: File name, label and prediction.
    """

    picture: int
    pixels: np.ndarray
    caption: str


def worst_and_uncertain(
    model,
    files: ImageFiles,
    task: Task,
    given: Measured,
    columns: dict[str, list],
    shown: int = SHOWN,
) -> dict[str, list[Shown]]:
    """Pick the pictures with the worst errors, and those that were right with the least margin.

    Args:
        model: Model that made the predictions.
        files: Pictures that it was given.
        task: Task of the model.
        given: Predictions and targets.
        columns: Columns as returned by `evaluation.columns_of`.
        shown: Largest number of pictures per section.

    Returns:
        Pictures by section title, the worst first. For quantities there are errors only.
    """
    sections = {}
    for title, chosen in _chosen(columns, shown).items():
        if not chosen:
            continue
        pixels = files.take(chosen)
        decided = [_deciding(task, given, index) for index in chosen]
        full = padded(pixels, shown)  # every new batch size would be compiled
        seen = np.clip(pixels, 0, 255).round().astype("uint8")
        over = overlays(model, full, [*decided, *[0] * (len(full) - len(decided))])
        if over is not None:
            seen = np.concatenate([seen, over[: len(seen)]], axis=2)
        sections[title] = [
            Shown(index, picture, caption(files, columns, index))
            for index, picture in zip(chosen, seen, strict=True)
        ]
    return sections


def draw_sections(sections: dict[str, list[Shown]], path: str | os.PathLike) -> None:
    """Write a gallery as a PNG.

    Raises:
        ImportError: If matplotlib is not installed. The message names the extra.
        OSError: If the file cannot be written.
    """
    tiles = {
        title: [(each.pixels, each.caption) for each in pictures]
        for title, pictures in sections.items()
    }
    plot_gallery(tiles, path, columns=4, aspect=2.0)


def caption(files: ImageFiles, columns: dict[str, list], index: int) -> str:
    """Return a caption of a picture: its file name, label and prediction."""
    label, predicted = columns["label"][index], columns["predicted"][index]
    name = os.path.basename(str(files.paths[index]))
    says = f"{_words(label)} → {_words(predicted)}"
    if "probabilities" in columns and columns["probabilities"][index]:
        says += f" {columns['probabilities'][index][0]:.0%}"
    return printable(f"{name}\n{says}")


def _words(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return value if isinstance(value, str) else f"{value:.4g}"


def _chosen(columns: dict[str, list], shown: int) -> dict[str, list[int]]:
    if "margin" not in columns:
        order = np.argsort(-np.asarray(columns["loss"]), kind="stable")
        return {WORST: order[:shown].tolist()}
    margin = np.asarray(columns["margin"])
    order = np.argsort(margin, kind="stable")
    right = np.asarray(columns["correct"])[order]
    return {WORST: order[~right][:shown].tolist(), UNCERTAIN: order[right][:shown].tolist()}


def _deciding(task: Task, given: Measured, index: int) -> int:
    """Return the predicted class; for several classes or quantities, the one with most error."""
    answer, target = given.answers[index], given.targets[index]
    if np.ndim(target) == 0:
        return int(answer.argmax())
    return int(np.abs(answer - target).argmax())
