"""What training minimizes, and the way of its learning rate."""

from collections.abc import Callable

import keras

from keras_inception_v4.inspection import activation_of, answers_logits, task_of

LABEL_SMOOTHING = 0.1


def loss_for(model: keras.Model, smoothing: float, weights=None) -> Callable:
    """The loss of a model's task for what its head answers, probabilities or logits.

    Args:
        model: the classifier.
        smoothing: share of a label that is spread over the other outcomes.
        weights: of positive labels, one a class, where several classes are answered.

    Raises:
        ValueError: if it answers something else.
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


class PerUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A rate by updates, for an optimizer that makes one in so many steps.

    Args:
        rate: of an update, counted from 0.
        steps: of each.
    """

    def __init__(self, rate: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        """The rate of a step, counted from 0."""
        return self.rate(keras.ops.floor_divide(step, self.steps))

    def get_config(self):
        """The arguments, as Keras saves them."""
        return {"rate": self.rate, "steps": self.steps}


def accumulated(rate: keras.optimizers.schedules.LearningRateSchedule, steps: int) -> dict:
    """Arguments of an optimizer that updates by the mean gradient of so many steps.

    Args:
        rate: of an update.
        steps: of each; 1 accumulates nothing.
    """
    if steps == 1:
        return {"learning_rate": rate}
    return {"learning_rate": PerUpdate(rate, steps), "gradient_accumulation_steps": steps}


def own_objective(optimizer, loss, *, resumable: bool) -> dict[str, str]:
    """A user's own optimizer and loss, as a checkpoint records them.

    Raises:
        ValueError: for an optimizer that has trained, or a loss that could not be told again.
    """
    if optimizer is not None and optimizer.built:
        raise ValueError(
            f"The optimizer {optimizer.name!r} has trained another model. Pass a new one: "
            "type(optimizer).from_config(optimizer.get_config())."
        )
    own = {"optimizer": _recorded(optimizer), "loss": _recorded(loss)}
    if resumable and "<lambda>" in str(own["loss"]):
        raise ValueError(
            "Received a lambda as loss, with a folder. A resumed call could not tell it from "
            "another one: define a function with a name."
        )
    return {name: value for name, value in own.items() if value is not None}


def _recorded(given) -> str | None:
    """What tells an optimizer or a loss from another, as far as Keras can say it."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, (keras.optimizers.Optimizer, keras.losses.Loss)):
        config = {name: value for name, value in given.get_config().items() if name != "name"}
        return f"{type(given).__name__} {config}"
    return f"{given.__module__}.{getattr(given, '__qualname__', type(given).__name__)}"
