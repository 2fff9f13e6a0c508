"""Losses and learning rate schedules of training."""

from collections.abc import Callable

import keras

from keras_inception_v4.inspection import activation_of, answers_logits, task_of

LABEL_SMOOTHING = 0.1


def loss_for(model: keras.Model, smoothing: float, weights=None) -> Callable:
    """Return the loss of a model's task for the output of its head, probabilities or logits.

    Args:
        model: The classifier.
        smoothing: Share of a label that is spread evenly over all outcomes.
        weights: Weights of positive labels, one per class, where an image may have several classes.

    Raises:
        ValueError: If the head's activation gives neither probabilities nor logits.
    """
    activation, task = activation_of(model), task_of(model)
    if activation not in (task.activation, "linear"):
        raise ValueError(
            f"The classifier's activation is {activation}. Training needs 'softmax' or None "
            "(logits) for one class an image, 'sigmoid' for several."
        )
    return task.loss(
        model.output_shape[-1],
        smoothing=smoothing,
        from_logits=answers_logits(model),
        weights=weights,
    )


def warmup_cosine(peak: float, steps: int, warmup: float) -> keras.optimizers.schedules.CosineDecay:
    """Return a learning rate that rises from `peak / 100` to `peak`, then falls to 0 by a cosine.

    Args:
        peak: Highest learning rate.
        steps: Steps of the whole fit.
        warmup: Share of the steps in which the rate rises, in [0, 1).
    """
    up = max(1, int(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(
        peak / 100, max(1, steps - up), warmup_target=peak, warmup_steps=up
    )


class PerUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that counts updates, for an optimizer that updates every `steps` steps.

    Args:
        rate: Learning rate of an update, counted from 0.
        steps: Steps per update.
    """

    def __init__(self, rate: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        """Return the rate of a step, counted from 0."""
        return self.rate(keras.ops.floor_divide(step, self.steps))

    def get_config(self):
        """Return the arguments, as Keras saves them."""
        return {"rate": self.rate, "steps": self.steps}


def accumulated(rate: keras.optimizers.schedules.LearningRateSchedule, steps: int) -> dict:
    """Return the arguments of an optimizer that updates by the mean gradient of several steps.

    Args:
        rate: Learning rate of an update.
        steps: Steps per update. 1 accumulates nothing.
    """
    if steps == 1:
        return {"learning_rate": rate}
    return {"learning_rate": PerUpdate(rate, steps), "gradient_accumulation_steps": steps}


def own_objective(optimizer, loss, *, resumable: bool) -> dict[str, str]:
    """Describe a user's own optimizer and loss for a checkpoint.

    Raises:
        ValueError: If the optimizer has trained another model, or the loss is a lambda although
            the fit must be resumable.
    """
    if optimizer is not None and optimizer.built:
        raise ValueError(
            f"The optimizer {optimizer.name!r} has trained another model. Pass a new one: "
            "type(optimizer).from_config(optimizer.get_config())."
        )
    own = {"optimizer": _recorded(optimizer), "loss": _recorded(loss)}
    if resumable and "<lambda>" in str(own["loss"]):
        raise ValueError(
            "Received a lambda as loss, with a folder. A resumed call cannot check that it is "
            "the same loss. Define a named function."
        )
    return {name: value for name, value in own.items() if value is not None}


def _recorded(given) -> str | None:
    """Describe an optimizer or a loss, as far as Keras can, to distinguish it from others."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, (keras.optimizers.Optimizer, keras.losses.Loss)):
        config = {name: value for name, value in given.get_config().items() if name != "name"}
        return f"{type(given).__name__} {config}"
    return f"{given.__module__}.{getattr(given, '__qualname__', type(given).__name__)}"
