"""Fitting, and the folder in which a run keeps what it made."""

from keras_inception_v4.training.augmentation import AUGMENTATIONS, augmentation_layers
from keras_inception_v4.training.auxiliary import with_auxiliary_head
from keras_inception_v4.training.fitting import (
    fit,
    make_reproducible,
    smoothed_crossentropy,
    trainable_twin,
    warmup_cosine,
)
from keras_inception_v4.training.precision import AUTO, PRECISIONS, fastest_precision
from keras_inception_v4.training.recipes import RECIPES
from keras_inception_v4.training.results import write_results
from keras_inception_v4.training.run_folder import RunFolder, recorded_arguments
from keras_inception_v4.training.scratch import check_batch_size, scratch_model, train_from_scratch
from keras_inception_v4.training.timeline import Timeline, require_tensorboard

__all__ = [
    "AUGMENTATIONS",
    "AUTO",
    "PRECISIONS",
    "RECIPES",
    "RunFolder",
    "Timeline",
    "augmentation_layers",
    "check_batch_size",
    "fastest_precision",
    "fit",
    "make_reproducible",
    "recorded_arguments",
    "require_tensorboard",
    "scratch_model",
    "smoothed_crossentropy",
    "train_from_scratch",
    "trainable_twin",
    "warmup_cosine",
    "with_auxiliary_head",
    "write_results",
]
