"""The paper's figures, drawn from the tables in `architecture.py`. Needs the extra `demo`."""

import os
from itertools import groupby

from keras_inception_v4.architecture import (
    DEFAULT_SIZE,
    ENDPOINTS,
    IMAGENET_CLASSES,
    Conv,
    Unit,
    V,
    branch_outputs,
    walk,
)
from keras_inception_v4.costs import Cost, block_name, network_costs
from keras_inception_v4.plots import require_matplotlib, save_figure

COLUMN, ROW, SPACE = 1.0, 0.42, 0.4  # inches
BOX = 0.27  # height of a box
CONV, POOL, JOIN, STAGE = "#cfe2f3", "#f9e2b8", "#ececec", "#d5e8d4"
LINE = "#555555"
NOTES = (
    "k@hxw: k kernels of height h and width w, then\n"
    "batch norm and ReLU\n"
    "/2: in steps of two, which halves the grid\n"
    "V: valid, no padding, so the grid shrinks;\n"
    "all else is padded and keeps its grid\n"
    f"All grids are those of a {DEFAULT_SIZE} x {DEFAULT_SIZE} input."
)


def draw_network(path: str | os.PathLike, *, variant: str = "released") -> None:
    """Draw the network (the paper's figure 9) and its blocks (figures 3 to 8) as one PNG.

    Args:
        path: PNG file to write.
        variant: Variant of the network, as in `InceptionV4`.

    Raises:
        ValueError: If `variant` is unknown.
        ImportError: If matplotlib is not installed; the message names the extra.
    """
    save_figure(network_figure(variant), path)


def network_figure(variant: str = "released"):
    """Return the figure that `draw_network` writes."""
    blocks = dict(walk(variant))
    costs = {cost.endpoint: cost for cost in network_costs(classes=None)}
    stages = {name: list(group) for name, group in groupby(costs, key=block_name)}
    axis = require_matplotlib().Figure().add_subplot()
    bottom = _draw_chain(axis, stages, costs)

    def panel(name: str, left: float, top: float) -> tuple[float, float]:
        endpoints = stages[name] if name == "Stem" else stages[name][:1]
        names = list(costs)
        before = names.index(endpoints[0]) - 1
        incoming = _shape(costs[names[before]]) if before >= 0 else _grid(DEFAULT_SIZE, 3)
        return _draw_blocks(
            axis, name, [(costs[e], blocks[e]) for e in endpoints], incoming, left, top
        )

    left = 2.1 + SPACE
    left, stem_bottom = panel("Stem", left, 0)
    bottom = max(bottom, stem_bottom)
    top = 0.0
    for row in (("Inception-A", "Reduction-A", "Inception-B"), ("Inception-C", "Reduction-B")):
        x, bottoms = left + SPACE, []
        for name in row:
            x, low = panel(name, x, top)
            bottoms.append(low)
            x += SPACE
        top = max(bottoms) + SPACE
    axis.text(x, top - SPACE, NOTES, fontsize=8, va="bottom", linespacing=1.5)
    bottom = max(bottom, top)
    width = x + 2.9
    axis.set(xlim=(0, width), ylim=(bottom, -0.3))
    axis.set_axis_off()
    axis.set_position((0, 0, 1, 1))
    axis.figure.set_size_inches(width, bottom + 0.3)
    return axis.figure


def _grid(side: int, channels: int) -> str:
    return f"{side} x {side} x {channels}"


def _shape(cost: Cost) -> str:
    return _grid(cost.grid, cost.channels)


def _box(axis, x: float, y: float, width: float, text: str, colour: str) -> None:
    axis.text(x, y, text, ha="center", va="center", fontsize=8)
    axis.bar(x, BOX, width, y - BOX / 2, color=colour, edgecolor=LINE, linewidth=0.8, zorder=2)


def _line(axis, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.plot(*zip(start, end, strict=True), color=LINE, linewidth=0.9, zorder=1)


def _draw_chain(axis, stages: dict[str, list[str]], costs: dict[str, Cost]) -> float:
    """Draw the whole network as a column of boxes and return its bottom."""
    rows = [("Input", _grid(DEFAULT_SIZE, 3), JOIN)]
    for name, endpoints in stages.items():
        count = f"{len(endpoints)} x " if name != "Stem" and len(endpoints) > 1 else ""
        rows.append((count + name, _shape(costs[endpoints[-1]]), STAGE))
    rows += [
        ("Average pooling", str(ENDPOINTS["mixed_7d"].channels), POOL),
        ("Dropout (keep 0.8)", str(ENDPOINTS["mixed_7d"].channels), JOIN),
        ("Softmax", str(IMAGENET_CLASSES), JOIN),
    ]
    axis.text(0, 0, "Inception-v4", fontsize=11, fontweight="bold", va="center")
    for index, (name, shape, colour) in enumerate(rows):
        y = (1 + 1.5 * index) * ROW
        if index:
            _line(axis, (0.8, y - 1.5 * ROW), (0.8, y))
        _box(axis, 0.8, y, 1.5, name, colour)
        axis.text(0.88, y + 0.73 * ROW, shape, fontsize=7, va="center", color=LINE)
    return y + ROW


def _draw_blocks(
    axis,
    title: str,
    blocks: list[tuple[Cost, list[list[Unit]]]],
    incoming: str,
    left: float,
    top: float,
) -> tuple[float, float]:
    """Draw blocks below each other under a title and return their right edge and bottom."""
    columns = max(sum(map(_columns, branches)) for _, branches in blocks)
    middle, width = left + columns * COLUMN / 2, columns * COLUMN - 0.1
    axis.text(left, top, title, fontsize=11, fontweight="bold", va="center")
    y = top + ROW
    _box(axis, middle, y, width, incoming, JOIN)
    alone = False  # whether a single box stands above, not a bar
    for cost, branches in blocks:
        x = middle - sum(map(_columns, branches)) * COLUMN / 2
        depth = 1 + max(units[-1].position or 0 for units in branches)
        join = y + (depth + (len(branches) > 1)) * ROW
        for units in branches:
            x = _draw_branch(axis, units, x, middle if alone else None, y, join)
        alone = len(branches) == 1
        if not alone:
            _box(axis, middle, join, width, f"{cost.endpoint}: {_shape(cost)}", JOIN)
        y = join
    return left + columns * COLUMN, y + BOX


def _columns(units: list[Unit]) -> int:
    return len(branch_outputs(units))


def _draw_branch(
    axis, units: list[Unit], x: float, start: float | None, top: float, join: float
) -> float:
    """Draw one branch between two bars and return its right edge.

    `start` is the middle of the box above, or `None` if there is a bar above.
    """
    columns = _columns(units)
    middle = x + columns * COLUMN / 2
    above = (middle if start is None else start, top)
    for unit in units:
        centre = middle if unit.fork is None else x + (unit.fork + 0.5) * COLUMN
        here = (centre, top + ((unit.position or 0) + 1) * ROW)
        _line(axis, above, here)
        _box(axis, *here, COLUMN - 0.1, _label(unit), CONV if isinstance(unit.op, Conv) else POOL)
        if unit in branch_outputs(units):
            _line(axis, here, (here[0], join))
        else:
            above = here
    return x + columns * COLUMN


def _label(unit: Unit) -> str:
    op = unit.op
    what = f"{op.filters}@" if isinstance(op, Conv) else f"{op.kind} "
    marks = ["/2"] * (op.strides == 2) + ["V"] * (op.padding == V)
    return " ".join([f"{what}{op.height}x{op.width}", *marks])
