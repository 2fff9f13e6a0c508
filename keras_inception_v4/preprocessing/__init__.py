"""Pixels to the network's range, image files to pixels, outputs to ImageNet's classes."""

from keras_inception_v4.preprocessing.images import (
    EVALUATION_CROP,
    channels_of,
    check_finite,
    check_image,
    covering_size,
    decode_predictions,
    imagenet_classes,
    load_image,
    open_channels,
    preprocess_input,
    resize_image,
)
from keras_inception_v4.preprocessing.random_crop import RANDOM_CROPS, random_crop

__all__ = [
    "EVALUATION_CROP",
    "RANDOM_CROPS",
    "channels_of",
    "check_finite",
    "check_image",
    "covering_size",
    "decode_predictions",
    "imagenet_classes",
    "load_image",
    "open_channels",
    "preprocess_input",
    "random_crop",
    "resize_image",
]
