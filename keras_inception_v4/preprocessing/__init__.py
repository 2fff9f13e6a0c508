"""Pixels to the network's range, image files to pixels, outputs to ImageNet's classes."""

from keras_inception_v4.preprocessing.images import (
    EVALUATION_CROP,
    check_image,
    covering_size,
    decode_predictions,
    imagenet_classes,
    load_image,
    preprocess_input,
    resize_image,
)

__all__ = [
    "EVALUATION_CROP",
    "check_image",
    "covering_size",
    "decode_predictions",
    "imagenet_classes",
    "load_image",
    "preprocess_input",
    "resize_image",
]
