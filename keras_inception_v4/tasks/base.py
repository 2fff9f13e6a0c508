"""The base class of tasks, and the types and checks that they share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from keras_inception_v4.errors import require_extra

LEAST = 1e-7  # least probability in a logarithm, as in Keras


class Measured(NamedTuple):
    """A model's outputs on labelled images, with their targets and weights.

    `answers` has shape `(images, outputs)`, and `targets` are those that `check_targets` returns.
    `weights` is one number per image, or `None` if every image counts alike.
    """

    answers: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None


class Comparison(NamedTuple):
    """Differences between an artefact's outputs and its model's.

    `difference` is the largest difference of a value, as it is printed. `relative` is the largest
    difference as tolerances count it: of a probability, or as a share of the outputs' spread.
    `agreement` is the share of equal decisions. `moved` is the mean difference: in probability, or
    in standard deviations of the outputs.
    """

    difference: float
    relative: float
    agreement: float
    moved: float


class Task(ABC):
    """A kind of target, with its head, loss, metrics and decisions."""

    name: ClassVar[str]
    activation: ClassVar[str]
    """Keras name of the activation of the head's dense layer."""
    metric: ClassVar[str]
    """Keras name of the metric of every epoch."""
    metric_label: ClassVar[str]
    """Name of the metric in a plot. There `metric_scale` multiplies its values."""
    metric_scale: ClassVar[float] = 1
    loss_label: ClassVar[str] = "loss (nats)"
    value: ClassVar[str] = "probability"
    """What one output number is."""
    outputs: ClassVar[str] = "classes"
    """What the outputs of the head stand for."""
    picture: ClassVar[str]
    """File name of the plot of a run's metrics."""
    unit: ClassVar[str] = ""
    """Unit of a difference between outputs, as tolerances count it."""
    movement: ClassVar[str] = "of the probability moved to other classes"
    decision: ClassVar[str] = "the top class is"
    same: ClassVar[str] = "same top class"
    """Label of the printed share of equal decisions."""
    standardized: ClassVar[bool] = False
    """Whether training scales targets to mean 0 and standard deviation 1."""
    least_outputs: ClassVar[int] = 1
    thresholded: ClassVar[bool] = False
    """Whether a class is predicted if its probability reaches a threshold."""

    @abstractmethod
    def field(self, outputs: int) -> tuple:
        """Return a NumPy field named `label` for one image's targets."""

    @abstractmethod
    def check_targets(self, labels, outputs: int) -> np.ndarray:
        """Return targets as training uses them, shape `(images,)` or `(images, outputs)`.

        Raises:
            ValueError: If they do not fit this task or the number of outputs.
        """

    def check_thresholds(self, thresholds, outputs: int) -> list[float] | None:
        """Return one threshold per class, or `None` if the task has no thresholds.

        Raises:
            ValueError: If a threshold is out of range, there is not one per class, or the task has
                no thresholds.
        """
        if thresholds is not None:
            raise ValueError(
                f"Received thresholds for a model of {self.name}. Only multi-label models have "
                "thresholds."
            )
        return None

    @abstractmethod
    def loss(
        self, outputs: int, *, smoothing: float = 0.0, from_logits: bool = False, weights=None
    ) -> Callable:
        """Return the loss function of targets and outputs: one number per image, or their mean.

        Args:
            outputs: Number of outputs of the head.
            smoothing: Label smoothing: share of a label that is spread evenly over all outcomes.
            from_logits: Whether the head has no activation although the task has one.
            weights: Weights of the positive labels, one per class, if the task uses them.
        """

    @abstractmethod
    def measure(self, given: Measured, names: list[str], thresholds=None) -> dict:
        """Return metrics on labelled images, as JSON values."""

    @abstractmethod
    def each(self, given: Measured, names: list[str], thresholds=None) -> dict[str, list]:
        """Return the prediction for every image, one list per column; `measure` sums it up.

        Every task has `label`, `predicted` and `loss`. Tasks with classes also have `correct`,
        `margin` (above 0 if correct), `classes` and `probabilities` (the best first).
        """

    def thresholds(self, given: Measured) -> list[float]:
        """Return the best threshold of each class: from it on, the class is predicted."""
        raise TypeError(f"{self.name} has no thresholds.")

    @abstractmethod
    def rows(self, report: dict, prefix: str = "") -> list[list[str]]:
        """Return the main metrics of a report to print, as rows of name and value."""

    @abstractmethod
    def scalars(self, report: dict) -> dict[str, float | None]:
        """Return the metrics of a report that are one number, by name."""

    @abstractmethod
    def table(self, report: dict) -> tuple[list[str], list[list]]:
        """Return header and rows of a table with the metrics of each output."""

    @abstractmethod
    def draw(self, given: Measured, report: dict, names: list[str], path: Path) -> None:
        """Write the plot of the metrics as a PNG."""

    @abstractmethod
    def answer(
        self, row: np.ndarray, names: Sequence[str], top: int | None = None, thresholds=None
    ) -> list[tuple[str, float]]:
        """Return the names and values to print of one image's outputs."""

    @abstractmethod
    def compare(self, expected: np.ndarray, found: np.ndarray, thresholds=None) -> Comparison:
        """Return the differences between an artefact's outputs and its model's."""

    def examples(self, targets: np.ndarray, names: list[str]) -> dict[str, int]:
        """Return images to try a model on, as file names and indices of the images."""
        picked: dict[str, int] = {}
        for index, name in enumerate(names):
            for image in np.flatnonzero(self._examples_of(targets, index))[:1]:
                picked[name] = int(image)
        return picked

    def _examples_of(self, targets: np.ndarray, index: int) -> np.ndarray:
        """Return a mask of the images that show this output well."""
        return targets == index


def require_scikit_learn():
    """Import and return `sklearn.metrics`.

    Call it before long work that ends with an evaluation, to report a missing package early.

    Raises:
        ImportError: If scikit-learn is missing. The message names the extra.
    """
    return require_extra("sklearn.metrics", "Evaluation needs", "scikit-learn", "demo")


def check_sample_weight(sample_weight) -> None:
    """Check that at least one image has a weight above 0.

    Raises:
        ValueError: If all sample weights are 0.
    """
    if sample_weight is not None and not np.sum(sample_weight) > 0:
        raise ValueError("All sample weights are 0, so there is nothing to measure.")
