"""From random weights to a classifier."""

from pathlib import Path

import keras
from keras import layers

from keras_inception_v4.data import LabelledData, as_batches
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.preprocessing.feeding import feeder
from keras_inception_v4.training.augmentation import augmentation_layers
from keras_inception_v4.training.fitting import dtype_policy, fit_from_scratch
from keras_inception_v4.weights.loading import copy_weights

BATCH_NORM_MOMENTUM = 0.9  # 0.99 evaluates at chance for the first few hundred steps


def scratch_model(classes: int, image_size: int, *, augment: str = "none") -> keras.Model:
    """A classifier with random weights: raw pixels in, probabilities out.

    Args:
        classes: number of classes.
        image_size: side in pixels, at least 75.
        augment: as in `augmentation_layers`.
    """
    shape = (image_size, image_size, 3)
    if keras.config.image_data_format() == "channels_first":
        shape = (3, image_size, image_size)
    x = layers.Input(shape)
    for layer in augmentation_layers(augment):
        x = layer(x)
    return InceptionV4(
        weights=None,
        input_tensor=x,
        classes=classes,
        batch_norm_momentum=BATCH_NORM_MOMENTUM,
        include_preprocessing=True,
    )


def train_from_scratch(
    model: keras.Model,
    data: LabelledData,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    precision: str,
    augment: str,
    checkpoint: Path | None = None,
    verbose="auto",
) -> dict[str, list[float]]:
    """Trains all of a model's weights.

    Args:
        model: from `scratch_model`, in float32, without augmentation; gets the weights.
        data: training and held-out images.
        epochs: passes over the training images.
        batch_size: images a step.
        seed: of the order.
        precision: dtype policy of training.
        augment: as in `augmentation_layers`.
        checkpoint: a file for the state after each epoch.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and accuracy an epoch, training and held-out.
    """
    classes = model.output_shape[-1]
    size = model.get_layer("preprocessing").output.shape[2]
    with dtype_policy(precision):
        trained = scratch_model(classes, size, augment=augment)
    feed = feeder(trained)
    train = as_batches(data.train, batch_size, classes=classes, seed=seed, feed=feed)
    validation = as_batches(data.validation, batch_size, classes=classes, feed=feed)
    history = fit_from_scratch(
        trained, train, validation, epochs=epochs, checkpoint=checkpoint, verbose=verbose
    )
    copy_weights(trained, model)
    return history.history
