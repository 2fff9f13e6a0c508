"""A model of the package's form, quick to trace."""

import keras
from conftest import ordered

from keras_inception_v4.model import classifier
from keras_inception_v4.training.augmentation import augmentation_layers

CHANNELS = 96  # the real one has 1536, which learn more


def tiny(augment="none", dropout_rate=0.2, *, size=75, classes=3, raw=True, activation="softmax",
         channels=CHANNELS):  # fmt: skip
    """A model of the package's form with one convolution, where the network itself is no matter."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(ordered(size, size, 3))
    for layer in augmentation_layers(augment):
        x = layer(x)
    axis = 1 if keras.config.image_data_format() == "channels_first" else 3
    unit = "mixed_7d_branch_0_conv2d_0a_1x1"
    if raw:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(x)
    x = keras.layers.Conv2D(channels, 9, strides=9, use_bias=False, name=f"{unit}_conv")(x)
    x = keras.layers.BatchNormalization(axis=axis, scale=False, name=f"{unit}_bn")(x)
    x = keras.layers.ReLU(name="mixed_7d")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    output = classifier(x, classes, dropout_rate=dropout_rate, activation=activation)
    return keras.Model(inputs, output, name="tiny")
