"""Write all results of an evaluation as one self-contained HTML file."""

import base64
import datetime
import html
import io
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from importlib.resources import files as resources
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.data.sources import ImageFiles
from keras_inception_v4.files import model_file, printable, replacing
from keras_inception_v4.inference.gallery import Shown, caption
from keras_inception_v4.tasks import Measured, Task
from keras_inception_v4.tasks.single_label import reliability

OF_A_CELL = 12  # most pictures per cell of the confusion matrix; the worst are kept
IN_ALL = 1200  # most pictures in all cells together: about 4 MB
SIDE = 96  # largest height of a thumbnail, in pixels
CLASSES = 60  # most classes of a confusion matrix that fits on a screen


class Evaluated(NamedTuple):
    """The results of an evaluation, as input to a report.

    Attributes:
        task: Task of the model.
        names: Names of its classes or quantities.
        files: Pictures that were evaluated.
        given: Predictions and targets.
        columns: Columns as returned by `evaluation.columns_of`.
        measures: Metrics as returned by `evaluation.evaluate`.
    """

    task: Task
    names: list[str]
    files: ImageFiles
    given: Measured
    columns: dict[str, list]
    measures: dict


def write_report(
    path: str | os.PathLike,
    about: Evaluated,
    sections: dict[str, list[Shown]],
    *,
    model: str | os.PathLike | None,
    data: str | os.PathLike,
) -> None:
    """Write measures, curves, confusion matrix, reliability, classes and galleries as one page.

    A click on a cell of the matrix shows its pictures. The page loads nothing from elsewhere.

    Args:
        path: Path of an `.html` file, replaced if it exists.
        about: Results of the evaluation.
        sections: Galleries from `gallery.worst_and_uncertain`.
        model: Model that was evaluated; `None` for the ImageNet weights. A run's training curves
            are shown.
        data: Source of the pictures, for the title.

    Raises:
        ImportError: If matplotlib is not installed. The message names the extra.
        OSError: If the file cannot be written.
    """
    single = about.task.name == SINGLE_LABEL
    body = [
        _section("Measures", _table(["measure", "value"], about.task.rows(about.measures))),
        *_curves(model),
    ]
    cells: dict[str, list] = {}
    if single and len(about.names) <= CLASSES:
        cells = _cells(about)
        body.append(_section("Confusion matrix", _matrix(about, cells)))
    elif single:
        body.append(_section("Most confused", _confused(about)))
    else:
        body.append(_section("All predictions", _drawn(about)))
    if single:
        body.append(_section("Reliability", _reliability(about)))
    each = _table(*about.task.table(about.measures))
    body.append(_section(about.task.outputs.capitalize(), each))
    body += [_section(title.capitalize(), _pictures(shown)) for title, shown in sections.items()]
    told = {
        "title": _text(f"{model or 'ImageNet weights'} on {data}"),
        "note": _text(
            f"{len(about.given.targets):,} pictures, {datetime.date.today()}. Counts of pictures "
            "ignore weights."
        ),
        "body": "\n".join(body),
        "cells": json.dumps(cells).replace("<", "\\u003c"),
    }
    page = resources("keras_inception_v4.inference").joinpath("report.html").read_text("utf-8")
    with replacing(path) as new:
        new.write_text(Template(page).substitute(told), "utf-8")


def _text(value) -> str:
    return html.escape(printable(str(value)))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n{content}</section>"


