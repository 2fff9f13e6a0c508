"""One way to fit, and what makes a fit reproducible."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.data import count_batches, indexed_dataset
from keras_inception_v4.preprocessing.scaling import PREPROCESSING_LAYER
from keras_inception_v4.training.checkpoint import EpochCheckpoint, trained_weights
from keras_inception_v4.training.devices import check_same, is_first
from keras_inception_v4.training.precision import dtype_policy
from keras_inception_v4.weights.loading import copy_weights
from keras_inception_v4.weights.names import HEAD

LABEL_SMOOTHING = 0.1


@contextlib.contextmanager
def trainable_twin(model: keras.Model, precision: str) -> Iterator[keras.Model]:
    """A model to compile and train in another's place, which stays uncompiled.

    In float32 the twin shares the model's layers. In mixed precision it is a copy, whose
    weights come back at the end of the block, also when it is left by an exception.

    Args:
        model: a model in float32.
        precision: one of `PRECISIONS`. The classifier and what comes before
            `preprocessing` (augmentation) stay in float32.

    Yields:
        The twin.
    """
    with dtype_policy(precision):
        if precision == "float32":
            yield keras.Model(model.inputs, model.output, name=model.name)
            return
        names = [layer.name for layer in model.layers]
        raw = PREPROCESSING_LAYER in names
        augmentation = names[: names.index(PREPROCESSING_LAYER)] if raw else []

        def in_policy(layer):
            config = layer.get_config()
            head = isinstance(layer, (keras.layers.Dense, keras.layers.Softmax))
            if layer.name not in augmentation and not head:
                config["dtype"] = precision
            return type(layer).from_config(config)

        twin = keras.models.clone_model(model, clone_function=in_policy)
    copy_weights(model, twin)
    try:
        yield twin
    finally:
        copy_weights(twin, model)


def make_reproducible(seed: int, deterministic: bool) -> None:
    """Seeds Python, NumPy and the backend; on request makes its kernels deterministic."""
    keras.utils.set_random_seed(seed)
    if not deterministic:
        return
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or CUDA refuses
        torch.use_deterministic_algorithms(True)


def smoothed_crossentropy(
    classes: int, smoothing: float = LABEL_SMOOTHING, *, from_logits: bool = False
):
    """Cross entropy of integer labels with label smoothing, on probabilities or logits."""

    def loss(labels, predictions):
        labels = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), classes)
        return keras.losses.categorical_crossentropy(
            labels, predictions, from_logits=from_logits, label_smoothing=smoothing
        )

    return loss


def warmup_cosine(peak: float, steps: int, warmup: float) -> keras.optimizers.schedules.CosineDecay:
    """Learning rate from a hundredth of the peak up to it, then down to 0 along a cosine.

    Args:
        peak: the highest rate.
        steps: of the whole fit.
        warmup: share of them for the way up, in [0, 1).
    """
    up = max(1, int(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(
        peak / 100, max(1, steps - up), warmup_target=peak, warmup_steps=up
    )


class _StartEpoch(keras.callbacks.Callback):
    """Tells batches which epoch it is, so that their order is that epoch's in a resumed fit."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.start_epoch(epoch)


class _EndEpoch(keras.callbacks.Callback):
    """Tells batches that an epoch has ended, where Keras does not know them."""

    def __init__(self, train, validation):
        super().__init__()
        self.train, self.validation = train, validation

    def on_epoch_end(self, epoch, logs=None):
        if isinstance(self.train, keras.utils.PyDataset):
            self.train.on_epoch_end()

    def on_test_end(self, logs=None):
        if isinstance(self.validation, keras.utils.PyDataset):
            self.validation.on_epoch_end()


class _Sound(keras.callbacks.Callback):
    """Ends a fit whose loss is not finite, with the weights of the last epoch that was sound."""

    def on_train_begin(self, logs=None):
        self._keep()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        bad = [name for name in ("loss", "val_loss") if not np.isfinite(logs.get(name, 0))]
        if not bad:
            self._keep()
            return
        for name, variable in trained_weights(self.model).items():
            variable.assign(self._kept[name])
        raise ValueError(
            f"The {' and '.join(bad)} of epoch {epoch + 1} is not finite (NaN or infinity): the "
            "training diverged, and was stopped with the weights before that epoch. Lower the "
            "learning rate, train in float32, or look for damaged images; the same call goes on "
            "after the last sound epoch where a folder keeps it."
        )

    def _keep(self):
        self._kept = {
            name: np.array(keras.ops.convert_to_numpy(variable))
            for name, variable in trained_weights(self.model).items()
        }


