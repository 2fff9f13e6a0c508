"""Everything that depends on the kind of target: one class per image, several, or numbers."""

from keras_inception_v4.errors import check_one_of
from keras_inception_v4.tasks.base import Comparison, Measured, Task, require_scikit_learn
from keras_inception_v4.tasks.embedding import Embedding
from keras_inception_v4.tasks.multi_label import THRESHOLD, MultiLabel, check_threshold
from keras_inception_v4.tasks.regression import Regression
from keras_inception_v4.tasks.single_label import SingleLabel

__all__ = [
    "TASKS",
    "THRESHOLD",
    "Comparison",
    "Measured",
    "Task",
    "check_threshold",
    "require_scikit_learn",
    "task_named",
]

TASKS: dict[str, Task] = {task.name: task for task in (SingleLabel(), MultiLabel(), Regression())}
"""Tasks that a head can be trained for, by name."""
ANSWERS: dict[str, Task] = {**TASKS, Embedding.name: Embedding()}
"""Tasks that an artefact can have, by name."""


def task_named(name: str) -> Task:
    """Return the task of that name.

    Raises:
        ValueError: If the name is not in `ANSWERS`.
    """
    check_one_of(ANSWERS, task=name)
    return ANSWERS[name]
