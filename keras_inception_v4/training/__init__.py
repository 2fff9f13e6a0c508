"""Fitting, and the folder in which a run keeps what it made."""

from keras_inception_v4.training.run_folder import RunFolder
from keras_inception_v4.training.scratch import train_digits

__all__ = ["RunFolder", "train_digits"]