def _create_metrics(model: keras.Model, batch: tuple) -> None:
    """Creates the metrics' variables, on the first image of a batch and answers of 0.

    Keras would do so inside the first step, and TensorFlow then trace the whole step once more.
    """
    pixels, labels, *weights = keras.tree.map_structure(lambda array: np.asarray(array)[:1], batch)
    answers = keras.tree.map_structure(
        lambda output: keras.ops.zeros((1, *output.shape[1:]), output.dtype), model.output
    )
    model.compute_loss(pixels, labels, answers, *weights)
    model.compute_metrics(pixels, labels, answers, *weights)
    model.reset_metrics()


def fit(
    model: keras.Model,
    train,
    validation,
    *,
    epochs: int,
    optimizer,
    loss,
    loss_weights: dict[str, float] | None = None,
    class_weight: dict[int, float] | None = None,
    patience: int | None = None,
    keep_best: bool = False,
    checkpoint: Path | None = None,
    arguments: dict | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose="auto",
) -> keras.callbacks.History:
    """Compiles and fits a classifier; goes on where a checkpoint ends.

    Args:
        model: classifier; compiled here.
        train: batches of pixels and integer labels.
        validation: the same, held out, or `None`.
        epochs: passes over `train`.
        optimizer: of Keras.
        loss: of integer labels and the model's answers.
        loss_weights: output to the weight of its loss, for a model with several.
        class_weight: class to the weight of its images.
        patience: epochs without a lower held-out loss after which to stop; `None` never stops.
        keep_best: whether the weights of the lowest held-out loss are kept, not the last.
        checkpoint: a file for the state after each epoch; a fit that it records goes on.
        arguments: what else decides the result, as JSON values; a checkpoint of other ones is
            refused.
        callbacks: of the user's; called last, when an epoch is on disk. One that raises ends the
            fit, which the checkpoint goes on with.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and accuracy an epoch, training and held-out, of resumed epochs too.

    Raises:
        ValueError: if the loss is not finite; the weights are those of the last sound epoch.
    """
    # XLA compiles convolutions for CPUs badly; JAX is nothing without it.
    jit = "auto" if keras.backend.backend() == "jax" else False
    metrics = ["accuracy"] if loss_weights is None else {HEAD: ["accuracy"]}
    # Sample weights fill up batches, and then count; class weights are for the loss alone.
    kind = "weighted_metrics" if class_weight is None else "metrics"
    model.compile(optimizer, loss, loss_weights=loss_weights, jit_compile=jit, **{kind: metrics})
    model.optimizer.build(model.trainable_variables)
    own: list[keras.callbacks.Callback] = [_Sound()]
    if hasattr(train, "start_epoch"):
        own.append(_StartEpoch(train))
    if optimizer.use_ema:  # held-out images are measured with the averages
        own.append(keras.callbacks.SwapEMAWeights())
    stopping = keeper = None
    if validation is not None and (keep_best or patience is not None):
        stopping = keras.callbacks.EarlyStopping(
            monitor="val_loss",
            mode="min",
            patience=epochs if patience is None else patience,
            restore_best_weights=keep_best,
        )
        own.append(stopping)
    if checkpoint is not None:
        known = {"epochs": epochs, "batches": count_batches(train), **(arguments or {})}
        keeper = EpochCheckpoint(checkpoint, known, stopping, writes=is_first())
        keeper.restore(model)
        check_same("the finished epochs", [keeper.epochs, keeper.done])
        own.append(keeper)
        if keeper.done:
            return _history(model, keeper)
    if keras.backend.backend() == "tensorflow":
        if isinstance(train, keras.utils.PyDataset):
            _create_metrics(model, train[0])
        own.append(_EndEpoch(train, validation))
        train, validation = (
            indexed_dataset(data, model.input_shape)
            if isinstance(data, keras.utils.PyDataset)
            else data
            for data in (train, validation)
        )
    try:
        history = model.fit(
            train,
            validation_data=validation,
            epochs=epochs,
            initial_epoch=keeper.first_epoch(epochs) if keeper else 0,
            class_weight=class_weight,
            callbacks=[*own, *callbacks],
            shuffle=False,  # batches have an order of their own, which can be repeated
            verbose=verbose,
        )
    except TypeError as error:
        # On JAX, Keras stumbles over the averages when it leaves for another error.
        if optimizer.use_ema and error.__context__ is not None:
            raise error.__context__ from None
        raise
    if keeper is None:
        return history
    keeper.set_model(model)
    keeper.finish()
    return _history(model, keeper)


def _history(model, keeper: EpochCheckpoint) -> keras.callbacks.History:
    """The history of all epochs, those of processes before this one too."""
    history = keras.callbacks.History()
    history.set_model(model)
    history.history = keeper.history
    history.epoch = list(range(keeper.epochs))
    return history
