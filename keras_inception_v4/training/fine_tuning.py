"""The second phase: the last blocks at a low rate."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from keras_inception_v4.architecture import PRECISIONS
from keras_inception_v4.data.inputs import all_labels, as_batches
from keras_inception_v4.errors import check_at_least, check_one_of
from keras_inception_v4.inspection import pool_and_dense, say_pixels, task_of
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import Task
from keras_inception_v4.training.class_weights import weighted
from keras_inception_v4.training.fitting import fit, held_out_of, trainable_twin
from keras_inception_v4.training.objectives import (
    LABEL_SMOOTHING,
    loss_for,
    own_objective,
    warmup_cosine,
)
from keras_inception_v4.training.options import AUTO, BATCH_SIZE, EPOCHS, RATE
from keras_inception_v4.training.precision import fastest_precision
from keras_inception_v4.training.standardizing import standard_of, standardized

WARMUP = 0.1  # share of all steps


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
    checkpoint_every: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> keras.callbacks.History:
    """Trains what `unfreeze` made trainable, at a low rate that warms up and decays.

    Adam; the rate rises to `learning_rate` and falls to 0 along a cosine. With held-out
    images the weights of the epoch with the lowest held-out loss are kept.

    Args:
        model: from `transfer_model` after `train_head` and `unfreeze`.
        train: as in `train_head`.
        validation: as in `train_head`.
        epochs: passes over the images.
        batch_size: images a step, for data that are not batched yet.
        learning_rate: peak; default 1e-4.
        warmup: share of all steps in which the rate rises, in [0, 1); default 0.1.
        label_smoothing: in [0, 1), share of a label that is spread over all outcomes; default 0.1,
            and none for quantities.
        class_weight: as in `train_head`.
        patience: epochs without a lower held-out loss after which to stop; `None` never
            stops early.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or `"auto"`, which is
            `"mixed_bfloat16"` where that is known to be faster and else `"float32"` (to go on from
            `folder` on a machine of another kind, name it); the model stays in float32 whatever it
            is trained in.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        seed: of the order of arrays, or of a PyDataset's batches; other data keep their own.
        folder: where the state after each epoch is kept, so that the same call goes on
            after an interruption, at the epoch that it broke off; `None` keeps nothing. Data
            that shuffle themselves resume in another order.
        optimizer: in the place of Adam with its `learning_rate` and `warmup`; one that has trained
            nothing yet.
        loss: of labels and the model's answers, by its name in Keras or as a function, in the
            place of the task's own: cross entropy with `label_smoothing`, and Huber's loss of
            standardized targets for quantities.
        validation_data: Keras's name for `validation`.
        checkpoint_every: steps of an epoch after which the state is kept too, so that the same call
            goes on there; `None` keeps it after epochs alone.
        callbacks: of Keras; their `model` is a twin of this one in `precision`. One that raises
            ends the phase, which goes on from `folder`.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and a metric an epoch, as `train_head`, training and held-out.

    Raises:
        ValueError: for a wrong argument, data of another kind, or a model without anything
            trainable.
        OSError: if `folder` cannot be written.
    """
    check_at_least(1, epochs=epochs, batch_size=batch_size)
    validation = held_out_of(validation, validation_data)
    if patience is not None and validation is None:
        raise ValueError("patience needs held-out images: pass validation.")
    task = task_of(model)
    _check_objective(task, optimizer, loss, learning_rate, warmup, label_smoothing)
    learning_rate = RATE if learning_rate is None else learning_rate
    warmup = WARMUP if warmup is None else warmup
    label_smoothing = LABEL_SMOOTHING if label_smoothing is None else label_smoothing
    for name, share in (("warmup", warmup), ("label_smoothing", label_smoothing)):
        if not 0 <= share < 1:
            raise ValueError(f"Received {name}={share}. It must be at least 0 and below 1.")
    check_one_of((AUTO, *PRECISIONS), precision=precision)
    precision = fastest_precision() if precision == AUTO else precision
    arguments = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "label_smoothing": label_smoothing,
        "class_weight": str(class_weight),
        "patience": patience,
        "precision": precision,
        "seed": seed,
        **own_objective(optimizer, loss, resumable=folder is not None),
    }
    say_pixels(model, pixels)
    _, dense = pool_and_dense(model)  # refuses other heads
    if not model.trainable_weights:
        raise ValueError(f"Nothing of {model.name!r} is trainable. Call unfreeze(model) first.")
    batches = as_batches(train, model, batch_size, seed=seed)
    held_out = None if validation is None else as_batches(validation, model, batch_size)
    standard = standard_of(task, all_labels(batches)) if task.standardized else None
    if standard is not None:
        batches = standard.batches(batches)
        held_out = held_out and standard.batches(held_out)
    names = getattr(train, "class_names", None)
    batches, positive = weighted(task, batches, class_weight, model.output_shape[-1], names)
    if optimizer is None:
        rate = warmup_cosine(learning_rate, epochs * len(batches), warmup)
        optimizer = keras.optimizers.Adam(rate)
    with standardized(dense, standard), trainable_twin(model, precision) as twin:
        return fit(
            twin,
            batches,
            held_out,
            epochs=epochs,
            optimizer=optimizer,
            loss=loss_for(model, label_smoothing, positive) if loss is None else loss,
            metric=task.metric,
            patience=patience,
            keep_best=True,
            checkpoint=None if folder is None else Path(folder) / "fine_tuning.safetensors",
            checkpoint_every=checkpoint_every,
            arguments=arguments,
            callbacks=callbacks,
            verbose=verbose,
        )


def _check_objective(task: Task, optimizer, loss, learning_rate, warmup, label_smoothing) -> None:
    if optimizer is not None and (learning_rate, warmup) != (None, None):
        raise ValueError(
            "Received optimizer with learning_rate or warmup. It has a rate of its own."
        )
    if loss is not None and label_smoothing is not None:
        raise ValueError("Received loss with label_smoothing. Smooth in the loss.")
    if task.standardized and label_smoothing:
        raise ValueError(
            f"Received label_smoothing={label_smoothing} for {task.name}, which has no labels."
        )
