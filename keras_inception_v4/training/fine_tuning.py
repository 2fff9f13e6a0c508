"""The second phase: the last blocks at a low rate."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from keras_inception_v4.architecture import PRECISIONS
from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.errors import check_at_least, check_one_of
from keras_inception_v4.inspection import pool_and_dense, say_pixels
from keras_inception_v4.progress import Verbose
from keras_inception_v4.training.class_weights import weighted
from keras_inception_v4.training.fitting import fit, held_out_of, trainable_twin
from keras_inception_v4.training.objectives import LABEL_SMOOTHING, loss_for, warmup_cosine
from keras_inception_v4.training.options import AUTO, BATCH_SIZE, EPOCHS, RATE
from keras_inception_v4.training.precision import fastest_precision

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
        seed: of the order of arrays, or of a PyDataset's batches; other data keep their own.
        folder: where the state after each epoch is kept, so that the same call goes on
            after an interruption, at the epoch that it broke off; `None` keeps nothing. Data
            that shuffle themselves resume in another order.
        optimizer: in the place of Adam with its `learning_rate` and `warmup`; one that has trained
            nothing yet.
        loss: of integer labels and the model's answers, by its name in Keras or as a function, in
            the place of cross entropy with `label_smoothing`.
        validation_data: Keras's name for `validation`.
        checkpoint_every: steps of an epoch after which the state is kept too, so that the same call
            goes on there; `None` keeps it after epochs alone.
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
    check_at_least(1, epochs=epochs, batch_size=batch_size)
    validation = held_out_of(validation, validation_data)
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
    check_one_of((AUTO, *PRECISIONS), precision=precision)
    if precision == AUTO:
        precision = fastest_precision()
    arguments = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "label_smoothing": label_smoothing,
        "class_weight": str(class_weight),
        "patience": patience,
        "precision": precision,
        "seed": seed,
        **_own(optimizer, loss, resumable=folder is not None),
    }
    say_pixels(model, pixels)
    pool_and_dense(model)  # refuses other heads
    if not model.trainable_weights:
        raise ValueError(f"Nothing of {model.name!r} is trainable. Call unfreeze(model) first.")
    names = getattr(train, "class_names", None)
    batches = as_batches(train, model, batch_size, seed=seed)
    batches = weighted(batches, class_weight, model.output_shape[-1], names)
    held_out = None if validation is None else as_batches(validation, model, batch_size)
    if optimizer is None:
        rate = warmup_cosine(learning_rate, epochs * len(batches), warmup)
        optimizer = keras.optimizers.Adam(rate)
    with trainable_twin(model, precision) as twin:
        return fit(
            twin,
            batches,
            held_out,
            epochs=epochs,
            optimizer=optimizer,
            loss=loss_for(model, label_smoothing) if loss is None else loss,
            patience=patience,
            keep_best=True,
            checkpoint=None if folder is None else Path(folder) / "fine_tuning.safetensors",
            checkpoint_every=checkpoint_every,
            arguments=arguments,
            callbacks=callbacks,
            verbose=verbose,
        )


def _own(optimizer, loss, *, resumable: bool) -> dict[str, str]:
    """A user's own optimizer and loss, as a checkpoint records them.

    Raises:
        ValueError: for an optimizer that has trained, or a loss that could not be told again.
    """
    if optimizer is not None and optimizer.built:
        raise ValueError(
            f"The optimizer {optimizer.name!r} has trained another model. Pass a new one: "
            "type(optimizer).from_config(optimizer.get_config())."
        )
    own = {"optimizer": _recorded(optimizer), "loss": _recorded(loss)}
    if resumable and "<lambda>" in str(own["loss"]):
        raise ValueError(
            "Received a lambda as loss, with a folder. A resumed call could not tell it from "
            "another one: define a function with a name."
        )
    return {name: value for name, value in own.items() if value is not None}


def _recorded(given) -> str | None:
    """What tells an optimizer or a loss from another, as far as Keras can say it."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, (keras.optimizers.Optimizer, keras.losses.Loss)):
        config = {name: value for name, value in given.get_config().items() if name != "name"}
        return f"{type(given).__name__} {config}"
    return f"{given.__module__}.{getattr(given, '__qualname__', type(given).__name__)}"
