"""All that decides a run: the one list from which defaults, checks, records and options come."""

import inspect
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from keras_inception_v4.architecture import (
    AUXILIARY_MINIMUM_SIZE,
    DEFAULT_SIZE,
    DIGITS_CROP,
    ENDPOINTS,
    EVALUATION_CROP,
    MINIMUM_SIZE,
    PRECISIONS,
    REGRESSION,
    TASK_NAMES,
)
from keras_inception_v4.errors import check_at_least, check_one_of
from keras_inception_v4.files import TABLES, has_columns
from keras_inception_v4.training.options import (
    AUGMENTATIONS,
    AUTO,
    BATCH_SIZE,
    EPOCHS,
    FROM_ENDPOINT,
    HEAD_EPOCHS,
    HEAD_RATE,
    RATE,
    RECIPES,
)

DIGITS = "digits"
IMAGES, TABLE, TRAINING = "images", "table", "training"
OF_TRANSFER = (
    "head_epochs",
    "head_learning_rate",
    "from_endpoint",
    "learning_rate",
    "balanced",
    "patience",
    "cache_augmented",
)
"""What only a training from trained weights uses."""
OF_TABLES = ("images", "task", "path_column", "label_column", "split_column", "group_column")
"""What only a table has a use for."""
NEW = ("nested", "exclude", "calibrate", *OF_TABLES, "loss", "folds", "fold",
       "accumulate", "cache_augmented")  # fmt: skip
"""Recorded where asked for, so that a run from before they were there is known again."""
LOSSES = ("huber", "mean_squared_error")


