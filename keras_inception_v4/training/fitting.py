"""The `fit` that all trainings share, and the settings that make it reproducible."""

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
    """Yield a twin of a model to compile and train; the model itself stays uncompiled.

    In float32 and on one device the twin shares the model's layers. Otherwise it is a copy. Its
    weights are copied back at the end of the block, even after an exception.

    Args:
        model: Model in float32.
        precision: One of `PRECISIONS`. The classifier and the augmentation, which comes before
            the layer `preprocessing`, stay in float32.
        spread: Whether the twin is for several devices, inside `devices.all_devices`.

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
    """Seed Python, NumPy and the backend; on request make its kernels deterministic."""
    keras.utils.set_random_seed(seed)
    if not deterministic:
        return
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA requires it
        torch.use_deterministic_algorithms(True)


def held_out_of(validation, validation_data):
    """Return the held-out data, passed as `validation` or as Keras's `validation_data`.

    Raises:
        ValueError: If both are passed.
    """
    if validation is not None and validation_data is not None:
        raise ValueError("Received both validation and validation_data. Pass only one of them.")
    return validation if validation_data is None else validation_data


class _Begin(keras.callbacks.Callback):
    """Callback that moves the training batches to the epoch that begins, from step `first` on."""

    def __init__(self, steps: EpochSteps, first: int):
        super().__init__()
        self.steps, self.first = steps, first

    def on_epoch_begin(self, epoch, logs=None):
        self.steps.begin(epoch, self.first)


class _Sound(keras.callbacks.Callback):
    """Callback that ends a fit whose loss is not finite, and restores the last finite epoch."""

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
            "training diverged. It was stopped, and the weights from before that epoch were "
            "restored. Lower the learning rate, train in float32, or look for damaged images. With "
            "a folder, the same call resumes after the last finite epoch."
        )

    def _keep(self):
        self._kept = {
            name: np.array(keras.ops.convert_to_numpy(variable))
            for name, variable in trained_weights(self.model).items()
        }


def _create_metrics(model: keras.Model, batch: tuple) -> None:
    """Create the metrics' variables from the first image of a batch and predictions of 0.

    Keras would create them inside the first step, and TensorFlow would then trace that step twice.
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
    """Compile and fit a classifier, or resume its fit from a checkpoint.

    Args:
        model: Classifier. It is compiled here.
        train: Batches of pixels and labels.
        validation: Held-out batches of pixels and labels, or `None`.
        epochs: Passes over `train`.
        optimizer: Keras optimizer.
        loss: Loss of labels and the model's predictions.
        metric: Metric to report beside the loss, by its name in Keras. Defaults to `"accuracy"`.
        loss_weights: Dict from output to the weight of its loss, for a model with several outputs.
        weights_fill: Whether sample weights apply to metrics too, needed for weights that mask
            padded images. Defaults to `False`.
        patience: Epochs without a lower held-out loss after which to stop. `None` never stops.
        keep_best: Whether to keep the weights of the lowest held-out loss instead of the last.
        checkpoint: File for the state after each epoch. If it exists, the fit resumes from it.
        checkpoint_every: Steps of an epoch after which the state is saved too. `None` saves it
            after epochs only.
        arguments: Everything else that decides the result, as JSON values. A checkpoint with
            other arguments is rejected.
        callbacks: The user's callbacks. They are called last, when the epoch is on disk. An error
            in one ends the fit, which can be resumed from the checkpoint.
        verbose: As in `keras.Model.fit`.

    Returns:
        Loss and metric per epoch, training and held-out, including resumed epochs.

    Raises:
        ValueError: If the loss is not finite; the weights are then those of the last finite epoch.
            Also if the optimizer accumulates more steps per update than the fit has.
    """
    several, steps = optimizer.gradient_accumulation_steps or 1, epochs * len(train)
    if several > steps:
        raise ValueError(
            f"Received {several} steps per update and {steps} steps in all, so nothing "
            "would be trained. Accumulate fewer steps."
        )
    # XLA's convolutions are slow on CPUs, but JAX cannot do without XLA.
    jit = "auto" if keras.backend.backend() == "jax" else False
    metrics = [metric] if loss_weights is None else {HEAD: [metric]}
    kind = "weighted_metrics" if weights_fill else "metrics"
    model.compile(optimizer, loss, loss_weights=loss_weights, jit_compile=jit, **{kind: metrics})
    model.optimizer.build(model.trainable_variables)
    own: list[keras.callbacks.Callback] = [_Sound()]
    if optimizer.use_ema:  # evaluate held-out images with the averages
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
                shuffle=False,  # the batches are in a reproducible order already
                verbose=verbose,
            )

    if keras.backend.backend() == "tensorflow":
        _create_metrics(model, train[0])
    if keeper is None:
        return run(0, epochs, 0)
    _resume(keeper, model)
    if keeper.step:  # finish that epoch first: one Keras fit has one epoch length
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
    """Skip TensorFlow's graph optimization in float32 on CPUs to speed up the first step.

    At full width, the optimization takes a third of the first step, and makes no later step in
    float32 faster. Other precisions were not measured. A GPU needs it, to choose the layout of the
    images.
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
    """Raise the original error where the backend or Keras raised another because of it."""
    try:
        yield
    except Exception as error:
        for steps in fed:
            if steps is not None and steps.failure is not None:
                raise steps.failure from None  # TensorFlow wraps it
        # With averaged weights, Keras on JAX raises a TypeError while it handles another error.
        if optimizer.use_ema and isinstance(error, TypeError) and error.__context__ is not None:
            raise error.__context__ from None
        raise


def _history(model, keeper: Checkpoint) -> keras.callbacks.History:
    """Return the history of all epochs, including those of earlier processes."""
    history = keras.callbacks.History()
    history.set_model(model)
    history.history = keeper.history
    history.epoch = list(range(keeper.epochs))
    return history
