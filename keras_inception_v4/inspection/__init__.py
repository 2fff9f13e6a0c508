"""Inputs and outputs of a model, inferred from its layers and from its run's records."""

from keras_inception_v4.inspection.graphs import input_of, made_once, run_through
from keras_inception_v4.inspection.heads import (
    activation_of,
    answers_logits,
    check_classifier,
    check_probabilities,
    last_layer,
    pool_and_dense,
    probabilities_of,
    task_of,
)
from keras_inception_v4.inspection.parts import (
    check_weights,
    classifier_of,
    embedding_model,
    endpoint_output,
)
from keras_inception_v4.inspection.pixels import (
    feeder,
    image_size,
    is_channels_first,
    keeps_size,
    model_input,
    same_pixels,
    say_pixels,
    takes_raw_pixels,
)
from keras_inception_v4.inspection.recorded import ModelSettings, names_of, read_settings

__all__ = [
    "ModelSettings",
    "activation_of",
    "answers_logits",
    "check_classifier",
    "check_probabilities",
    "check_weights",
    "classifier_of",
    "embedding_model",
    "endpoint_output",
    "feeder",
    "image_size",
    "input_of",
    "is_channels_first",
    "keeps_size",
    "last_layer",
    "made_once",
    "model_input",
    "names_of",
    "pool_and_dense",
    "probabilities_of",
    "read_settings",
    "run_through",
    "same_pixels",
    "say_pixels",
    "takes_raw_pixels",
    "task_of",
]
