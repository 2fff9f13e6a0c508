"""What a task must answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from keras_inception_v4.errors import require_extra

LEAST = 1e-7  # probability in a logarithm, as Keras has it


class Measured(NamedTuple):
    """A model's answers `(images, outputs)`, the targets as `check_targets` gives them, weights.

    `weights` is `None` where every image counts alike.
    """

    answers: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None


class Comparison(NamedTuple):
    """How far an artefact's answers are from its model's.

    `difference` is the largest of a value, as it is printed; `relative` the largest as tolerances
    count it, a probability or a share of the targets' spread; `agreement` the share of equal
    decisions; `moved` the mean difference, counted as `relative`.
    """

    difference: float
    relative: float
    agreement: float
    moved: float


class Task(ABC):
    """A kind of target: what a head answers, learns from, and is measured by."""

    name: ClassVar[str]
    activation: ClassVar[str]
    """Of the head's dense layer, by Keras's name."""
    metric: ClassVar[str]
    """Measured in every epoch, by Keras's name."""
    metric_label: ClassVar[str]
    """What it is called in a picture, and times how much it is drawn."""
    metric_scale: ClassVar[float] = 1
    loss_label: ClassVar[str] = "loss (nats)"
    value: ClassVar[str] = "probability"
    """What one number of an answer is."""
    outputs: ClassVar[str] = "classes"
    """What the outputs of the head stand for."""
    picture: ClassVar[str]
    """File name of the picture of a run's measures."""
    unit: ClassVar[str] = ""
    """Of a difference between answers, as tolerances count it."""
    movement: ClassVar[str] = "of it moved to other classes"
    decision: ClassVar[str] = "the top class is"
    same: ClassVar[str] = "same top class"
    """What is printed of equal decisions."""
    standardized: ClassVar[bool] = False
    """Whether training sees targets with mean 0 and standard deviation 1."""
    least_outputs: ClassVar[int] = 1
    thresholded: ClassVar[bool] = False
    """Whether a class is answered from a threshold on."""

    @abstractmethod
    def field(self, outputs: int) -> tuple:
        """A NumPy field named `label` for one image's targets."""

    @abstractmethod
    def check_targets(self, labels, outputs: int) -> np.ndarray:
        """Targets as training uses them, `(images,)` or `(images, outputs)`.

        Raises:
            ValueError: if they are not targets of this task and so many outputs.
        """

    def check_thresholds(self, thresholds, outputs: int) -> list[float] | None:
        """One threshold a class, where the task has such; `None` without.

        Raises:
            ValueError: if they are out of range, not as many as the classes, or not of this task.
        """
        if thresholds is not None:
            raise ValueError(
                f"Received thresholds for a model of {self.name}. They are for several classes an "
                "image."
            )
        return None

    @abstractmethod
    def loss(
        self, outputs: int, *, smoothing: float = 0.0, from_logits: bool = False, weights=None
    ) -> Callable:
        """Loss of targets and a head's answers, one number an image.

        Args:
            outputs: of the head.
            smoothing: share of a label that is spread over the other outcomes.
            from_logits: whether the head has no activation although the task has one.
            weights: of the positive labels, one a class, where the task has such.
        """

    @abstractmethod
    def measure(self, given: Measured, names: list[str], thresholds=None) -> dict:
        """Measures on labelled images, as JSON values."""

    @abstractmethod
    def each(self, given: Measured, names: list[str], thresholds=None) -> dict[str, list]:
        """What the model answered to every image, a list a column; `measure` sums it up.

        `label`, `predicted` and `loss` are there for every task, and where there are classes
        `correct`, `margin` (above 0 if it is), `classes` and `probabilities` (the best first).
        """

    def thresholds(self, given: Measured) -> list[float]:
        """From which probability on a class is best answered, one a class."""
        raise TypeError(f"{self.name} has no thresholds.")

    @abstractmethod
    def rows(self, report: dict, prefix: str = "") -> list[list[str]]:
        """The main measures of a report, to print: name and value."""

    @abstractmethod
    def scalars(self, report: dict) -> dict[str, float | None]:
        """The measures of a report that are one number, by name."""

    @abstractmethod
    def table(self, report: dict) -> tuple[list[str], list[list]]:
        """Header and rows of the measures of each output."""

    @abstractmethod
    def draw(self, given: Measured, report: dict, names: list[str], path: Path) -> None:
        """Writes the picture of the measures as a PNG."""

    @abstractmethod
    def answer(
        self, row: np.ndarray, names: Sequence[str], top: int | None = None, thresholds=None
    ) -> list[tuple[str, float]]:
        """What to print of one image's answers."""

    @abstractmethod
    def compare(self, expected: np.ndarray, found: np.ndarray, thresholds=None) -> Comparison:
        """How far an artefact's answers are from its model's."""

    def examples(self, targets: np.ndarray, names: list[str]) -> dict[str, int]:
        """Images to try a model on: a name for the file, and the image's number."""
        picked: dict[str, int] = {}
        for index, name in enumerate(names):
            for image in np.flatnonzero(self._examples_of(targets, index))[:1]:
                picked[name] = int(image)
        return picked

    def _examples_of(self, targets: np.ndarray, index: int) -> np.ndarray:
        """Which images show an output well."""
        return targets == index


def require_scikit_learn():
    """Imports and returns `sklearn.metrics`; call it before work whose evaluation comes last.

    Raises:
        ImportError: without scikit-learn; the message names the extra.
    """
    return require_extra("sklearn.metrics", "Evaluation needs", "scikit-learn", "demo")


def check_sample_weight(sample_weight) -> None:
    """Checks that there is an image to count.

    Raises:
        ValueError: if all sample weights are 0.
    """
    if sample_weight is not None and not np.sum(sample_weight) > 0:
        raise ValueError("All sample weights are 0, so there is nothing to measure.")
