"""Functions to load image files, scale and augment pixels, and decode ImageNet predictions."""

from keras_inception_v4.preprocessing.checks import check_finite, warn_of_scaled
from keras_inception_v4.preprocessing.images import (
    check_image,
    covering_size,
    decode_predictions,
    imagenet_classes,
    load_image,
    preprocess_input,
    resize_image,
)
from keras_inception_v4.preprocessing.pictures import Picture, opened
from keras_inception_v4.preprocessing.random_crop import RANDOM_CROPS, random_crop

__all__ = [
    "RANDOM_CROPS",
    "Picture",
    "check_finite",
    "check_image",
    "covering_size",
    "decode_predictions",
    "imagenet_classes",
    "load_image",
    "opened",
    "preprocess_input",
    "random_crop",
    "resize_image",
    "warn_of_scaled",
]
