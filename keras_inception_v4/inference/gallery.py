"""The pictures that a model was worst at and least certain of, with maps of where it looked."""

import os
from typing import NamedTuple

import numpy as np

from keras_inception_v4.data.pipeline import padded
from keras_inception_v4.data.sources import ImageFiles
from keras_inception_v4.files import printable
from keras_inception_v4.inference.explanation import overlays
from keras_inception_v4.plots import plot_gallery
from keras_inception_v4.tasks import Measured, Task

SHOWN = 16  # pictures of a section: two batches of a map
WORST, UNCERTAIN = "worst errors", "right, but least certain"


class Shown(NamedTuple):
    """A picture in a gallery.

    Attributes:
        picture: Its index.
        pixels: As the model sees it, uint8 `(height, width, 3)`; beside it, where there is one, the
            map of the class that decided.
        caption: File, label, prediction.
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
    """Pick the pictures with the worst answers, and those that were nearly wrong.

    Args:
        model: That answered.
        files: What it was asked.
        task: Of the model.
        given: Its answers and the targets.
        columns: As `evaluation.columns_of` gives them.
        shown: Pictures of a section, at most.

    Returns:
        Section to pictures; the worst first. Quantities have errors only.
    """
    sections = {}
    for title, chosen in _chosen(columns, shown).items():
        if not chosen:
            continue
        pixels = files.take(chosen)
        decided = [_deciding(task, given, index) for index in chosen]
        full = padded(pixels, shown)  # each size of a batch would be compiled
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
        ImportError: without matplotlib; the message names the extra.
        OSError: if the file cannot be written.
    """
    tiles = {
        title: [(each.pixels, each.caption) for each in pictures]
        for title, pictures in sections.items()
    }
    plot_gallery(tiles, path, columns=4, aspect=2.0)


def caption(files: ImageFiles, columns: dict[str, list], index: int) -> str:
    """Name a picture's file, its label, and what was answered instead."""
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
    """The class that was answered; of several, or of quantities, the one that is furthest off."""
    answer, target = given.answers[index], given.targets[index]
    if np.ndim(target) == 0:
        return int(answer.argmax())
    return int(np.abs(answer - target).argmax())
