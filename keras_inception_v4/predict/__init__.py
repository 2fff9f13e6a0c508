"""A model over image files."""

from keras_inception_v4.predict.explanation import Explanation, explain_file
from keras_inception_v4.predict.files import Prediction, predict_files
from keras_inception_v4.predict.folders import evaluate_folder
from keras_inception_v4.predict.opening import Classifier, open_classifier, open_model

__all__ = [
    "Classifier",
    "Explanation",
    "Prediction",
    "evaluate_folder",
    "explain_file",
    "open_classifier",
    "open_model",
    "predict_files",
]
