"""Recipes for training from random weights. Every constant has its source."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_inception_v4.training.objectives import LABEL_SMOOTHING, accumulated, warmup_cosine
from keras_inception_v4.training.options import RECIPES as EPOCHS_OF

# Paper: Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
# Learning", 2016, section 4. Inception-v3: Szegedy et al., "Rethinking the Inception Architecture
# for Computer Vision", 2016, section 8. Slim: `nets/inception_utils.py`, `inception_v4.py` and
# `train_image_classifier.py`. Goyal: "Accurate, Large Minibatch SGD", 2017.
RMS_DECAY = 0.9  # paper
RMS_EPSILON = 1.0  # paper; inside the root. Mean square starts at 0 in Keras, at 1 in TensorFlow
MOMENTUM = 0.9  # slim; the paper tried momentum and RMSProp
CLIP_NORM = 2.0  # Inception-v3
RATE = 0.045  # paper
RATE_BATCH = 32  # batch size for that rate: Inception-v3; other sizes scale it linearly: Goyal
RATE_DECAY = 0.94  # paper
DECAY_EPOCHS = 2  # paper
WARMUP_EPOCHS = 5  # Goyal
EPOCHS = EPOCHS_OF["paper"]  # Inception-v3
WEIGHT_DECAY = 4e-5  # slim: factor of half the squared norm of a kernel
AUXILIARY_WEIGHT = 0.4  # slim: `loss` of the auxiliary logits
# Moving average of the weights: Inception-v3's graph. Slim's decay grows with the step from 0.1 to
# this value. Keras's is constant, so evaluation uses old weights in the first ten thousand steps.
AVERAGE_DECAY = 0.9999
BATCH_NORM_DECAY = 0.9997  # slim

# Adam on a few thousand images.
ADAM_RATE = 1e-3  # peak
# Keras's 0.999 averages over a thousand steps, longer than the whole run. Accuracy on held-out
# digits ended at 98.6 % with 0.95, 94.7 % with 0.99 and 91.1 % with 0.999.
BETA_2 = 0.95
ADAM_WARMUP = 0.05  # share of all steps
# With 0.99, evaluation stays at chance for the first few hundred steps.
SHORT_BATCH_NORM_DECAY = 0.9

# RMSProp on a few thousand images. With epsilon 1 it is plain momentum, which reached 19 % accuracy
# on held-out digits after five epochs of 44 steps.
SHORT_RMS_EPSILON = 1e-7  # Keras's default
SHORT_RATE = 1.5e-4  # momentum multiplies it by up to ten
SHORT_AVERAGE_DECAY = 0.95


class Schedule(NamedTuple):
    """Length of a training, on which the optimizer depends."""

    epochs: int
    steps: int  # per epoch
    batch_size: int
    accumulate: int = 1  # steps per update

    @property
    def updates(self) -> float:
        """Updates per epoch; a fraction if an epoch ends between two updates."""
        return self.steps / self.accumulate


class Recipe(NamedTuple):
    """Recipe for a training from random weights.

    Args:
        epochs: Default number of passes over the images.
        optimizer: Function from a schedule to an optimizer.
        batch_norm_momentum: Momentum of the moving statistics.
        label_smoothing: Share of a label that is spread over all classes. Defaults to 0.1.
        weight_decay: Factor of half the squared norm of every kernel, added to the loss. Defaults
            to 0.
        auxiliary_weight: Weight of the auxiliary head's loss. Defaults to 0, which trains without
            that head.
        random_crops: Whether the input pipeline makes random crops of the training images
            (`preprocessing.random_crop`). Otherwise layers in front of the model augment them.
            Defaults to `False`.
    """

    epochs: int
    optimizer: Callable[[Schedule], keras.optimizers.Optimizer]
    batch_norm_momentum: float
    label_smoothing: float = LABEL_SMOOTHING
    weight_decay: float = 0.0
    auxiliary_weight: float = 0.0
    random_crops: bool = False


class WarmupStaircase(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly, and falls by a factor at regular steps from the start.

    Args:
        peak: Rate at the end of the warmup if it has not fallen by then.
        warmup_steps: Steps of the warmup, which begins at `peak / warmup_steps`.
        decay_rate: Factor of each fall.
        decay_steps: Steps between two falls.
    """

    def __init__(self, peak: float, warmup_steps: int, decay_rate: float, decay_steps: int):
        super().__init__()
        self.peak, self.warmup_steps = peak, warmup_steps
        self.decay_rate, self.decay_steps = decay_rate, decay_steps

    def __call__(self, step):
        """Return the rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        up = keras.ops.minimum(1.0, (step + 1) / self.warmup_steps)
        return self.peak * up * self.decay_rate ** keras.ops.floor(step / self.decay_steps)

    def get_config(self):
        """Return the arguments, as Keras saves them."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "decay_rate": self.decay_rate,
            "decay_steps": self.decay_steps,
        }


