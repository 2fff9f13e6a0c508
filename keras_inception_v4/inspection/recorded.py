"""Settings that a run recorded beside its model: class names, crop and thresholds."""

import os
from collections import Counter
from typing import NamedTuple

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.files import model_file, read_json
from keras_inception_v4.preprocessing import imagenet_classes


class ModelSettings(NamedTuple):
    """Settings that turn image files into named predictions.

    `class_names` is `None` if no names were recorded. `thresholds` holds the least probability at
    which each class is predicted, or is `None`.
    """

    class_names: list[str] | None
    crop: float
    thresholds: list[float] | None = None


def read_settings(model_path: str | os.PathLike) -> ModelSettings:
    """Read the settings that the training run recorded beside its model.

    Args:
        model_path: Run folder, its `model.keras`, or any other model file.

    Returns:
        The run's class names, crop and thresholds. A model outside a run folder has no names, and
        the evaluation crop of the published accuracy.
    """
    folder = model_file(model_path).parent
    names, config = folder / "class_names.json", folder / "config.json"
    thresholds = folder / "thresholds.json"
    class_names = read_json(names) if names.is_file() else None
    limits = None
    if class_names is not None and thresholds.is_file():
        by_name = read_json(thresholds)
        limits = [by_name[name] for name in class_names]
    return ModelSettings(
        class_names,
        read_json(config).get("crop", EVALUATION_CROP) if config.is_file() else EVALUATION_CROP,
        limits,
    )


def names_of(classes: int, class_names: list[str] | None) -> list[str]:
    """Return one name per class: the given ones, ImageNet's for 1000, else the index as text.

    Two of ImageNet's names occur twice; their synset is appended.

    Raises:
        ValueError: If the number of given names is not the model's number of classes.
    """
    if class_names is not None:
        if len(class_names) != classes:
            raise ValueError(
                f"The model has {classes} classes, but there are {len(class_names)} class names. "
                "Pass one name per class. If they come from class_names.json beside the model, "
                "move the model back to the folder of its own run."
            )
        return class_names
    if classes == len(imagenet_classes()):
        counts = Counter(name for _, name in imagenet_classes())
        return [
            name if counts[name] == 1 else f"{name} ({synset})"
            for synset, name in imagenet_classes()
        ]
    return [str(index) for index in range(classes)]
