"""Targets read from the cells of a table: one class per image, several, or numbers."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from keras_inception_v4.data.layout import few
from keras_inception_v4.tasks import task_named

SEPARATORS = "|;"  # between names in one cell; for commas see `_comma_lists`
NO_FLAG = "neither 0 nor 1 (to predict numbers, pass --task regression)"
FALSE, TRUE = ("0", "0.0", "false"), ("1", "1.0", "true")


@dataclass(frozen=True)
class Targets:
    """Targets of a table's rows, some of which may be unusable.

    `values` holds integers of shape `(rows,)` for one class per image, else numbers of shape
    `(rows, names)`. `reasons` maps an unusable row to the reason, a text in which `{name}` stands
    for the image's name.
    """

    task: str
    names: list[str]
    values: np.ndarray
    reasons: dict[int, str]

    def of_rows(self, rows: list[int], *, known: bool) -> "Targets":
        """Return the targets of some usable rows, without classes that none of them has.

        Args:
            rows: Indices of the rows.
            known: Whether the names come from a model; then all of them are kept. Quantities
                always are.
        """
        values = self.values[rows]
        if known or self.task == REGRESSION:
            return replace(self, values=values, reasons={})
        left = sorted(set(range(len(self.names))) - set(self.absent(values)))
        values = np.searchsorted(left, values) if self.task == SINGLE_LABEL else values[:, left]
        return replace(self, names=[self.names[i] for i in left], values=values, reasons={})

    def classes(self) -> np.ndarray:
        """Return the classes to split by: the values, or no columns for quantities."""
        return self.values[:, :0] if self.task == REGRESSION else self.values

    def absent(self, values: np.ndarray) -> list[int]:
        """Return the indices of classes without an image in `values`; for quantities, none."""
        if self.task == REGRESSION:
            return []
        if values.ndim == 2:
            return np.flatnonzero(values.sum(axis=0) == 0).tolist()
        return np.flatnonzero(np.bincount(values, minlength=len(self.names)) == 0).tolist()


def read_targets(
    table: Path, columns: dict[str, list[str]], *, task: str | None, names: list[str] | None
) -> Targets:
    """Read the targets from the cells of one or several columns.

    A single column holds the name of a class, several names separated by `|`, `;` or commas, or a
    number. Of several columns, each holds 0 or 1 for one class, or a number. If the task is given
    as multi-label, an empty cell of a single column means that the image shows no class.

    Args:
        table: Table that the cells come from; errors name it.
        columns: Column names, each with its cells as text.
        task: One of `TASKS`. `None` means multi-label if there are several columns or if cells
            hold several names separated by `|` or `;`, else one class per image. Numbers are read
            as quantities only if the task is given as regression.
        names: Names of the classes or quantities, if they are known; else `None`.

    Raises:
        ValueError: If the cells are ambiguous or do not fit the task, or if a name is unknown.
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
                f"{table} has {len(columns)} columns of labels. One class per image needs one; "
                "for several classes per image, pass --task multi-label."
            )
        return _flags(table, columns, names)
    cells = [unicodedata.normalize("NFC", cell) for cell in columns[first]]
    if task == MULTI_LABEL:
        return _several(table, cells, names, guessed)
    return _one(table, cells, names, guessed)


def _one(table: Path, cells: list[str], names: list[str] | None, guessed: bool) -> Targets:
    reasons: dict[int, str] = {}
    lists = {cell for cell in cells if any(mark in cell for mark in SEPARATORS)}
    if guessed:  # if the task is given as one class per image, a comma is part of the name
        lists |= _comma_lists(cells)
    for row, cell in enumerate(cells):
        if not cell:
            reasons[row] = "has no label for {name}"
        elif cell in lists and cell not in (names or ()):
            text = repr(cell).replace("{", "{{").replace("}", "}}")
            reasons[row] = (
                f"has several labels for {{name}}: {text}; to allow several per image, pass --task "
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
    if guessed:  # an empty cell means no class only if multi-label was given
        empty = "has no label for {name}; if it shows no class, pass --task multi-label"
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
    """Return whether a cell holds 0 or 1 (or false or true) for a class."""
    return cell.casefold() in FALSE + TRUE


def _numbers(table: Path, columns: dict[str, list[str]], names: list[str] | None) -> Targets:
    if names is not None and len(names) != len(columns):
        raise ValueError(
            f"{table} has {len(columns)} columns of targets ({few(list(columns))}), and the model "
            f"predicts {len(names)} ({few(names)}). Name its columns: --label-column."
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
                reasons.setdefault(row, _unfit(cell, name, "not a number"))
            if not np.isfinite(values[row, index]):
                reasons.setdefault(row, _unfit(cell, name, "not finite"))
    return Targets(REGRESSION, list(names or columns), values, reasons)


def _unfit(cell: str, column: str, what: str) -> str:
    text = f"has {cell!r} as {column}".replace("{", "{{").replace("}", "}}")
    return f"{text} for {{name}}, which is {what}"


def _places(table: Path, found: list[str], names: list[str] | None) -> dict[str, int]:
    """Map each name to its index, by `names` if these are known.

    Raises:
        ValueError: If a name that was found is not among the known ones.
    """
    if names is None:
        return {name: index for index, name in enumerate(found)}
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ValueError(
            f"{table} has {len(unknown)} labels that are not classes of the model: {few(unknown)}. "
            f"Its classes are {few(names)}."
        )
    return {name: index for index, name in enumerate(names)}


def _check_names(table: Path, names: list[str]) -> None:
    """Check that the class names are not all numbers, some of them not whole."""
    try:
        values = np.array(names, "float64")
    except ValueError:
        return
    if len(values) and not np.all(np.mod(values, 1) == 0):
        raise ValueError(
            f"{table} has decimal numbers as labels ({few(names)}), which are not classes. To "
            "predict quantities pass --task regression."
        )


def _hold_several(cells: list[str]) -> bool:
    """Return whether cells hold several names; a separator in only one of many is a mistake."""
    several = sum(any(mark in cell for mark in SEPARATORS) for cell in cells)
    return several > 1 or several == len(cells)


def _comma_lists(labels: list[str]) -> set[str]:
    """Return cells with commas in which some part also occurs in another cell, so likely lists."""
    names = {cell: [name.strip() for name in cell.split(",")] for cell in labels}
    counts = Counter(name for parts in names.values() for name in set(parts))
    return {
        cell
        for cell, parts in names.items()
        if len(parts) > 1 and any(counts[name] > 1 for name in parts)
    }
