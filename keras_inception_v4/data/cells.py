"""What the cells of a table say of a picture: one class, several, or numbers."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from keras_inception_v4.data.layout import few
from keras_inception_v4.tasks import task_named

SEPARATORS = "|;"  # of several names in one cell; a comma may be, see `_comma_lists`
NO_FLAG = "neither 0 nor 1 (numbers to estimate are for --task regression)"
FALSE, TRUE = ("0", "0.0", "false"), ("1", "1.0", "true")


@dataclass(frozen=True)
class Targets:
    """Targets of rows, of which some cannot be used.

    `values` are integers `(rows,)` for one class an image, else numbers `(rows, names)`; `reasons`
    maps a row to why it has none, with a place for the picture's `{name}`.
    """

    task: str
    names: list[str]
    values: np.ndarray
    reasons: dict[int, str]

    def of_rows(self, rows: list[int], *, known: bool) -> "Targets":
        """Targets of some rows, all sound; without the classes that are left with no row.

        Args:
            rows: which.
            known: whether the names are those of a model, and stay.
        """
        values = self.values[rows]
        if known or self.task == REGRESSION:
            return replace(self, values=values, reasons={})
        left = sorted(set(range(len(self.names))) - set(self.absent(values)))
        values = np.searchsorted(left, values) if self.task == SINGLE_LABEL else values[:, left]
        return replace(self, names=[self.names[i] for i in left], values=values, reasons={})

    def classes(self) -> np.ndarray:
        """What a split looks at: the values, or nothing for quantities."""
        return self.values[:, :0] if self.task == REGRESSION else self.values

    def absent(self, values: np.ndarray) -> list[int]:
        """Classes without an image among some values; quantities have none."""
        if self.task == REGRESSION:
            return []
        if values.ndim == 2:
            return np.flatnonzero(values.sum(axis=0) == 0).tolist()
        return np.flatnonzero(np.bincount(values, minlength=len(self.names)) == 0).tolist()


def read_targets(
    table: Path, columns: dict[str, list[str]], *, task: str | None, names: list[str] | None
) -> Targets:
    """Targets from the cells of one or several columns.

    One column has the name of a class, several names with `|`, `;` or a comma between them, or a
    number; of several columns each is a class with 0 and 1, or a number. An empty cell among
    several classes is a picture with none of them, where that task was asked for.

    Args:
        table: where they are from.
        columns: name to text cells.
        task: of `TASKS`; `None` takes several classes where cells hold several names with `|` or
            `;` or there are several columns, else one class. Numbers are quantities only if that
            is asked for.
        names: of the classes or quantities, where they are known.

    Raises:
        ValueError: for cells that cannot be read in one way, and names that are not known.
    """
    (first, *others) = columns
    guessed = task is None
    if task is None:
        task = MULTI_LABEL if others or _hold_several(columns[first]) else SINGLE_LABEL
    task_named(task)
    if task == REGRESSION:
        return _numbers(table, columns, names)
    if others:
        if task == SINGLE_LABEL:
            raise ValueError(
                f"{table} has {len(columns)} columns of labels. One class a picture needs one; for "
                "several classes a picture pass --task multi-label."
            )
        return _flags(table, columns, names)
    cells = [unicodedata.normalize("NFC", cell) for cell in columns[first]]
    if task == MULTI_LABEL:
        return _several(table, cells, names, guessed)
    return _one(table, cells, names, guessed)


def _one(table: Path, cells: list[str], names: list[str] | None, guessed: bool) -> Targets:
    reasons: dict[int, str] = {}
    lists = {cell for cell in cells if any(mark in cell for mark in SEPARATORS)}
    if guessed:  # a comma may also belong to a name, if somebody says that a picture has one
        lists |= _comma_lists(cells)
    for row, cell in enumerate(cells):
        if not cell:
            reasons[row] = "has no label for {name}"
        elif cell in lists and cell not in (names or ()):
            text = repr(cell).replace("{", "{{").replace("}", "}}")
            reasons[row] = (
                f"has several labels for {{name}}: {text}; a picture has one, but for --task "
                "multi-label"
            )
    found = sorted({cell for row, cell in enumerate(cells) if row not in reasons})
    if names is None:
        _check_names(table, found)
    places = _places(table, found, names)
    values = [places.get(cell, -1) if row not in reasons else -1 for row, cell in enumerate(cells)]
    return Targets(SINGLE_LABEL, list(places), np.array(values, "int64"), reasons)


def _several(table: Path, cells: list[str], names: list[str] | None, guessed: bool) -> Targets:
    marks = [mark for mark in SEPARATORS if any(mark in cell for cell in cells)]
    mark = marks[0] if marks else ","
    parts = [
        [cell]
        if names is not None and cell in names
        else [name.strip() for name in cell.split(mark) if name.strip()]
        for cell in cells
    ]
    if mark != ",":
        all_names = {name for row in parts for name in row}
        commas = [{part.strip() for part in name.split(",")} for name in all_names if "," in name]
        if any(several <= all_names for several in commas):
            marks.append(",")
    if len(marks) > 1:
        raise ValueError(
            f"{table} has labels with {' and with '.join(map(repr, marks))} between names. Use one "
            "of them."
        )
    reasons = {}
    if guessed:  # who says multi-label may leave a cell empty
        empty = "has no label for {name}; with --task multi-label it would show no class"
        reasons = {row: empty for row, found in enumerate(parts) if not found}
    places = _places(table, sorted({name for row in parts for name in row}), names)
    values = np.zeros((len(cells), len(places)), "float32")
    for row, found in enumerate(parts):
        values[row, [places[name] for name in found]] = 1
    return Targets(MULTI_LABEL, list(places), values, reasons)


def _flags(table: Path, columns: dict[str, list[str]], names: list[str] | None) -> Targets:
    missing = [name for name in names or () if name not in columns]
    if missing:
        raise ValueError(f"{table} has no column for the model's classes {few(missing)}.")
    places = _places(table, list(columns), names)
    values = np.zeros((len(next(iter(columns.values()))), len(places)), "float32")
    reasons: dict[int, str] = {}
    for name, cells in columns.items():
        for row, cell in enumerate(cells):
            values[row, places[name]] = cell.casefold() in TRUE
            if not is_flag(cell):
                reasons.setdefault(row, _unfit(cell, name, NO_FLAG))
    return Targets(MULTI_LABEL, list(places), values, reasons)


def is_flag(cell: str) -> bool:
    """Whether a cell says that a picture shows a class or not."""
    return cell.casefold() in FALSE + TRUE


def _numbers(table: Path, columns: dict[str, list[str]], names: list[str] | None) -> Targets:
    if names is not None and len(names) != len(columns):
        raise ValueError(
            f"{table} has {len(columns)} columns of targets ({few(list(columns))}), and the model "
            f"answers {len(names)} ({few(names)}). Name its columns: --label-column."
        )
    if names is not None and set(names) == set(columns):  # in the model's order
        columns = {name: columns[name] for name in names}
    values = np.zeros((len(next(iter(columns.values()))), len(columns)), "float32")
    reasons: dict[int, str] = {}
    for index, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            try:
                values[row, index] = float(cell)
            except ValueError:
                reasons.setdefault(row, _unfit(cell, name, "no number"))
            if not np.isfinite(values[row, index]):
                reasons.setdefault(row, _unfit(cell, name, "not finite"))
    return Targets(REGRESSION, list(names or columns), values, reasons)


def _unfit(cell: str, column: str, what: str) -> str:
    text = f"has {cell!r} as {column}".replace("{", "{{").replace("}", "}}")
    return f"{text} for {{name}}, which is {what}"


def _places(table: Path, found: list[str], names: list[str] | None) -> dict[str, int]:
    """Names to their numbers.

    Raises:
        ValueError: for a name that is not one of those that are known.
    """
    if names is None:
        return {name: index for index, name in enumerate(found)}
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ValueError(
            f"{table} has {len(unknown)} labels that are no classes of the model: {few(unknown)}. "
            f"Its classes are {few(names)}."
        )
    return {name: index for index, name in enumerate(names)}


def _check_names(table: Path, names: list[str]) -> None:
    """Refuses numbers to estimate, which are no classes: decimals, of which not all are whole."""
    try:
        values = np.array(names, "float64")
    except ValueError:
        return
    if len(values) and not np.all(np.mod(values, 1) == 0):
        raise ValueError(
            f"{table} has numbers as labels ({few(names)}), which are no classes. To estimate "
            "quantities pass --task regression."
        )


def _hold_several(cells: list[str]) -> bool:
    """Whether cells hold several names: with a separator, and not by one cell's mistake."""
    several = sum(any(mark in cell for mark in SEPARATORS) for cell in cells)
    return several > 1 or several == len(cells)


def _comma_lists(labels: list[str]) -> set[str]:
    """Cells that seem to hold several names: with a comma between names of other cells."""
    names = {cell: [name.strip() for name in cell.split(",")] for cell in labels}
    counts = Counter(name for parts in names.values() for name in set(parts))
    return {
        cell
        for cell, parts in names.items()
        if len(parts) > 1 and any(counts[name] > 1 for name in parts)
    }