def _option(default, help: str, group: str | None = None, choices=None) -> Any:
    """A field that the command line offers too: in words, under a group of `--help`."""
    return field(default=default, metadata={"help": help, "group": group, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides the result of a run, as a user gives it; `decided` fills in what is `None`.

    Raises:
        ValueError: for settings that contradict each other or are out of range.
    """

    # The types are those that a decided run has; they are also those of the command line.
    data: str | os.PathLike = _option(
        DIGITS,
        "a folder with a subfolder a class, or with parts that hold such classes (train; val, "
        "valid, validation or dev; test); a table of files and labels (.csv, .tsv, .parquet); a "
        "file of records (.tfrecord, .array_record) or a folder of such; a data set that the "
        "datasets library saved; or digits, the scans embedded in scikit-learn",
    )
    weights: str | os.PathLike | None = _option(
        "imagenet",
        "imagenet; a path, such as a run's model.keras; none (in Python None): from scratch",
    )
    image_size: int = _option(
        None,
        f"side in pixels, at least {MINIMUM_SIZE}, or {AUXILIARY_MINIMUM_SIZE} with the paper's "
        f"recipes (default: that for digits, else {DEFAULT_SIZE})",
        IMAGES,
    )
    crop: float = _option(
        None,
        "share of the short side that is kept, above 0 and at most 1 (default: "
        f"{DIGITS_CROP} for digits, else {EVALUATION_CROP})",
        IMAGES,
    )
    augment: str = _option(
        None,
        "random changes: photographs are mirrored, symbols are not (default: symbols for digits, "
        "else photographs)",
        IMAGES,
        AUGMENTATIONS,
    )
    validation_split: float = _option(0.2, "share held out, if not split yet", IMAGES)
    folds: int = _option(
        None,
        "train so many times, each with another share held out, and report mean and spread; each "
        "is a run of its own below the output",
        IMAGES,
    )
    fold: int = _option(None, "with --folds: train only this one, from 1", IMAGES)
    skip_corrupt: bool = _option(False, "leave out what cannot be used", IMAGES)
    nested: bool = _option(
        False, "subfolders that hold only folders are classes all the same", IMAGES
    )
    exclude: str | os.PathLike | None = _option(
        None,
        "a .parquet of findings that audit wrote: leave out the pictures that it marks so",
        IMAGES,
    )
    images: str | os.PathLike | None = _option(
        None, "with a table: the folder that its paths are relative to (default: its own)", TABLE
    )
    task: str | None = _option(
        None,
        "with a table: what a picture has: single-label, one class; multi-label, several or none; "
        "regression, numbers (default: multi-label where cells hold several names with | or ; or "
        "each class has a column, else single-label)",
        TABLE,
        TASK_NAMES,
    )
    path_column: str | None = _option(
        None, "of the image file (default: path, file, filename or image)", TABLE
    )
    label_column: str | None = _option(
        None,
        "of the class, of several names with | or ; between them, or of a number; or several "
        "columns with commas between them, each a class with 0 and 1, or a number (default: label, "
        "labels, class or target)",
        TABLE,
    )
    split_column: str | None = _option(
        None, "of train, validation or test (default: split, if there is one)", TABLE
    )
    group_column: str | None = _option(
        None, "of what must not be on two sides, as a patient (default: group, if any)", TABLE
    )
    recipe: str = _option(
        None,
        "from scratch: adam for a few thousand images, paper for a million, paper-small the "
        "paper's for a short run (default: adam)",
        TRAINING,
        tuple(RECIPES),
    )
    head_epochs: int = _option(
        None, f"of the head on cached features (default: {HEAD_EPOCHS})", TRAINING
    )
    epochs: int = _option(
        None,
        f"passes over the images (default: {EPOCHS} of fine-tuning, where 0 trains the head alone; "
        f"from scratch {', '.join(f'{n} with {recipe}' for recipe, n in RECIPES.items())})",
        TRAINING,
    )
    batch_size: int = _option(
        BATCH_SIZE, "images a step, of all devices and processes together", TRAINING
    )
    accumulate: int = _option(
        1,
        "update the weights once in so many steps, by the mean of their gradients: batches of 8 "
        "and 4 steps update as batches of 32 do, in less memory",
        TRAINING,
    )
    from_endpoint: str = _option(
        None, f"first endpoint to fine-tune (default: {FROM_ENDPOINT})", TRAINING
    )
    head_learning_rate: float = _option(None, f"of the head (default: {HEAD_RATE})", TRAINING)
    learning_rate: float = _option(None, f"peak of fine-tuning (default: {RATE})", TRAINING)
    balanced: bool = _option(False, "weigh every class alike, with trained weights", TRAINING)
    loss: str | None = _option(
        None, "of regression, on standardized targets (default: huber)", TRAINING, LOSSES
    )
    patience: int = _option(
        None, "epochs of fine-tuning without a lower held-out loss after which to stop", TRAINING
    )
    cache_augmented: int = _option(
        None,
        "fine-tuning: augment each image so many times, pass these versions through the frozen "
        "blocks once, and train on what comes out; 0 passes every image in every epoch (default: "
        "once with --augment none, else every epoch)",
        TRAINING,
    )
    calibrate: bool = _option(
        False,
        "scale the logits by one number, so that the held-out probabilities are right as often as "
        "they say",
        TRAINING,
    )
    seed: int = _option(0, "for splitting, initialization, shuffling and augmentation", TRAINING)
    precision: str = _option(
        AUTO,
        "dtype policy of training; auto is that of the run that goes on, else mixed_bfloat16 where "
        "that is known to be faster, else float32; the model is written in float32",
        TRAINING,
        (AUTO, *PRECISIONS),
    )
    deterministic: bool = _option(
        False, "the same numbers again on the same machine, somewhat slower", TRAINING
    )

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata["choices"] and value is not None:
                check_one_of(item.metadata["choices"], **{item.name: value})
        if self.from_endpoint is not None:
            check_one_of(ENDPOINTS, from_endpoint=self.from_endpoint)
        given = [name for name in OF_TRANSFER if getattr(self, name) not in (None, False)]
        if self.from_scratch and given:
            raise ValueError(
                f"Received {', '.join(given)} with weights=None, which has no use for it."
            )
        if not self.from_scratch and self.recipe is not None:
            raise ValueError(
                f"Received recipe={self.recipe!r} with weights={self.weights!r}. It is for "
                "training from scratch: weights=None (--weights none)."
            )
        epochs = 1 if self.from_scratch else 0
        given = [name for name in OF_TABLES if getattr(self, name) is not None]
        if given and not has_columns(self.data):
            raise ValueError(
                f"Received {', '.join(given)} with data={os.fspath(self.data)!r}, which is no "
                f"table ({', '.join(TABLES)}), no file of records and no saved data set."
            )
        if self.exclude is not None and self.data == DIGITS:
            raise ValueError(f"Received exclude={self.exclude!r} with digits, which are no files.")
        if self.nested and has_columns(self.data):
            raise ValueError("Received nested with a table. It is for folders of classes.")
        regression = self.task == REGRESSION
        if self.loss is not None and not regression:
            raise ValueError(f"Received loss={self.loss!r}. It is for task='regression'.")
        if self.calibrate and regression:
            raise ValueError("Received calibrate with task='regression', which has no classes.")
        if self.balanced and regression:
            raise ValueError("Received balanced with task='regression', which has no classes.")
        if self.fold is not None and (self.folds is None or not 1 <= self.fold <= self.folds):
            raise ValueError(
                f"Received fold={self.fold} with folds={self.folds}. It must be from 1 to folds."
            )
        least = {
            "batch_size": 1,
            "folds": 2,
            "head_epochs": 1,
            "epochs": epochs,
            "accumulate": 1,
            "cache_augmented": 0,
            "image_size": self._least_size,
        }
        for name, allowed in least.items():
            if getattr(self, name) is not None:
                check_at_least(allowed, **{name: getattr(self, name)})
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ValueError(f"Received crop={self.crop}. It must be above 0 and at most 1.")

    @property
    def _least_size(self) -> int:
        paper = (self.recipe or "").startswith("paper")
        return AUXILIARY_MINIMUM_SIZE if paper else MINIMUM_SIZE

    @property
    def from_scratch(self) -> bool:
        """Whether training begins with random weights."""
        return self.weights is None

    def decided(self, recorded: dict, fastest_precision: Callable[[], str]) -> "Settings":
        """The same with a value for all that was left open.

        Args:
            recorded: arguments of the run that goes on; empty for a new one.
            fastest_precision: asked for a new run's precision.
        """
        digits = self.data == DIGITS
        recipe = self.recipe or next(iter(RECIPES))
        decisions: dict[str, Any] = {
            "image_size": self._least_size if digits else DEFAULT_SIZE,
            "crop": DIGITS_CROP if digits else EVALUATION_CROP,
            "augment": "symbols" if digits else "photographs",
            "epochs": RECIPES[recipe] if self.from_scratch else EPOCHS,
        }
        if self.from_scratch:
            decisions["recipe"] = recipe
        else:
            decisions |= {"head_epochs": HEAD_EPOCHS, "head_learning_rate": HEAD_RATE}
            decisions |= {"from_endpoint": FROM_ENDPOINT, "learning_rate": RATE}
        open_ones = {name: v for name, v in decisions.items() if getattr(self, name) is None}
        if self.precision == AUTO:
            open_ones["precision"] = recorded.get("precision") or fastest_precision()
        return replace(self, **open_ones)

    def as_json(self) -> dict:
        """What the run records, by which a folder is known again."""
        values = asdict(self)
        values["data"] = os.fspath(self.data)
        values["weights"] = None if self.weights is None else os.fspath(self.weights)
        for name in OF_TRANSFER if self.from_scratch else ("recipe",):
            del values[name]
        for item in fields(self):
            if item.name in NEW and values.get(item.name) == item.default:
                values.pop(item.name, None)
        for name in ("images", "exclude"):
            if values.get(name) is not None:
                values[name] = os.fspath(values[name])
        return values


def keywords_of(function: Callable) -> inspect.Signature:
    """The signature of a function that takes the settings as `**settings`: with their names.

    Args:
        function: takes `data` by itself.
    """
    signature = inspect.signature(function)
    *own, _ = signature.parameters.values()
    settings = [
        inspect.Parameter(
            item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=item.type
        )
        for item in fields(Settings)
        if item.name not in signature.parameters
    ]
    return signature.replace(parameters=[*own, *settings])


def documented() -> str:
    """Every setting with what it means, as a docstring lists arguments."""
    return "\n        ".join(
        f"{item.name}: {item.metadata['help']}." for item in fields(Settings) if item.name != "data"
    )
