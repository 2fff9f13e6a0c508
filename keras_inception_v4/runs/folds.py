"""Cross-validation: one training per fold, with the mean and spread of the measures."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.files import write_json
from keras_inception_v4.tasks import task_named

REPORT = "folds.json"


def cross_validated(
    output: str | os.PathLike, folds: int, train_fold: Callable[[int, Path], dict]
) -> dict:
    """Train each fold in its own run folder, and write the mean and spread of the measures.

    Call it again to resume: what a fold has finished is not trained again.

    Args:
        output: Folder of all folds.
        folds: Number of folds.
        train_fold: Function that takes a fold's number, from 1, and its run folder, and returns the
            fold's report.

    Returns:
        A dict with `folds` (the reports in order), and `mean` and `spread` (standard deviation over
        the folds) of each of the task's measures.

    Raises:
        ValueError: If `output` holds a run.
    """
    output = Path(output)
    if (output / "config.json").exists():
        raise ValueError(f"{output} holds a run. Name another folder for the folds.")
    reports = [train_fold(fold, output / f"fold_{fold}") for fold in range(1, folds + 1)]
    task = task_named(reports[0].get("task", SINGLE_LABEL))
    measures = [task.scalars(report) for report in reports]
    known = {
        name: [value for m in measures if (value := m[name]) is not None] for name in measures[0]
    }
    summary = {
        "folds": reports,
        "mean": {name: float(np.mean(values)) for name, values in known.items() if values},
        "spread": {
            name: float(np.std(values, ddof=1)) for name, values in known.items() if len(values) > 1
        },
    }
    write_json(output / REPORT, summary)
    return summary