def _table(header: Sequence, rows: Iterable[Sequence]) -> str:
    def row(cells, tag):
        kinds = ["" if index == 0 else ' class="number"' for index in range(len(cells))]
        content = [
            f"<{tag}{kind}>{_text(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)
        ]
        return f"<tr>{''.join(content)}</tr>"

    lines = [row(header, "th"), *(row(list(cells), "td") for cells in rows)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _image(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _thumbnail(pixels: np.ndarray) -> str:
    image = Image.fromarray(np.clip(pixels, 0, 255).round().astype("uint8"))
    image.thumbnail((SIDE * image.width // min(image.size), SIDE))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=80)
    return _image(file.getvalue(), "jpeg")


def _pictures(shown: list[Shown]) -> str:
    items = [
        f'<li><figure><img alt="{_text(each.caption)}" src="{_thumbnail(each.pixels)}">'
        f"<figcaption>{_text(each.caption)}</figcaption></figure></li>"
        for each in shown
    ]
    return f'<ul class="pictures">{"".join(items)}</ul>'


def _curves(model: str | os.PathLike | None) -> list[str]:
    """Return a section with the training curves, or nothing if the model's folder has none."""
    picture = None if model is None else model_file(model).parent / "curves.png"
    if picture is None or not picture.is_file():
        return []
    source = _image(picture.read_bytes(), "png")
    image = f'<img style="max-width:100%" alt="accuracy and loss by epoch" src="{source}">'
    return [_section("Training", image)]


def _drawn(about: Evaluated) -> str:
    """Return the task's plot of the measures as an image element."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "measures.png"
        about.task.draw(about.given, about.measures, about.names, picture)
        source = _image(picture.read_bytes(), "png")
    return f'<img style="max-width:100%" alt="plot of the measures" src="{source}">'


def _cells(about: Evaluated) -> dict[str, list]:
    """Return source and caption of the pictures of each nonempty cell, the worst first."""
    predicted = about.given.answers.argmax(axis=1)
    order = np.argsort(about.columns["margin"], kind="stable")
    chosen: dict[str, list[int]] = {}
    for index in order:
        key = f"{about.given.targets[index]},{predicted[index]}"
        if len(chosen.setdefault(key, [])) < OF_A_CELL:
            chosen[key].append(int(index))
    kept = [index for cell in chosen.values() for index in cell]
    kept = sorted(kept, key=about.columns["margin"].__getitem__)[:IN_ALL]
    pixels = dict(zip(kept, about.files.take(kept), strict=True))
    return {
        key: [
            [_thumbnail(pixels[index]), caption(about.files, about.columns, index)]
            for index in cell
            if index in pixels
        ]
        for key, cell in chosen.items()
    }


def _matrix(about: Evaluated, cells: dict[str, list]) -> str:
    predicted = about.given.answers.argmax(axis=1)
    counts = np.zeros((len(about.names),) * 2, int)
    np.add.at(counts, (about.given.targets, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in about.names)
    rows = []
    for true, name in enumerate(about.names):
        row = []
        for other, count in enumerate(counts[true]):
            colour = f"background:rgba(var(--ours),{0.75 * shares[true, other]:.2f})"
            says = _text(f"{name}, predicted {about.names[other]}: {count}")
            button = (
                f'<button type="button" data-cell="{true},{other}" title="{says}" '
                f'aria-pressed="false">{count}</button>'
            )
            row.append(f'<td style="{colour}">{button if count else ""}</td>')
        rows.append(f'<tr><th scope="row">{_text(name)}</th>{"".join(row)}</tr>')
    shown = sum(map(len, cells.values()))
    return (
        "<p>Rows are true classes, columns predicted classes. Choose a cell to see its pictures"
        f" ({shown:,} of {len(predicted):,} are in this file).</p>"
        f'<div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><div id="chosen" aria-live="polite"></div>'
    )


def _confused(about: Evaluated) -> str:
    """Return a table of the most confused pairs of classes, for matrices too large for a screen."""
    counts = np.asarray(about.measures["confusion_matrix"], "float64")
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CLASSES]
    pairs = [np.unravel_index(index, counts.shape) for index in order]
    return _table(
        ["class", "predicted", "pictures"],
        [[about.names[a], about.names[b], f"{counts[a, b]:g}"] for a, b in pairs if counts[a, b]],
    )


def _reliability(about: Evaluated) -> str:
    """Return a bar chart of accuracy by confidence, with the line of perfect calibration."""
    bins = reliability(about.given.answers, about.given.targets, about.given.weights)
    side, left = 260, 40

    def x(value):
        return left + side * value

    def y(value):
        return 10 + side * (1 - value)

    width = side / len(bins.images)
    bars = [
        f'<rect x="{left + width * i + 1:.1f}" y="{y(right):.1f}" width="{width - 2:.1f}" '
        f'height="{side * right:.1f}" fill="rgb(59,110,165)"><title>'
        f"confidence {said:.1%}, accuracy {right:.1%}, {count:g} pictures</title></rect>"
        for i, (said, right, count) in enumerate(
            zip(bins.confidence, bins.accuracy, bins.images, strict=True)
        )
        if count
    ]
    ticks = [
        f'<text x="{x(v):.0f}" y="{y(0) + 16:.0f}" text-anchor="middle">{v:.0%}</text>'
        f'<text x="{left - 6}" y="{y(v) + 4:.0f}" text-anchor="end">{v:.0%}</text>'
        for v in (0, 0.5, 1)
    ]
    return (
        f'<svg width="{left + side + 30}" height="{side + 50}" role="img" '
        f'aria-label="accuracy by confidence">{"".join(bars)}'
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="currentColor" '
        f'stroke-dasharray="5 4"/>{"".join(ticks)}'
        f'<text x="{x(0.5):.0f}" y="{y(0) + 34:.0f}" text-anchor="middle">probability of the '
        "prediction</text></svg>"
        f"<p>Accuracy of the predictions, by their probability. On the dashed line, both are "
        f"equal. Calibration error {about.measures['calibration_error']:.1%}.</p>"
    )
