"""What a model answers: probabilities or logits, and by which layers."""

from typing import TYPE_CHECKING

import numpy as np

from keras_inception_v4.architecture import (
    HEAD,
    MULTI_LABEL,
    POOL,
    REGRESSION,
    SINGLE_LABEL,
    TARGETS,
)
from keras_inception_v4.tasks import TASKS, Task

if TYPE_CHECKING:
    import keras


def check_classifier(model: "keras.Model") -> None:
    """Checks that a model answers probabilities or logits of at least two classes, or quantities.

    Raises:
        ValueError: if it has no classifier, or one of a single output.
    """
    if len(model.output_shape) != 2 or activation_of(model) is None:
        raise ValueError(
            f"The model {model.name!r} has no classifier: it answers {model.output_shape}."
        )
    if model.output_shape[-1] < task_of(model).least_outputs:
        raise ValueError(
            f"The model {model.name!r} answers one number an image, which names no class. Build "
            "its head with two outputs and 'softmax', one for each class, or for a quantity with "
            "task='regression'."
        )


def task_of(model: "keras.Model") -> Task:
    """What a model's answers are: several classes for a sigmoid, quantities, else one class.

    Quantities end in a linear activation layer of the name that `architecture.TARGETS` is: it
    changes nothing, and tells them from logits.
    """
    last = last_layer(model)
    if last.name == TARGETS and activation_of(model) == "linear":
        return TASKS[REGRESSION]
    return TASKS[MULTI_LABEL if activation_of(model) == "sigmoid" else SINGLE_LABEL]


def activation_of(model: "keras.Model") -> str | None:
    """Name of the activation that a model's answers come from, `"linear"` for none.

    Of the last layer, in nested models too: a dense layer's own, or that of a softmax or activation
    layer. `None` if the last layer is another.
    """
    import keras

    last = last_layer(model)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    activation = getattr(last, "activation", None)
    return None if activation is None else getattr(activation, "__name__", "")


def last_layer(model: "keras.Model"):
    """The layer that answers, also of a model whose last layer is a model."""
    import keras

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    return last


def check_probabilities(model: "keras.Model") -> None:
    """Checks that a model answers probabilities of classes, or quantities.

    Raises:
        ValueError: if it has no classifier, or one that answers logits.
    """
    check_classifier(model)
    if answers_logits(model):
        raise ValueError(
            f"The model {model.name!r} answers logits, and an artefact answers probabilities. "
            "Build it with classifier_activation='softmax' and load its weights."
        )


def answers_logits(model: "keras.Model") -> bool:
    """Whether a classifier has no activation."""
    return activation_of(model) == "linear" and task_of(model) is not TASKS[REGRESSION]


def probabilities_of(model: "keras.Model", answers: np.ndarray) -> np.ndarray:
    """A classifier's answers as probabilities, also where it answers logits."""
    if not answers_logits(model):
        return answers
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def pool_and_dense(model: "keras.Model"):
    """The average pool and the dense layer of a head that is nothing but these and dropout.

    Raises:
        ValueError: for any other head.
    """
    from keras import activations, layers

    named = {layer.name: layer for layer in model.layers}
    pool, dense = named.get(POOL), named.get(HEAD)
    if isinstance(pool, layers.GlobalAveragePooling2D) and isinstance(dense, layers.Dense):
        tensor = dense.input
        dropout = named.get("dropout")
        if isinstance(dropout, layers.Dropout) and tensor is dropout.output:
            tensor = dropout.input
        if getattr(dense, "quantization_mode", None):
            raise ValueError(
                f"The classifier of {model.name!r} is quantized to {dense.quantization_mode}, and "
                "maps and training need its weights in floating point. Use the model before "
                "quantize()."
            )
        answer = model.layers[-1]
        if isinstance(answer, (layers.Softmax, layers.Activation)):
            linear = dense.activation is activations.linear
            answers = linear and answer.input is dense.output and model.output is answer.output
        else:
            answers = model.output is dense.output
        if tensor is pool.output and answers:
            return pool, dense
    raise ValueError(
        f"The head of {model.name!r} is not a global average pool (avg_pool), dropout and one "
        "dense layer (predictions), with or without a softmax layer, that answers. Class "
        "activation maps and training on cached features are exact only for that head, which "
        "InceptionV4(include_top=True) and transfer_model build."
    )
