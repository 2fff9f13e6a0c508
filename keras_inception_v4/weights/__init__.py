"""Weights from every source into a model, by layer name."""

from keras_inception_v4.weights.loading import copy_weights

__all__ = ["copy_weights"]
