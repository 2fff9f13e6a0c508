"""A model or an artefact over many files. `Embedder` and `Predictor` are for one's own pipeline."""

from keras_inception_v4.inference.answering import Embedder, Predictor

__all__ = ["Embedder", "Predictor"]