def _adam(schedule: Schedule) -> keras.optimizers.Optimizer:
    rate = warmup_cosine(ADAM_RATE, int(schedule.epochs * schedule.updates), ADAM_WARMUP)
    return keras.optimizers.Adam(**accumulated(rate, schedule.accumulate), beta_2=BETA_2)


def _rms_prop(
    schedule: Schedule,
    *,
    rate: float = RATE,
    epsilon: float = RMS_EPSILON,
    average_decay: float = AVERAGE_DECAY,
    pace: float = 1.0,
) -> keras.optimizers.Optimizer:
    """Return the paper's RMSProp; for the rate, one epoch counts as `pace` epochs of the paper."""
    staircase = WarmupStaircase(
        rate * schedule.batch_size * schedule.accumulate / RATE_BATCH,
        max(1, round(WARMUP_EPOCHS * schedule.updates / pace)),
        RATE_DECAY,
        max(1, round(DECAY_EPOCHS * schedule.updates / pace)),
    )
    return keras.optimizers.RMSprop(
        **accumulated(staircase, schedule.accumulate),
        rho=RMS_DECAY,
        momentum=MOMENTUM,
        epsilon=epsilon,
        global_clipnorm=CLIP_NORM,
        use_ema=True,
        ema_momentum=average_decay ** (1 / schedule.accumulate),  # Keras averages at each step
    )


def _short_rms_prop(schedule: Schedule) -> keras.optimizers.Optimizer:
    """Return RMSProp with a rate that falls as far as in the paper's hundred epochs."""
    return _rms_prop(
        schedule,
        rate=SHORT_RATE,
        epsilon=SHORT_RMS_EPSILON,
        average_decay=SHORT_AVERAGE_DECAY,
        pace=EPOCHS / schedule.epochs,
    )


_PAPER = Recipe(
    EPOCHS,
    _rms_prop,
    BATCH_NORM_DECAY,
    weight_decay=WEIGHT_DECAY,
    auxiliary_weight=AUXILIARY_WEIGHT,
    random_crops=True,
)
RECIPES = {
    "adam": Recipe(EPOCHS_OF["adam"], _adam, SHORT_BATCH_NORM_DECAY),
    "paper": _PAPER,
    "paper-small": _PAPER._replace(
        epochs=EPOCHS_OF["paper-small"],
        optimizer=_short_rms_prop,
        batch_norm_momentum=SHORT_BATCH_NORM_DECAY,
    ),
}
"""`adam` is for a few thousand images, `paper` for a million. `paper-small` is the paper's recipe
with epsilon, rate and moving averages for a run of a few hundred steps."""


def decay_kernels(model: keras.Model, weight_decay: float) -> None:
    """Add `weight_decay` times half the squared norm of each kernel to the loss, as slim does."""
    for layer in model.layers:
        if weight_decay and hasattr(layer, "kernel"):
            layer.kernel.regularizer = keras.regularizers.L2(weight_decay / 2)
