"""Run a model or an artefact on many files; use `Embedder` and `Predictor` in a custom pipeline."""

from keras_inception_v4.inference.answering import Embedder, Predictor

__all__ = ["Embedder", "Predictor"]
