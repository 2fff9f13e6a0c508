"""A model or an artefact over many files."""

from keras_inception_v4.inference.classification import Prediction, predict_files
from keras_inception_v4.inference.embedding import embed_folder
from keras_inception_v4.inference.explanation import Explanation, explain_file
from keras_inception_v4.inference.measuring import evaluate_files
from keras_inception_v4.inference.opening import Classifier, open_classifier, open_model

__all__ = [
    "Classifier",
    "Explanation",
    "Prediction",
    "embed_folder",
    "evaluate_files",
    "explain_file",
    "open_classifier",
    "open_model",
    "predict_files",
]
