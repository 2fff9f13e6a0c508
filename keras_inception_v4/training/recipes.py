"""How a network is trained from random weights: every constant with its source."""

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
RMS_EPSILON = 1.0  # paper; inside the root, and Keras's mean square starts at 0, TensorFlow's at 1
MOMENTUM = 0.9  # slim; the paper tried momentum and RMSProp
CLIP_NORM = 2.0  # Inception-v3
RATE = 0.045  # paper
RATE_BATCH = 32  # images of a step at that rate: Inception-v3; others scale it linearly: Goyal
RATE_DECAY = 0.94  # paper
DECAY_EPOCHS = 2  # paper
WARMUP_EPOCHS = 5  # Goyal
EPOCHS = EPOCHS_OF["paper"]  # Inception-v3
WEIGHT_DECAY = 4e-5  # slim: times half the squared norm of a kernel
AUXILIARY_WEIGHT = 0.4  # slim: `loss` of the auxiliary logits
# Moving average of the weights: Inception-v3's graph. Slim's grows with the step from 0.1 to that;
# Keras's is constant, so the first ten thousand steps are measured with old weights.
AVERAGE_DECAY = 0.9999
BATCH_NORM_DECAY = 0.9997  # slim

# Adam on a few thousand images.
ADAM_RATE = 1e-3  # peak
# Keras's 0.999 remembers a thousand steps, longer than the whole run: 0.95 ended at 98.6 %
# on held-out digits where 0.99 ended at 94.7 % and 0.999 at 91.1 %.
BETA_2 = 0.95
ADAM_WARMUP = 0.05  # share of all steps
# 0.99 evaluates at chance for the first few hundred steps.
SHORT_BATCH_NORM_DECAY = 0.9

# RMSProp on a few thousand images. With epsilon 1 it is plain momentum, which after five epochs
# of 44 steps was at 19 % of held-out digits.
SHORT_RMS_EPSILON = 1e-7  # Keras
SHORT_RATE = 1.5e-4  # momentum adds up to ten times that
SHORT_AVERAGE_DECAY = 0.95


class Schedule(NamedTuple):
    """What the length of a training decides."""

    epochs: int
    steps: int  # an epoch
    batch_size: int
    accumulate: int = 1  # steps of an update

    @property
    def updates(self) -> float:
        """An epoch's; no whole number where an epoch ends between two."""
        return self.steps / self.accumulate


class Recipe(NamedTuple):
    """A training from random weights.

    Args:
        epochs: passes over the images unless told.
        optimizer: made for a schedule.
        batch_norm_momentum: of the moving statistics.
        label_smoothing: share of a label that is spread over all classes.
        weight_decay: times half the squared norm of every kernel, in the loss.
        auxiliary_weight: of the auxiliary head's loss; 0 trains without that head.
        random_crops: whether training images are random crops (`preprocessing.random_crop`), made
            by the input pipeline, instead of layers in front of the model.
    """

    epochs: int
    optimizer: Callable[[Schedule], keras.optimizers.Optimizer]
    batch_norm_momentum: float
    label_smoothing: float = LABEL_SMOOTHING
    weight_decay: float = 0.0
    auxiliary_weight: float = 0.0
    random_crops: bool = False


class WarmupStaircase(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises in a line and falls by a factor every so many steps.

    Args:
        peak: rate at the end of the way up, if it had not fallen yet.
        warmup_steps: of the way up, from `peak / warmup_steps`.
        decay_rate: the factor.
        decay_steps: after how many steps each.
    """

    def __init__(self, peak: float, warmup_steps: int, decay_rate: float, decay_steps: int):
        super().__init__()
        self.peak, self.warmup_steps = peak, warmup_steps
        self.decay_rate, self.decay_steps = decay_rate, decay_steps

    def __call__(self, step):
        """The rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        up = keras.ops.minimum(1.0, (step + 1) / self.warmup_steps)
        return self.peak * up * self.decay_rate ** keras.ops.floor(step / self.decay_steps)

    def get_config(self):
        """The arguments, as Keras saves them."""
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
    """`pace`: how many of the paper's epochs one epoch counts for the rate."""
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
    """A run of any length goes as far down as the paper's hundred epochs."""
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
"""`adam` for a few thousand images, `paper` for a million, `paper-small` the paper's with epsilon,
rate and moving averages for a run of a few hundred steps."""


def decay_kernels(model: keras.Model, weight_decay: float) -> None:
    """Adds `weight_decay` times half the squared norm of each kernel to the loss, as slim does."""
    for layer in model.layers:
        if weight_decay and hasattr(layer, "kernel"):
            layer.kernel.regularizer = keras.regularizers.L2(weight_decay / 2)
