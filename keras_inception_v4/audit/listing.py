"""The list of a dataset's pictures with their labels and parts."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, SINGLE_LABEL
from keras_inception_v4.data.columns import Columns
from keras_inception_v4.data.findings import name_in_findings
from keras_inception_v4.data.layout import WHOLE, Problems, read_layout
from keras_inception_v4.data.records import Record
from keras_inception_v4.data.tables import read_rows
from keras_inception_v4.files import has_columns, printable


class Listed(NamedTuple):
    """Pictures in the order of the dataset.

    Attributes:
        places: Paths or records.
        names: Names of the pictures in findings.
        labels: Targets: integers of shape `(pictures,)` for one class per picture, else numbers of
            shape `(pictures, classes)`.
        parts: Part of the dataset that each picture is in, else an empty string.
        class_names: Names of the classes or of the quantities.
        task: One of `TASKS`.
        problems: Path and reason of each entry of the dataset that cannot be used.
    """

    places: Sequence[Path | Record]
    names: list[str]
    labels: np.ndarray
    parts: list[str]
    class_names: list[str]
    task: str
    problems: Problems

    def label(self, index: int) -> str:
        """Return the label of a picture as text."""
        target = self.labels[index]
        if self.task == SINGLE_LABEL:
            return self.class_names[target]
        if self.task == MULTI_LABEL:
            return "|".join(n for n, on in zip(self.class_names, target, strict=True) if on)
        return "|".join(f"{value:g}" for value in target)


def list_pictures(
    data: str | os.PathLike,
    *,
    nested: bool = False,
    images: str | os.PathLike | None = None,
    columns: Columns | None = None,
    task: str | None = None,
) -> Listed:
    """List a labelled folder, a table or a file of records without opening a picture.

    Args:
        data: Dataset, as in `train`.
        nested: Whether folders that hold only folders count as classes.
        images: Folder that a table's paths are relative to.
        columns: Names of a table's columns.
        task: Task of a table.

    Raises:
        FileNotFoundError, ValueError, ImportError: As in `layout.read_layout` and
            `tables.read_rows`.
    """
    if has_columns(data):
        return _of_table(data, images, columns, task)
    layout = read_layout(data, nested=nested)
    places: list[Path] = []
    labels, parts = [], []
    class_names = sorted({name for classes in layout.parts.values() for name in classes})
    for part, classes in layout.parts.items():
        for name, paths in classes.items():
            places += paths
            labels += [class_names.index(name)] * len(paths)
            parts += ["" if part == WHOLE else part] * len(paths)
    if not places:
        raise ValueError(f"{data} holds no images.")
    root = Path(data)
    return Listed(
        places,
        [name_in_findings(place, root) for place in places],
        np.array(labels, "int64"),
        parts,
        class_names,
        SINGLE_LABEL,
        [(name_in_findings(Path(path), root), reason) for path, reason in layout.problems],
    )


def _of_table(data, images, columns, task) -> Listed:
    rows = read_rows(
        data, images=images, columns=columns, task=task, skip_corrupt=True, scan=False,
        verbose=False,
    )  # fmt: skip
    return Listed(
        rows.paths,
        [name_in_findings(place, rows.root) for place in rows.paths],
        rows.targets.values,
        [part or "" for part in rows.parts],
        rows.targets.names,
        rows.targets.task,
        [(printable(row), reason) for row, reason in rows.problems],
    )
