"""What a run recorded beside its model: names and crop."""

import os
from collections import Counter
from typing import NamedTuple

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.files import model_file, read_json
from keras_inception_v4.preprocessing import imagenet_classes


class ModelSettings(NamedTuple):
    """What turns image files into a model's answers with names.

    `class_names` is `None` where nobody recorded any; `thresholds` likewise, one a class, from
    which probability on a class is answered.
    """

    class_names: list[str] | None
    crop: float
    thresholds: list[float] | None = None


def read_settings(model_path: str | os.PathLike) -> ModelSettings:
    """Reads what the training run recorded beside its model.

    Args:
        model_path: a run folder or its `model.keras`, or any model file.

    Returns:
        The run's class names, crop and thresholds; for a model that stands alone, no names and
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
    """One name a class: the recorded ones, ImageNet's for 1000, else the index as text.

    Two of ImageNet's names occur twice; they bear their synset.

    Raises:
        ValueError: if the recorded names are not as many as the model's classes.
    """
    if class_names is not None:
        if len(class_names) != classes:
            raise ValueError(
                f"The model answers {classes} classes, but class_names.json beside it names "
                f"{len(class_names)}. Put the model back into the folder of its own run."
            )
        return class_names
    if classes == len(imagenet_classes()):
        counts = Counter(name for _, name in imagenet_classes())
        return [
            name if counts[name] == 1 else f"{name} ({synset})"
            for synset, name in imagenet_classes()
        ]
    return [str(index) for index in range(classes)]
