"""The two phases: a head on cached features, then the last blocks at a low rate."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.data import (
    Batches,
    as_batches,
    check_labels,
    count_batches,
    each_batch,
)
from keras_inception_v4.explain import pool_and_dense
from keras_inception_v4.model import classifier
from keras_inception_v4.preprocessing.feeding import activation_of, feeder
from keras_inception_v4.preprocessing.scaling import say_pixels
from keras_inception_v4.training import (
    AUTO,
    PRECISIONS,
    fastest_precision,
    fit,
    smoothed_crossentropy,
    trainable_twin,
    warmup_cosine,
)
from keras_inception_v4.transfer.caching import cached_features
from keras_inception_v4.transfer.class_weights import class_weights

HEAD_EPOCHS = 20
HEAD_RATE = 1e-3
EPOCHS = 5
RATE = 1e-4
WARMUP = 0.1  # share of all steps
LABEL_SMOOTHING = 0.1
BATCH_SIZE = 32
MEMORY_BUDGET = 1 << 30


def train_head(
    model: keras.Model,
    train,
    validation=None,
    *,
    epochs: int = HEAD_EPOCHS,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = HEAD_RATE,
    class_weight: Mapping | Sequence[float] | str | None = None,
    memory_budget: int = MEMORY_BUDGET,
    pixels: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose="auto",
) -> keras.callbacks.History:
    """Trains the head alone, passing each image through the backbone only once.

    The 1536 features of every image are kept, and the head is trained on them with Adam.
    What a plain `fit` of the same frozen model without augmentation ends on, this ends on.
    Augmentation has no effect here: each image is seen as it is.

    Args:
        model: from `transfer_model`, or any classifier of this package.
        train: a pair of arrays `(images, integer labels)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset` of such pairs; raw pixels, 0 to 255, channels last.
        validation: the same, held out, or `None`.
        epochs: passes over the features.
        batch_size: images a step; for a data set, images a step of the head.
        learning_rate: of Adam.
        class_weight: class to the weight of its images (an index, or a name where `train` has
            `class_names`), one weight a class, or `"balanced"` to weigh every class alike
            however many images it has.
        memory_budget: bytes of features to hold in memory (6 kB an image); beyond it they
            are on disk.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        seed: of the order and the dropout.
        folder: where features and the state after each epoch are kept, so that the same call
            goes on after an interruption; `None` keeps nothing.
        validation_data: Keras's name for `validation`.
        callbacks: of Keras; their `model` is the head, which takes features. One that raises ends
            the phase, which goes on from `folder`.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and accuracy an epoch, training and held-out.

    Raises:
        ValueError: for a wrong argument, data of another kind, or a model whose head is not
            an average pool and one dense layer.
        OSError: if `folder` cannot be written.
    """
    _check(epochs=epochs, batch_size=batch_size)
    validation = _one_of(validation, validation_data)
    say_pixels(model, pixels)
    _, dense = pool_and_dense(model)
    classes = model.output_shape[-1]
    names = getattr(train, "class_names", None)
    folder = None if folder is None else Path(folder)

    def cache(data, name):
        return cached_features(
            model,
            data,
            batch_size=batch_size,
            memory_budget=memory_budget,
            path=folder and folder / f"{name}.features",
            verbose=bool(verbose),
        )

    def fit_head(features, held_out):
        inputs = keras.Input(dense.kernel.shape[:1])
        rate = next((x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)), 0)
        output = classifier(
            inputs, classes, activation=dense.activation, dropout_rate=rate, seed=seed
        )
        head = keras.Model(inputs, output)
        head.set_weights(dense.get_weights())
        history = fit(
            head,
            Batches(features, batch_size, seed=seed),
            None if held_out is None else Batches(held_out, batch_size),
            epochs=epochs,
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=_loss(activation_of(head), classes, smoothing=0),
            class_weight=class_weights(class_weight, features.labels, classes, names),
            checkpoint=folder and folder / "head.safetensors",
            arguments={
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "class_weight": str(class_weight),
                "seed": seed,
            },
            callbacks=callbacks,
            verbose=verbose,
        )
        dense.set_weights(head.layers[-1].get_weights())
        return history

    with cache(train, "train") as features:
        if validation is None:
            return fit_head(features, None)
        with cache(validation, "validation") as held_out:
            return fit_head(features, held_out)


def fine_tune(
    model: keras.Model,
    train,
    validation=None,
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    learning_rate: float | None = None,
    warmup: float | None = None,
    label_smoothing: float | None = None,
    class_weight: Mapping | Sequence[float] | str | None = None,
    patience: int | None = None,
    precision: str = "float32",
    pixels: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss=None,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose="auto",
) -> keras.callbacks.History:
    """Trains what `unfreeze` made trainable, at a low rate that warms up and decays.

    Adam; the rate rises to `learning_rate` and falls to 0 along a cosine. With held-out
    images the weights of the epoch with the lowest held-out loss are kept.

    Args:
        model: from `transfer_model` after `train_head` and `unfreeze`.
        train: as in `train_head`.
        validation: as in `train_head`.
        epochs: passes over the images.
        batch_size: images a step, for arrays.
        learning_rate: peak; default 1e-4.
        warmup: share of all steps in which the rate rises, in [0, 1); default 0.1.
        label_smoothing: in [0, 1), share of a label that is spread over all classes; default 0.1.
        class_weight: as in `train_head`.
        patience: epochs without a lower held-out loss after which to stop; `None` never
            stops early.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or `"auto"`, which is
            `"mixed_bfloat16"` where that is known to be faster and else `"float32"` (to go on from
            `folder` on a machine of another kind, name it); the model stays in float32 whatever it
            is trained in.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        seed: of the order, for arrays.
        folder: where the state after each epoch is kept, so that the same call goes on
            after an interruption, at the epoch that it broke off; `None` keeps nothing. A
            `tf.data.Dataset` that shuffles itself resumes in another order.
        optimizer: in the place of Adam with its `learning_rate` and `warmup`; one that has trained
            nothing yet.
        loss: of integer labels and the model's answers, by its name in Keras or as a function, in
            the place of cross entropy with `label_smoothing`.
        validation_data: Keras's name for `validation`.
        callbacks: of Keras; their `model` is a twin of this one in `precision`. One that raises
            ends the phase, which goes on from `folder`.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and accuracy an epoch, training and held-out.

    Raises:
        ValueError: for a wrong argument, data of another kind, or a model without anything
            trainable.
        OSError: if `folder` cannot be written.
    """
    _check(epochs=epochs, batch_size=batch_size)
    validation = _one_of(validation, validation_data)
    if patience is not None and validation is None:
        raise ValueError("patience needs held-out images: pass validation.")
    if optimizer is not None and (learning_rate, warmup) != (None, None):
        raise ValueError(
            "Received optimizer with learning_rate or warmup. It has a rate of its own."
        )
    if loss is not None and label_smoothing is not None:
        raise ValueError("Received loss with label_smoothing. Smooth in the loss.")
    learning_rate = RATE if learning_rate is None else learning_rate
    warmup = WARMUP if warmup is None else warmup
    label_smoothing = LABEL_SMOOTHING if label_smoothing is None else label_smoothing
    for name, share in (("warmup", warmup), ("label_smoothing", label_smoothing)):
        if not 0 <= share < 1:
            raise ValueError(f"Received {name}={share}. It must be at least 0 and below 1.")
    if precision not in (AUTO, *PRECISIONS):
        allowed = ", ".join((AUTO, *PRECISIONS))
        raise ValueError(f"Received precision={precision!r}. Allowed are {allowed}.")
    if precision == AUTO:
        precision = fastest_precision()
    say_pixels(model, pixels)
    pool_and_dense(model)  # refuses other heads
    if not model.trainable_weights:
        raise ValueError(f"Nothing of {model.name!r} is trainable. Call unfreeze(model) first.")
    classes = model.output_shape[-1]
    feed = feeder(model)
    names = getattr(train, "class_names", None)
    train = as_batches(train, batch_size, classes=classes, seed=seed, feed=feed)
    if validation is not None:
        validation = as_batches(validation, batch_size, classes=classes, feed=feed)
    weights = class_weights(class_weight, lambda: _labels(train, classes), classes, names)
    own = {"optimizer": _recorded(optimizer), "loss": _recorded(loss)}
    if folder is not None and "<lambda>" in str(own["loss"]):
        raise ValueError(
            "Received a lambda as loss, with a folder. A resumed call could not tell it from "
            "another one: define a function with a name."
        )
    if optimizer is None:
        rate = warmup_cosine(learning_rate, epochs * count_batches(train), warmup)
        optimizer = keras.optimizers.Adam(rate)
    elif optimizer.built:
        raise ValueError(
            f"The optimizer {optimizer.name!r} has trained another model. Pass a new one: "
            "type(optimizer).from_config(optimizer.get_config())."
        )
    if loss is None:
        loss = _loss(activation_of(model), classes, smoothing=label_smoothing)
    with trainable_twin(model, precision) as twin:
        return fit(
            twin,
            train,
            validation,
            epochs=epochs,
            optimizer=optimizer,
            loss=loss,
            class_weight=weights,
            patience=patience,
            keep_best=True,
            checkpoint=None if folder is None else Path(folder) / "fine_tuning.safetensors",
            arguments={
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "warmup": warmup,
                "label_smoothing": label_smoothing,
                "class_weight": str(class_weight),
                "patience": patience,
                "precision": precision,
                "seed": seed,
                **{name: value for name, value in own.items() if value is not None},
            },
            callbacks=callbacks,
            verbose=verbose,
        )


def _check(**counts) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"Received {name}={value}. It must be at least 1.")


def _one_of(validation, validation_data):
    if validation is not None and validation_data is not None:
        raise ValueError("Received validation and validation_data, which are the same.")
    return validation if validation_data is None else validation_data


def _recorded(given) -> str | None:
    """What tells an optimizer or a loss from another, as far as Keras can say it."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, (keras.optimizers.Optimizer, keras.losses.Loss)):
        config = {name: value for name, value in given.get_config().items() if name != "name"}
        return f"{type(given).__name__} {config}"
    return f"{given.__module__}.{getattr(given, '__qualname__', type(given).__name__)}"


def _loss(activation: str | None, classes: int, smoothing: float):
    if activation not in ("softmax", "linear"):
        raise ValueError(
            f"The classifier's activation is {activation}. Training needs 'softmax' or None "
            "(logits)."
        )
    return smoothed_crossentropy(classes, smoothing, from_logits=activation == "linear")


def _labels(batches, classes) -> np.ndarray:
    if isinstance(batches, Batches):
        return batches.source.labels
    return np.concatenate([check_labels(labels, classes) for _, labels in each_batch(batches)])
