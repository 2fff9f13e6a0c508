"""Second training phase: fine-tuning of the last blocks at a low learning rate."""

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
    """Train what `unfreeze` made trainable, at a low rate that warms up and decays.

    Adam; the rate rises to `learning_rate` and falls to 0 along a cosine. With held-out images the
    weights of the epoch with the lowest held-out loss are kept. On JAX, arrays and files are
    spread over all devices, as in `train_head`.

    Args:
        model: Model from `transfer_model`, after `train_head` and `unfreeze`.
        train: Training data, as in `train_head`.
        validation: Held-out data, as in `train_head`.
        epochs: Passes over the images. Defaults to 5.
        batch_size: Images per step, of all devices together, for data that are not batched yet.
            Defaults to 32.
        learning_rate: Highest learning rate. Defaults to 1e-4.
        warmup: Share of all steps in which the rate rises, in [0, 1). Defaults to 0.1.
        label_smoothing: Share of a label that is spread over all outcomes, in [0, 1). Defaults to
            0.1, and to 0 for quantities.
        class_weight: Weights of the classes, as in `train_head`.
        patience: Epochs without a lower held-out loss after which to stop. `None` never stops
            early.
        precision: Precision to train in: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or
            `"auto"`: `"mixed_bfloat16"` where that is known to be faster, else `"float32"`. The
            model itself stays in float32. To resume from `folder` on another kind of machine, name
            one.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.
        seed: Seed for shuffling arrays, or the batches of a PyDataset. Other data keep their
            order.
        folder: Folder that keeps the state after each epoch. The same call then resumes at the
            epoch that was interrupted. `None` keeps nothing. Data that shuffle themselves resume
            in another order.
        optimizer: Optimizer to use instead of Adam with `learning_rate` and `warmup`. It must not
            have trained anything yet. It keeps the training on one device.
        loss: Loss of labels and predictions, by its name in Keras or as a function. Defaults to
            the task's own: cross entropy with `label_smoothing`, or Huber's loss of standardized
            targets for quantities.
        validation_data: Keras's name for `validation`.
        checkpoint_every: Steps of an epoch after which the state is kept too, so that the same
            call resumes there. `None` keeps it only after epochs.
        accumulate: Steps per update. The update uses the mean of their gradients: batches of 8 and
            4 steps update as batches of 32 do, in less memory. Batch norm that trains still sees
            batches of 8. An update may span two epochs; steps left over at the end of the
            training update nothing. Defaults to 1.
        cache_augmented: Number of augmented versions of each image, at least 1, that pass the
            frozen blocks once; the outputs are kept, and each epoch trains on the next version. 0
            passes every image through all blocks in every epoch. `None` is 1 if the data are
            arrays that no layer augments, there is room, no callback is given, and there is more
            than one epoch; else it is 0. Up to a gigabyte is kept in memory in float32; more is
            kept in `folder` or a temporary file, in float16.
        callbacks: Keras callbacks. Their `model` is a twin of this one in `precision`, or with
            `cache_augmented` a twin of its layers above the frozen blocks. If one raises an error,
            the phase ends and can be resumed from `folder`.
        verbose: As in `keras.Model.fit`.

    Returns:
        The history: loss and a metric of each epoch, as from `train_head`, training and held-out.

    Raises:
        ValueError: If an argument is wrong, the data are of another kind, or nothing in the model
            is trainable.
        OSError: If `folder` cannot be written, or there is no room for what `cache_augmented`
            keeps.

    Examples:
        ```python
        import keras
        from keras_inception_v4 import fine_tune, train_head, transfer_model, unfreeze

        read = keras.utils.image_dataset_from_directory
        train, held_out = (
            read(f"photos/{part}", image_size=(299, 299), batch_size=8)
            for part in ("train", "validation")
        )
        model = transfer_model(len(train.class_names))
        train_head(model, train, held_out, epochs=5)
        unfreeze(model, "mixed_7a")
        print(fine_tune(model, train, held_out, epochs=2, precision="auto").history["val_loss"])
        ```
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
    _, dense = pool_and_dense(model)  # rejects other heads
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
    """Settings of the objective that the user passed; `None` stands for the default."""

    optimizer: keras.optimizers.Optimizer | None
    loss: object
    learning_rate: float | None
    warmup: float | None
    label_smoothing: float | None
    accumulate: int


class _Objective(NamedTuple):
    """Settings of the objective, with defaults filled in."""

    learning_rate: float
    warmup: float
    label_smoothing: float
    accumulate: int

    @property
    def recorded(self) -> dict:
        """Values for a checkpoint; without an `accumulate` of 1, as in older checkpoints."""
        values = self._asdict()
        if self.accumulate == 1:
            del values["accumulate"]
        return values

    def adam(self, steps: int) -> keras.optimizers.Optimizer:
        """Return Adam with a learning rate schedule for `steps` steps."""
        rate = warmup_cosine(self.learning_rate, steps // self.accumulate, self.warmup)
        return keras.optimizers.Adam(**accumulated(rate, self.accumulate))


def _objective(task: Task, own: _Own) -> _Objective:
    """Check the settings that the user passed, and fill in the defaults."""
    if own.optimizer is not None and own.accumulate > 1:
        raise ValueError(
            f"Received optimizer with accumulate={own.accumulate}. Set "
            "gradient_accumulation_steps in the optimizer instead."
        )
    if own.optimizer is not None and (own.learning_rate, own.warmup) != (None, None):
        raise ValueError(
            "Received optimizer with learning_rate or warmup. Set the rate in the optimizer."
        )
    if own.loss is not None and own.label_smoothing is not None:
        raise ValueError("Received loss with label_smoothing. Smooth the labels in the loss.")
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
