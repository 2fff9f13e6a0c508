"""One training for each share of the images that is held out, and what they are worth together."""

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
    """Trains every fold as a run in a folder of its own, and writes their mean and spread.

    What a fold has finished is not trained again, so the same call goes on after an interruption.

    Args:
        output: the folder of all folds.
        folds: how many.
        train_fold: takes a fold's number, from 1, and its run folder; returns its report.

    Returns:
        `folds` (the reports in order), and `mean` and `spread` (standard deviation over the folds)
        of each of the task's measures.

    Raises:
        ValueError: if `output` holds a run.
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
