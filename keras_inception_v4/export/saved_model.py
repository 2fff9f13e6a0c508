"""SavedModel: TensorFlow's own format for serving."""

import os

import keras

from keras_inception_v4.files import replacing


def export_saved_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a SavedModel that loads where only TensorFlow is installed.

    Its signature `serving_default` takes the model's own float images and answers
    what the model answers.

    Args:
        model: a model of this package, on the TensorFlow backend.
        path: the folder; an old one is replaced.

    Raises:
        ValueError: on another backend than TensorFlow.
        OSError: if the folder cannot be written.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"A SavedModel is TensorFlow's own format, and this is the {keras.backend.backend()} "
            "backend. Load the .keras file with KERAS_BACKEND=tensorflow and export it there."
        )
    with replacing(path) as new:
        model.export(new, format="tf_saved_model", verbose=False)
