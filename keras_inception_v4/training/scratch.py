"""From random weights to a classifier: InceptionV4 on the embedded digits."""

import os
import time

import keras
import numpy as np
from keras import layers
from PIL import Image

from keras_inception_v4 import plots
from keras_inception_v4.data import DIGITS_CROP, Batches, Images, LabelledData, load_digits_data
from keras_inception_v4.evaluation import classification_report
from keras_inception_v4.export import export_saved_model
from keras_inception_v4.files import replacing, write_json
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.preprocessing.feeding import model_input
from keras_inception_v4.training.fitting import (
    PRECISIONS,
    dtype_policy,
    fit_from_scratch,
    make_reproducible,
)
from keras_inception_v4.training.run_folder import RunFolder
from keras_inception_v4.weights.loading import copy_weights

BATCH_NORM_MOMENTUM = 0.9  # 0.99 evaluates at chance for the first few hundred steps
SHIFT, TURN, ZOOM = 0.03, 0.01, 0.03  # largest, as shares of the side, of a full turn, of the size


def train_digits(
    output: str | os.PathLike,
    *,
    epochs: int = 7,
    batch_size: int = 32,
    image_size: int = 75,
    seed: int = 0,
    precision: str = "mixed_bfloat16",
    deterministic: bool = False,
    verbose="auto",
) -> dict:
    """Trains InceptionV4 from scratch on the embedded digits and writes a run folder.

    The folder gets `model.keras` (float32, raw pixels in), `class_names.json`,
    `config.json`, `history.csv`, `report.json`, `curves.png`,
    `confusion_matrix.png`, `examples/` (a held-out scan of each digit, to try the
    model on) and, on the TensorFlow backend, `saved_model/`. A complete run is
    not trained again.

    Args:
        output: the run folder.
        epochs: passes over the training images.
        batch_size: images a step.
        image_size: side in pixels, at least 75.
        seed: of the split, the weights, the order and the augmentation.
        precision: dtype policy of training; the model is written in float32.
        deterministic: the same numbers again on the same machine, somewhat slower.
        verbose: as in `keras.Model.fit`.

    Returns:
        The run's report; `accuracy` (0 to 1) is on held-out images.

    Raises:
        ValueError: for an argument out of range, or a folder of another run.
        ImportError: without scikit-learn or matplotlib; the message names the extra.
        OSError: if the folder cannot be written.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"Received {name}={value}. It must be at least 1.")
    if precision not in PRECISIONS:
        raise ValueError(f"Received precision={precision!r}. Allowed are {', '.join(PRECISIONS)}.")
    plots.require_matplotlib()
    started = time.monotonic()
    make_reproducible(seed, deterministic)
    delivered = _digits_model(image_size)  # refuses a wrong size before anything is written
    run = RunFolder(
        output,
        {
            "data": "digits",
            "weights": None,
            "epochs": epochs,
            "batch_size": batch_size,
            "image_size": image_size,
            "seed": seed,
            "precision": precision,
            "deterministic": deterministic,
        },
        crop=DIGITS_CROP,
    )
    if run.report is not None:
        return run.report

    data = load_digits_data(image_size, seed=seed)
    with dtype_policy(precision):
        trained = _digits_model(image_size, augment=True)
    train, validation = (
        Images(model_input(trained, images.pixels), images.labels)
        for images in (data.train, data.validation)
    )
    history = fit_from_scratch(
        trained,
        Batches(train, batch_size, seed=seed),
        Batches(validation, batch_size),
        epochs=epochs,
        verbose=verbose,
    )
    copy_weights(trained, delivered)
    probabilities = delivered.predict(validation.pixels, batch_size=batch_size, verbose=0)
    metrics = classification_report(probabilities, validation.labels, data.class_names)
    _write(run, delivered, data, history, metrics)
    report = {
        **metrics,
        "training_images": len(train),
        "epochs": epochs,
        "weights": delivered.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    run.finish(report)
    return report


def _digits_model(image_size: int, *, augment: bool = False) -> keras.Model:
    shape = (image_size, image_size, 3)
    if keras.config.image_data_format() == "channels_first":
        shape = (3, image_size, image_size)
    x = layers.Input(shape)
    if augment:
        fill = {"fill_mode": "constant", "dtype": "float32"}
        x = layers.RandomTranslation(SHIFT, SHIFT, **fill)(x)
        x = layers.RandomRotation(TURN, **fill)(x)
        x = layers.RandomZoom(ZOOM, ZOOM, **fill)(x)
    return InceptionV4(
        weights=None,
        input_tensor=x,
        classes=10,
        batch_norm_momentum=BATCH_NORM_MOMENTUM,
        include_preprocessing=True,
    )


def _write(run: RunFolder, model, data: LabelledData, history, metrics) -> None:
    with replacing(run.path / "model.keras") as new:
        model.save(new)
    write_json(run.path / "class_names.json", data.class_names)
    run.write_history(history)
    plots.plot_curves(history, run.path / "curves.png")
    plots.plot_confusion_matrix(
        metrics["confusion_matrix"], data.class_names, run.path / "confusion_matrix.png"
    )
    _write_examples(run, data)
    if keras.backend.backend() == "tensorflow":
        export_saved_model(model, run.path / "saved_model")


def _write_examples(run: RunFolder, data: LabelledData) -> None:
    """A held-out image of each class, as a file to try the model on."""
    with replacing(run.path / "examples") as new:
        new.mkdir()
        for label, name in enumerate(data.class_names):
            index = list(data.validation.labels).index(label)
            pixels = np.round(data.validation.pixels[index]).astype("uint8")
            Image.fromarray(pixels).save(new / f"{name}.png")
