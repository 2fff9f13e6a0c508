"""Draws the rooms of the package by their floors: `python docs/floors.py` writes `floors.svg`.

The floors are the table of tests/test_layout.py, the words the first lines of the docstrings.
"""

import ast
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
DRAWING = ROOT / "docs" / "floors.svg"
WIDTH, MARGIN, ROOM, HEIGHT, GAP, A_ROW, A_LINE = 960, 40, 298, 58, 8, 3, 54


def floors() -> dict[int, list[str]]:
    """Return the rooms of each floor, the highest first."""
    tree = ast.parse((ROOT / "tests" / "test_layout.py").read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "FLOORS"
    )
    by_room = ast.literal_eval(table)
    return {
        floor: sorted(room for room, own in by_room.items() if own == floor)
        for floor in sorted(set(by_room.values()), reverse=True)
    }


def about(room: str) -> str:
    """Return the first line of a room's docstring."""
    path = ROOT / "keras_inception_v4" / room
    module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(module.read_text())).splitlines()[0]


def drawing() -> str:
    """Return the SVG: a row of boxes a floor, `cli` on top."""
    parts, top = [], GAP
    for floor, rooms in floors().items():
        rows = [rooms[first : first + A_ROW] for first in range(0, len(rooms), A_ROW)]
        height = len(rows) * (HEIGHT + GAP)
        parts.append(f'<text x="10" y="{top + 24}" font-size="15" fill="#888">{floor}</text>')
        for row, named in enumerate(rows):
            for column, room in enumerate(named):
                x, y = MARGIN + column * (ROOM + GAP), top + row * (HEIGHT + GAP)
                parts.append(_box(room, x, y))
        top += height + GAP
        parts.append(f'<line x1="0" y1="{top - GAP}" x2="{WIDTH}" y2="{top - GAP}" stroke="#ddd"/>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" '
        'font-family="sans-serif">'
    )
    page = f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>'
    return "\n".join([head, page, *parts, "</svg>", ""])


def _box(room: str, x: int, y: int) -> str:
    lines = textwrap.wrap(about(room), A_LINE, max_lines=2, placeholder=" ...")
    words = "".join(
        f'<text x="{x + 10}" y="{y + 36 + 14 * number}" font-size="11" fill="#333">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{ROOM}" height="{HEIGHT}" rx="5" fill="#eef3f9" '
        f'stroke="#2563a8"/><text x="{x + 10}" y="{y + 19}" font-size="14" font-weight="bold" '
        f'fill="#1b3f68">{room}</text>{words}'
    )


if __name__ == "__main__":
    DRAWING.write_text(drawing())
