"""What training minimizes, and the way of its learning rate."""

import keras

from keras_inception_v4.inspection import activation_of

LABEL_SMOOTHING = 0.1


def smoothed_crossentropy(
    classes: int, smoothing: float = LABEL_SMOOTHING, *, from_logits: bool = False
):
    """Cross entropy of integer labels with label smoothing, on probabilities or logits."""

    def loss(labels, predictions):
        labels = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), classes)
        return keras.losses.categorical_crossentropy(
            labels, predictions, from_logits=from_logits, label_smoothing=smoothing
        )

    return loss


def loss_for(model: keras.Model, smoothing: float):
    """Cross entropy for what a classifier answers, probabilities or logits.

    Raises:
        ValueError: if it answers something else.
    """
    activation = activation_of(model)
    if activation not in ("softmax", "linear"):
        raise ValueError(
            f"The classifier's activation is {activation}. Training needs 'softmax' or None "
            "(logits)."
        )
    return smoothed_crossentropy(
        model.output_shape[-1], smoothing, from_logits=activation == "linear"
    )


def warmup_cosine(peak: float, steps: int, warmup: float) -> keras.optimizers.schedules.CosineDecay:
    """Learning rate from a hundredth of the peak up to it, then down to 0 along a cosine.

    Args:
        peak: the highest rate.
        steps: of the whole fit.
        warmup: share of them for the way up, in [0, 1).
    """
    up = max(1, int(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(
        peak / 100, max(1, steps - up), warmup_target=peak, warmup_steps=up
    )
