"""Outputs of a model: probabilities, logits or quantities, and the layers they come from."""

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
    """Check that a model outputs quantities, or probabilities or logits of several classes.

    Raises:
        ValueError: If it has no classifier, or a classifier with a single output.
    """
    if len(model.output_shape) != 2 or activation_of(model) is None:
        raise ValueError(
            f"The model {model.name!r} has no classifier: its output shape is {model.output_shape}."
        )
    if model.output_shape[-1] < task_of(model).least_outputs:
        raise ValueError(
            f"The model {model.name!r} has a single output, so it cannot tell classes apart. Build "
            "its head with two outputs and 'softmax', one for each class. For a quantity, build it "
            "with task='regression'."
        )


def task_of(model: "keras.Model") -> Task:
    """Return a model's task: multi-label for a sigmoid, regression, else single-label.

    A regression model ends in a linear activation layer named `architecture.TARGETS`. The layer
    changes nothing and distinguishes quantities from logits.
    """
    last = last_layer(model)
    if last.name == TARGETS and activation_of(model) == "linear":
        return TASKS[REGRESSION]
    return TASKS[MULTI_LABEL if activation_of(model) == "sigmoid" else SINGLE_LABEL]


def activation_of(model: "keras.Model") -> str | None:
    """Return the name of the last layer's activation, `"linear"` for none.

    The last layer may be in a nested model. It is a softmax layer or a layer with an activation,
    such as a dense or activation layer. For any other layer the result is `None`.
    """
    import keras

    last = last_layer(model)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    activation = getattr(last, "activation", None)
    return None if activation is None else getattr(activation, "__name__", "")


def last_layer(model: "keras.Model"):
    """Return the last layer of a model; if that is a model, the last layer inside it."""
    import keras

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    return last


def check_probabilities(model: "keras.Model") -> None:
    """Check that a model outputs probabilities of classes, or quantities.

    Raises:
        ValueError: If it has no classifier, or a classifier that outputs logits.
    """
    check_classifier(model)
    if answers_logits(model):
        raise ValueError(
            f"The model {model.name!r} outputs logits, but an artefact must output probabilities. "
            "Build it with classifier_activation='softmax' and load its weights."
        )


def answers_logits(model: "keras.Model") -> bool:
    """Return whether a classifier outputs logits, because it has no activation."""
    return activation_of(model) == "linear" and task_of(model) is not TASKS[REGRESSION]


def probabilities_of(model: "keras.Model", answers: np.ndarray) -> np.ndarray:
    """Return outputs as probabilities: logits pass through a softmax, others are unchanged."""
    if not answers_logits(model):
        return answers
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def pool_and_dense(model: "keras.Model"):
    """Return the average pool and the dense layer of a head that has only these and dropout.

    A softmax or activation layer may follow a linear dense layer.

    Raises:
        ValueError: If the head has other layers, or is quantized.
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
                f"The classifier of {model.name!r} is quantized to {dense.quantization_mode}, but "
                "maps and training need floating-point weights. Use the model before quantize()."
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
        "dense layer (predictions), optionally followed by a softmax layer. Class activation maps "
        "and training on cached features are exact only for that head, which "
        "InceptionV4(include_top=True) and transfer_model build."
    )
