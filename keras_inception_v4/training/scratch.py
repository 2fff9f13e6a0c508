"""Training of a classifier from random weights."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
from keras import layers

from keras_inception_v4.architecture import AUXILIARY_HEAD, HEAD, SINGLE_LABEL
from keras_inception_v4.auxiliary import with_auxiliary_head
from keras_inception_v4.blocks import dtype_policy
from keras_inception_v4.data.pipeline import Batches, batched
from keras_inception_v4.data.sources import ImageFiles, Images, LabelledData, RandomCrops
from keras_inception_v4.inspection import classifier_of, feeder, image_size, task_of
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import task_named
from keras_inception_v4.training import devices
from keras_inception_v4.training.augmentation import augmentation_layers
from keras_inception_v4.training.building import square_shape, with_task
from keras_inception_v4.training.fitting import fit
from keras_inception_v4.training.recipes import (
    SHORT_BATCH_NORM_DECAY,
    Recipe,
    Schedule,
    decay_kernels,
)
from keras_inception_v4.training.standardizing import Standard, standard_of
from keras_inception_v4.weights.loading import copy_weights


def scratch_model(
    classes: int,
    image_size: int,
    *,
    task: str = SINGLE_LABEL,
    augment: str = "none",
    batch_norm_momentum: float = SHORT_BATCH_NORM_DECAY,
) -> keras.Model:
    """Return a classifier with random weights, from raw pixels to probabilities or quantities.

    Args:
        classes: Number of classes, or of quantities.
        image_size: Side of the square images in pixels, at least 75.
        task: One of `TASKS`.
        augment: As in `augmentation_layers`. Defaults to `"none"`.
        batch_norm_momentum: Momentum of the moving statistics. Defaults to 0.9.
    """
    x = layers.Input(square_shape(image_size))
    for layer in augmentation_layers(augment):
        x = layer(x)
    return with_task(
        InceptionV4(
            weights=None,
            input_tensor=x,
            classes=classes,
            classifier_activation=task_named(task).activation,
            batch_norm_momentum=batch_norm_momentum,
            include_preprocessing=True,
        ),
        task,
    )


def train_from_scratch(
    model: keras.Model,
    data: LabelledData,
    *,
    recipe: Recipe,
    epochs: int,
    batch_size: int,
    seed: int,
    precision: str,
    augment: str,
    loss: str | None = None,
    accumulate: int = 1,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
    build: Callable[..., keras.Model] = scratch_model,
    add_head: Callable[..., keras.Model] = with_auxiliary_head,
    fit_model: Callable[..., keras.callbacks.History] = fit,
) -> dict[str, list[float]]:
    """Train all of a model's weights from random ones, on all devices (see `devices`).

    Args:
        model: Model from `scratch_model`, in float32, without augmentation. It receives the
            trained weights.
        data: Training and held-out images.
        recipe: Recipe from `RECIPES`.
        epochs: Passes over the training images.
        batch_size: Images per step, over all devices together.
        seed: Seed of the order and the crops.
        precision: Dtype policy of training.
        augment: `"photographs"`, `"symbols"` or `"none"`, for random crops or layers.
        loss: Name of a loss in Keras. `None` takes the task's own.
        accumulate: As in `fine_tune`. Batch norm trains, with the statistics of each step's batch.
        checkpoint: File for the state after each epoch.
        checkpoint_every: As in `fit`.
        callbacks: As in `fit`.
        verbose: As in `keras.Model.fit`.
        build: Function that builds the network to train. Defaults to `scratch_model`.
        add_head: Function that adds the auxiliary head. Defaults to `with_auxiliary_head`.
        fit_model: Function that fits the model. Defaults to `fit`.

    Returns:
        Loss and the task's metric per epoch, training and held-out.

    Raises:
        ValueError: If the images do not fill one batch, or the batch size is not a multiple of
            the number of devices.
        OSError: If another process of the run ended.
    """
    devices.check_batch(batch_size, len(data.train), whole=recipe.random_crops)
    with devices.all_devices():
        trained = _trained_twin(model, recipe, precision, augment, build, add_head)
        task = task_of(model)
        standard = standard_of(task, data.train.labels)
        train, validation = _batches(trained, data, recipe, batch_size, seed, augment, standard)
        answers = task.loss(model.output_shape[-1], smoothing=recipe.label_smoothing)
        if loss is not None:
            answers = keras.losses.get(loss)
        both = {HEAD: 1.0, AUXILIARY_HEAD: recipe.auxiliary_weight}
        history = fit_model(
            trained,
            train,
            validation,
            epochs=epochs,
            optimizer=recipe.optimizer(Schedule(epochs, len(train), batch_size, accumulate)),
            loss=dict.fromkeys(both, answers) if recipe.auxiliary_weight else answers,
            metric=task.metric,
            loss_weights=both if recipe.auxiliary_weight else None,
            weights_fill=validation.weighted,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            callbacks=callbacks,
            verbose=verbose,
        )
    copy_weights(classifier_of(trained), model)
    if standard is not None:
        dense = model.get_layer(HEAD)
        dense.set_weights(standard.out_of(*dense.get_weights()))
    own = f"{HEAD}_{task.metric}"
    return {name.replace(own, task.metric): v for name, v in history.history.items()}


def _trained_twin(
    model: keras.Model, recipe: Recipe, precision: str, augment: str, build, add_head
) -> keras.Model:
    """Build the model that is trained in place of `model`, with new random weights."""
    classes = model.output_shape[-1]
    with dtype_policy(precision):
        trained = build(
            classes,
            image_size(model)[0],
            task=task_of(model).name,
            augment="none" if recipe.random_crops else augment,
            batch_norm_momentum=recipe.batch_norm_momentum,
        )
        if recipe.auxiliary_weight:
            trained = add_head(trained, classes)
    decay_kernels(trained, recipe.weight_decay)
    return trained


def _batches(
    trained: keras.Model,
    data: LabelledData,
    recipe: Recipe,
    batch_size: int,
    seed: int,
    augment,
    standard: Standard | None,
) -> tuple[Batches, Batches]:
    source: Images | ImageFiles | RandomCrops = data.train
    if recipe.random_crops and augment != "none":
        source = RandomCrops(data.train, image_size(trained), augment)
    feed, shared = feeder(trained), devices.share(True)
    if recipe.random_crops:  # every step takes a whole batch, even on one device
        shared["last"] = "dropped"
    train = batched(source, batch_size, seed=seed, feed=feed, **shared)
    shared = devices.share(True, held_out=True)
    validation = batched(data.validation, batch_size, feed=feed, **shared)
    if standard is not None:
        train, validation = standard.batches(train), standard.batches(validation)
    if not recipe.auxiliary_weight:
        return train, validation
    return train.map(_for_both_heads), validation.map(_for_both_heads)


def _for_both_heads(batch: tuple, index: int) -> tuple:
    pixels, labels, *weights = batch
    return pixels, {HEAD: labels, AUXILIARY_HEAD: labels}, *weights
