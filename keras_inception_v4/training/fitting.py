"""One way to fit, and what makes a fit reproducible."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.architecture import HEAD, TARGETS
from keras_inception_v4.blocks import dtype_policy
from keras_inception_v4.data.pipeline import Batches
from keras_inception_v4.progress import Verbose
from keras_inception_v4.training.augmentation import augmentation_of
from keras_inception_v4.training.checkpoint import Checkpoint, seeds_of, trained_weights
from keras_inception_v4.training.feeding import EpochSteps, indexed_dataset
from keras_inception_v4.training.processes import check_same, is_first, wait_for_all
from keras_inception_v4.weights.loading import copy_layers


@contextlib.contextmanager
def trainable_twin(
    model: keras.Model, precision: str, spread: bool = False
) -> Iterator[keras.Model]:
    """A model to compile and train in another's place, which stays uncompiled.

    In float32 and on one device the twin shares the model's layers. Otherwise it is a copy, whose
    weights come back at the end of the block, also when it is left by an exception.

    Args:
        model: a model in float32.
        precision: one of `PRECISIONS`. The classifier and what comes before
            `preprocessing` (augmentation) stay in float32.
        spread: whether it is for several devices, inside `devices.all_devices`.

    Yields:
        The twin.
    """
    with dtype_policy(precision):
        if precision == "float32" and not spread:
            (inputs,) = model.inputs
            yield keras.Model(inputs, model.output, name=model.name)
            return
        augmentation = {layer.name for layer in augmentation_of(model)}

        def in_policy(layer):
            config = layer.get_config()
            ends = (keras.layers.InputLayer, keras.layers.Dense, keras.layers.Softmax)
            end = isinstance(layer, ends) or layer.name == TARGETS
            if layer.name not in augmentation and not end:
                config["dtype"] = precision
            return type(layer).from_config(config)

        twin = keras.models.clone_model(model, clone_function=in_policy)
    copy_layers(model, twin)
    for layer, same in zip(model.layers, twin.layers, strict=True):
        for seed, own in zip(seeds_of(layer), seeds_of(same), strict=True):
            own.assign(keras.ops.convert_to_numpy(seed))
    try:
        yield twin
    finally:
        copy_layers(twin, model)


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


def held_out_of(validation, validation_data):
    """The held-out data, by our name or by Keras's.

    Raises:
        ValueError: for both.
    """
    if validation is not None and validation_data is not None:
        raise ValueError("Received validation and validation_data, which are the same.")
    return validation if validation_data is None else validation_data


class _Begin(keras.callbacks.Callback):
    """Takes training batches to the epoch that begins, and to the step where it was left."""

    def __init__(self, steps: EpochSteps, first: int):
        super().__init__()
        self.steps, self.first = steps, first

    def on_epoch_begin(self, epoch, logs=None):
        self.steps.begin(epoch, self.first)


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
    train: Batches,
    validation: Batches | None,
    *,
    epochs: int,
    optimizer,
    loss,
    metric: str = "accuracy",
    loss_weights: dict[str, float] | None = None,
    weights_fill: bool = False,
    patience: int | None = None,
    keep_best: bool = False,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    arguments: dict | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> keras.callbacks.History:
    """Compiles and fits a classifier; goes on where a checkpoint ends.

    Args:
        model: classifier; compiled here.
        train: batches of pixels and labels.
        validation: the same, held out, or `None`.
        epochs: passes over `train`.
        optimizer: of Keras.
        loss: of labels and the model's answers.
        metric: measured beside it, by its name in Keras.
        loss_weights: output to the weight of its loss, for a model with several.
        weights_fill: whether sample weights only fill up batches, and so count in measures too.
        patience: epochs without a lower held-out loss after which to stop; `None` never stops.
        keep_best: whether the weights of the lowest held-out loss are kept, not the last.
        checkpoint: a file for the state after each epoch; a fit that it records goes on.
        checkpoint_every: steps of an epoch after which the state is recorded too; `None` for
            epochs only.
        arguments: what else decides the result, as JSON values; a checkpoint of other ones is
            refused.
        callbacks: of the user's; called last, when an epoch is on disk. One that raises ends the
            fit, which the checkpoint goes on with.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and metric an epoch, training and held-out, of resumed epochs too.

    Raises:
        ValueError: if the loss is not finite, where the weights are those of the last sound epoch;
            or if the optimizer would not update within so many epochs.
    """
    several, steps = optimizer.gradient_accumulation_steps or 1, epochs * len(train)
    if several > steps:
        raise ValueError(
            f"Received {several} steps an update and {steps} steps in all: nothing would be "
            "trained. Accumulate fewer."
        )
    # XLA compiles convolutions for CPUs badly; JAX is nothing without it.
    jit = "auto" if keras.backend.backend() == "jax" else False
    metrics = [metric] if loss_weights is None else {HEAD: [metric]}
    kind = "weighted_metrics" if weights_fill else "metrics"
    model.compile(optimizer, loss, loss_weights=loss_weights, jit_compile=jit, **{kind: metrics})
    model.optimizer.build(model.trainable_variables)
    own: list[keras.callbacks.Callback] = [_Sound()]
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
        known = {"epochs": epochs, "batches": len(train), **(arguments or {})}
        keeper = Checkpoint(checkpoint, known, stopping, every=checkpoint_every, writes=is_first())
        own.append(keeper)

    def run(first_epoch: int, last_epoch: int, first_step: int) -> keras.callbacks.History:
        steps = EpochSteps(train)
        steps.begin(first_epoch, first_step)
        begin = _Begin(steps, first_step)
        held_out = None if validation is None else EpochSteps(validation)
        with _own_errors(optimizer, steps, held_out), _graphs_as_traced(model):
            return model.fit(
                _for_backend(model, steps),
                validation_data=None if held_out is None else _for_backend(model, held_out),
                epochs=last_epoch,
                initial_epoch=first_epoch,
                callbacks=[begin, *own, *callbacks],
                shuffle=False,  # batches have an order of their own, which can be repeated
                verbose=verbose,
            )

    if keras.backend.backend() == "tensorflow":
        _create_metrics(model, train[0])
    if keeper is None:
        return run(0, epochs, 0)
    _resume(keeper, model)
    if keeper.step:  # the end of that epoch first: Keras knows one length of them
        run(keeper.epochs, keeper.epochs + 1, keeper.step)
        wait_for_all("epoch")
        _resume(keeper, model)
    if not keeper.done:
        run(keeper.first_epoch(epochs), epochs, 0)
        keeper.set_model(model)
        keeper.finish()
    return _history(model, keeper)


def _resume(keeper: Checkpoint, model: keras.Model) -> None:
    keeper.restore(model)
    check_same("the finished epochs", [keeper.epochs, keeper.step, keeper.done])


def _for_backend(model: keras.Model, steps: EpochSteps):
    if keras.backend.backend() != "tensorflow":
        return steps
    return indexed_dataset(steps, model.input_shape)


@contextlib.contextmanager
def _graphs_as_traced(model: keras.Model) -> Iterator[None]:
    """Spares a fit on processors what TensorFlow's passes over the graph take at its first step.

    At full width that is a third of the first step, and in float32 no later one is faster for it;
    other precisions were not measured. On a GPU these passes choose the layout of the images.
    """
    float32 = all(layer.compute_dtype == "float32" for layer in model.layers)
    if keras.backend.backend() != "tensorflow" or not float32:
        yield
        return
    import tensorflow as tf

    passes = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(passes, False)
    off = before or not tf.config.list_logical_devices("GPU")
    tf.config.optimizer.set_experimental_options({passes: off})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({passes: before})


@contextlib.contextmanager
def _own_errors(optimizer, *fed: EpochSteps | None) -> Iterator[None]:
    """Raises an error in a batch as it was, and others without what Keras stumbled over then."""
    try:
        yield
    except Exception as error:
        for steps in fed:
            if steps is not None and steps.failure is not None:
                raise steps.failure from None  # TensorFlow makes another of it
        # Leaving for another error, Keras on JAX stumbles over averages of weights.
        if optimizer.use_ema and isinstance(error, TypeError) and error.__context__ is not None:
            raise error.__context__ from None
        raise


def _history(model, keeper: Checkpoint) -> keras.callbacks.History:
    """The history of all epochs, those of processes before this one too."""
    history = keras.callbacks.History()
    history.set_model(model)
    history.history = keeper.history
    history.epoch = list(range(keeper.epochs))
    return history
