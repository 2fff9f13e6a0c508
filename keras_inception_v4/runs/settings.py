"""The settings of a run: one list for defaults, checks, records and command-line options."""

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
"""Settings that only training from trained weights uses."""
OF_TABLES = ("images", "task", "path_column", "label_column", "split_column", "group_column")
"""Settings for data with columns only: tables, files of records and saved datasets."""
NEW = ("nested", "exclude", "calibrate", *OF_TABLES, "loss", "folds", "fold",
       "accumulate", "cache_augmented")  # fmt: skip
"""Settings recorded only if they differ from the default, so that older runs can be resumed."""
LOSSES = ("huber", "mean_squared_error")


def _option(default, help: str, group: str | None = None, choices=None) -> Any:
    """Return a field with its help text, its group in `--help` and its choices."""
    return field(default=default, metadata={"help": help, "group": group, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings that decide the result of a run, as a user gives them.

    `decided` fills in defaults that depend on other settings; other values stay `None`.

    Raises:
        ValueError: If settings contradict each other or are out of range.
    """

    # The types are those after `decided`; the command line converts its options to them.
    data: str | os.PathLike = _option(
        DIGITS,
        "a folder with one subfolder per class, or with parts such as train, validation and test "
        "that hold such subfolders; a table of files and labels (.csv, .tsv, "
        ".parquet); a file of records (.tfrecord, .array_record) or a folder of them; a dataset "
        "saved by the datasets library; or digits, the scans embedded in scikit-learn",
    )
    weights: str | os.PathLike | None = _option(
        "imagenet",
        "weights to start from: imagenet; a path, such as a run's model.keras; or none (in Python "
        "None) to train from scratch",
    )
    image_size: int = _option(
        None,
        f"side of the images in pixels, at least {MINIMUM_SIZE}, or {AUXILIARY_MINIMUM_SIZE} with "
        f"the paper's recipes (default: {DEFAULT_SIZE}; for digits the least)",
        IMAGES,
    )
    crop: float = _option(
        None,
        "share of the short side to keep, above 0 and at most 1 (default: "
        f"{DIGITS_CROP} for digits, else {EVALUATION_CROP})",
        IMAGES,
    )
    augment: str = _option(
        None,
        "random changes: photographs mirrors, shifts, turns and zooms; symbols does not mirror "
        "and does less of the rest; with the paper's recipes random crops, of photographs also "
        "mirrored and in other colours (default: symbols for digits, else photographs)",
        IMAGES,
        AUGMENTATIONS,
    )
    validation_split: float = _option(
        0.2, "share of the training images to hold out if there is no validation part", IMAGES
    )
    folds: int = _option(
        None,
        "cross-validate: train this many runs in folders below the output, each with another "
        "share held out, and report mean and spread (default: a single run)",
        IMAGES,
    )
    fold: int = _option(
        None, "with --folds: train only the fold with this number, from 1 (default: all)", IMAGES
    )
    skip_corrupt: bool = _option(
        False,
        "leave out files and rows that cannot be used, and then classes with too few images, "
        "instead of stopping",
        IMAGES,
    )
    nested: bool = _option(
        False, "treat subfolders as classes even if all of them hold only folders", IMAGES
    )
    exclude: str | os.PathLike | None = _option(
        None,
        "a .parquet file written by audit: leave out the images that it marks for exclusion",
        IMAGES,
    )
    images: str | os.PathLike | None = _option(
        None,
        "with a table: folder that its paths are relative to (default: the folder of the table)",
        TABLE,
    )
    task: str | None = _option(
        None,
        "with a table, targets of an image: single-label is one class; multi-label is several "
        "classes or none; regression is numbers (default: multi-label if cells hold several names "
        "separated by | or ; or if each class has a column, else single-label)",
        TABLE,
        TASK_NAMES,
    )
    path_column: str | None = _option(
        None, "column of the image file (default: path, file, filename, image or similar)", TABLE
    )
    label_column: str | None = _option(
        None,
        "column with the class, with names separated by | or ;, or with a number; or columns "
        "separated by commas, one for each class (0 or 1) or quantity (default: label, labels, "
        "class or target; else all columns of 0 and 1)",
        TABLE,
    )
    split_column: str | None = _option(
        None,
        "column of the part: train, validation or test (default: split, if there is one)",
        TABLE,
    )
    group_column: str | None = _option(
        None,
        "column of groups, such as patients; all images of a group go to the same part (default: "
        "group, if there is one)",
        TABLE,
    )
    recipe: str = _option(
        None,
        "from scratch: adam for a few thousand images, paper for a million, paper-small for a "
        "short run of the paper's recipe (default: adam)",
        TRAINING,
        tuple(RECIPES),
    )
    head_epochs: int = _option(
        None, f"epochs of the head on cached features (default: {HEAD_EPOCHS})", TRAINING
    )
    epochs: int = _option(
        None,
        f"epochs of fine-tuning, where 0 trains only the head, or from scratch (default: {EPOCHS}; "
        f"from scratch {', '.join(f'{n} with {recipe}' for recipe, n in RECIPES.items())})",
        TRAINING,
    )
    batch_size: int = _option(
        BATCH_SIZE, "images per step, over all devices and processes", TRAINING
    )
    accumulate: int = _option(
        1,
        "update the weights once every so many steps, by the mean of their gradients: 4 steps "
        "with batches of 8 update like one with a batch of 32, in less memory",
        TRAINING,
    )
    from_endpoint: str = _option(
        None, f"first endpoint to fine-tune (default: {FROM_ENDPOINT})", TRAINING
    )
    head_learning_rate: float = _option(
        None, f"learning rate of the head (default: {HEAD_RATE})", TRAINING
    )
    learning_rate: float = _option(
        None, f"peak learning rate of fine-tuning (default: {RATE})", TRAINING
    )
    balanced: bool = _option(
        False,
        "weight all classes equally; with several classes per image, the positive labels of each "
        "class as much as its negative ones; only with trained weights",
        TRAINING,
    )
    loss: str | None = _option(
        None, "loss of regression, on standardized targets (default: huber)", TRAINING, LOSSES
    )
    patience: int = _option(
        None,
        "stop fine-tuning after this many epochs without a lower held-out loss (default: never)",
        TRAINING,
    )
    cache_augmented: int = _option(
        None,
        "fine-tuning: augment each image this many times, pass these versions through the frozen "
        "blocks once, and train on the cached outputs; 0 passes every image through them in every "
        "epoch (default: 1 with --augment none, else 0)",
        TRAINING,
    )
    calibrate: bool = _option(
        False,
        "scale the logits by one number (temperature), fitted on the held-out images, so that "
        "probabilities match how often they are right",
        TRAINING,
    )
    seed: int = _option(
        0, "seed for splitting, initialization, shuffling and augmentation", TRAINING
    )
    precision: str = _option(
        AUTO,
        "dtype policy of training; auto keeps that of a resumed run, and for a new run takes "
        "mixed_bfloat16 if it is known to be faster, else float32; the model is always written in "
        "float32",
        TRAINING,
        (AUTO, *PRECISIONS),
    )
    deterministic: bool = _option(
        False, "give the same numbers in every run on the same machine; somewhat slower", TRAINING
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
                f"Received {', '.join(given)} with weights=None. Pass it only with trained weights."
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
                f"table ({', '.join(TABLES)}), no file of records and no saved dataset."
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
        """Return these settings with the defaults that depend on other settings.

        Args:
            recorded: Arguments of the run being resumed; empty for a new run.
            fastest_precision: Function that returns the precision for a new run.
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
        """Return the arguments that the run records and by which its folder is recognized."""
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
    """Return a function's signature with `**settings` replaced by the names of the settings.

    Args:
        function: Function whose last parameter is `**settings`. It takes `data` by name.
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
    """Return every setting but `data` with its help text, as entries of an `Args` section."""
    entries = {item.name: item.metadata["help"] for item in fields(Settings) if item.name != "data"}
    return "\n        ".join(
        f"{name}: {about[0].upper()}{about[1:]}." for name, about in entries.items()
    )
