"""The second phase: the last blocks at a low rate."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras

from keras_inception_v4.architecture import PRECISIONS
from keras_inception_v4.data.inputs import all_labels, as_batches
from keras_inception_v4.errors import check_at_least, check_one_of
from keras_inception_v4.inspection import pool_and_dense, say_pixels, task_of
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import Task
from keras_inception_v4.training import devices
from keras_inception_v4.training.class_weights import weighted
from keras_inception_v4.training.fitting import fit, held_out_of, trainable_twin
from keras_inception_v4.training.frozen import Trained, above_frozen
from keras_inception_v4.training.objectives import (
    LABEL_SMOOTHING,
    accumulated,
    loss_for,
    own_objective,
    warmup_cosine,
)
from keras_inception_v4.training.options import AUTO, BATCH_SIZE, EPOCHS, RATE
from keras_inception_v4.training.precision import fastest_precision
from keras_inception_v4.training.standardizing import standard_of, standardized
from keras_inception_v4.training.timeline import Timeline

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
    accumulate: int = 1,
    cache_augmented: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> keras.callbacks.History:
    """Trains what `unfreeze` made trainable, at a low rate that warms up and decays.

    Adam; the rate rises to `learning_rate` and falls to 0 along a cosine. With held-out
    images the weights of the epoch with the lowest held-out loss are kept. On JAX, arrays and files
    are spread over all devices, as in `train_head`.

    Args:
        model: from `transfer_model` after `train_head` and `unfreeze`.
        train: as in `train_head`.
        validation: as in `train_head`.
        epochs: passes over the images.
        batch_size: images a step, of all devices together, for data that are not batched yet.
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
            nothing yet. It is on one device, and so is the training.
        loss: of labels and the model's answers, by its name in Keras or as a function, in the
            place of the task's own: cross entropy with `label_smoothing`, and Huber's loss of
            standardized targets for quantities.
        validation_data: Keras's name for `validation`.
        checkpoint_every: steps of an epoch after which the state is kept too, so that the same call
            goes on there; `None` keeps it after epochs alone.
        accumulate: steps of an update, which goes by the mean of their gradients. Batches of 8 and
            4 steps update as batches of 32 do, in less memory; but batch norm that trains goes by
            the statistics of 8. Fewer steps that are left at the end update nothing.
        cache_augmented: augmented versions of each image, at least 1. They pass the frozen blocks
            once; what comes out is kept, and the epochs train on one version after the other.
            0 passes every image in every epoch. `None` is 1 for arrays that no layer augments, if
            there is room, no callback is given and there is more than one epoch; else it is 0.
            Up to a gigabyte is kept in memory, in float32; more in `folder` or a temporary file,
            in float16.
        callbacks: of Keras; their `model` is a twin of this one in `precision`, with
            `cache_augmented` of what is above the frozen blocks. One that raises ends the phase,
            which goes on from `folder`.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and a metric an epoch, as `train_head`, training and held-out.

    Raises:
        ValueError: for a wrong argument, data of another kind, or a model without anything
            trainable.
        OSError: if `folder` cannot be written, or what `cache_augmented` keeps has no room.
    """
    check_at_least(1, epochs=epochs, batch_size=batch_size, accumulate=accumulate)
    check_at_least(0, cache_augmented=cache_augmented or 0)
    validation = held_out_of(validation, validation_data)
    if patience is not None and validation is None:
        raise ValueError("patience needs held-out images: pass validation.")
    task = task_of(model)
    own = _Own(optimizer, loss, learning_rate, warmup, label_smoothing, accumulate)
    objective = _objective(task, own)
    check_one_of((AUTO, *PRECISIONS), precision=precision)
    precision = fastest_precision() if precision == AUTO else precision
    say_pixels(model, pixels)
    _, dense = pool_and_dense(model)  # refuses other heads
    if not model.trainable_weights:
        raise ValueError(f"Nothing of {model.name!r} is trainable. Call unfreeze(model) first.")
    spread = optimizer is None and devices.can_share(batch_size, train, validation)
    batches = as_batches(train, model, batch_size, seed=seed, **devices.share(spread))
    measured = devices.share(spread, held_out=True)
    held_out = None if validation is None else as_batches(validation, model, batch_size, **measured)
    checkpoint = None if folder is None else Path(folder) / "fine_tuning.safetensors"
    looked_at = any(not isinstance(callback, Timeline) for callback in callbacks)
    with contextlib.ExitStack() as stack:
        kept = above_frozen(
            Trained(model, batches, held_out), train, validation,
            asked=0 if cache_augmented is None and looked_at else cache_augmented,
            batch_size=batch_size, epochs=epochs, seed=seed, spread=spread,
            checkpoint=checkpoint, verbose=verbose,
        )  # fmt: skip
        trained, batches, held_out, versions = stack.enter_context(kept)
        standard = standard_of(task, all_labels(batches)) if task.standardized else None
        if standard is not None:
            batches = standard.batches(batches)
            held_out = held_out and standard.batches(held_out)
        batches, positive = weighted(task, batches, class_weight, model.output_shape[-1], train)
        stack.enter_context(standardized(dense, standard))
        stack.enter_context(devices.all_devices(spread))
        twin = stack.enter_context(trainable_twin(trained, precision, spread))
        smoothed = loss_for(model, objective.label_smoothing, positive) if loss is None else loss
        return fit(
            twin, batches, held_out, epochs=epochs,
            optimizer=objective.adam(epochs * len(batches)) if optimizer is None else optimizer,
            loss=smoothed, metric=task.metric, weights_fill=spread, patience=patience,
            keep_best=True, checkpoint=checkpoint, checkpoint_every=checkpoint_every,
            arguments={
                "batch_size": batch_size,
                **objective.recorded,
                "class_weight": str(class_weight),
                "patience": patience,
                "precision": precision,
                "seed": seed,
                **own_objective(optimizer, loss, resumable=folder is not None),
                **({"cached": versions} if versions else {}),
            },
            callbacks=callbacks, verbose=verbose,
        )  # fmt: skip


class _Own(NamedTuple):
    """What a user says of the objective; `None` is the default."""

    optimizer: keras.optimizers.Optimizer | None
    loss: object
    learning_rate: float | None
    warmup: float | None
    label_smoothing: float | None
    accumulate: int


class _Objective(NamedTuple):
    """What is minimized, and at which rate."""

    learning_rate: float
    warmup: float
    label_smoothing: float
    accumulate: int

    @property
    def recorded(self) -> dict:
        """As a checkpoint records it, also one from before updates took several steps."""
        values = self._asdict()
        if self.accumulate == 1:
            del values["accumulate"]
        return values

    def adam(self, steps: int) -> keras.optimizers.Optimizer:
        """The optimizer of so many steps."""
        rate = warmup_cosine(self.learning_rate, steps // self.accumulate, self.warmup)
        return keras.optimizers.Adam(**accumulated(rate, self.accumulate))


def _objective(task: Task, own: _Own) -> _Objective:
    """Checks what a user says, and fills in what is left open."""
    if own.optimizer is not None and own.accumulate > 1:
        raise ValueError(
            f"Received optimizer with accumulate={own.accumulate}. Give it "
            "gradient_accumulation_steps."
        )
    if own.optimizer is not None and (own.learning_rate, own.warmup) != (None, None):
        raise ValueError(
            "Received optimizer with learning_rate or warmup. It has a rate of its own."
        )
    if own.loss is not None and own.label_smoothing is not None:
        raise ValueError("Received loss with label_smoothing. Smooth in the loss.")
    if task.standardized and own.label_smoothing:
        raise ValueError(
            f"Received label_smoothing={own.label_smoothing} for {task.name}, which has no labels."
        )
    warmup = WARMUP if own.warmup is None else own.warmup
    smoothing = LABEL_SMOOTHING if own.label_smoothing is None else own.label_smoothing
    for name, share in (("warmup", warmup), ("label_smoothing", smoothing)):
        if not 0 <= share < 1:
            raise ValueError(f"Received {name}={share}. It must be at least 0 and below 1.")
    rate = RATE if own.learning_rate is None else own.learning_rate
    return _Objective(rate, warmup, smoothing, own.accumulate)
