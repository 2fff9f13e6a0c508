"""The command `train digits`, at a chosen pace, from the weights of a run.

    START=runs/digits STATE=state.npz PACE=20000 CONTROL= \\
        python -m benchmarks.continued train digits ...

It trains on forty scans of digits. The schedule of the learning rate counts `PACE` steps an epoch.
The losses, the momentum and batch norm's statistics are written to `STATE`, unrounded.

Controls: `rounding` scales the first kernel by a millionth. Batch norm cancels that, except for its
epsilon and rounding. `no learning` has a rate of 0.
"""

import os
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4 import cli
from keras_inception_v4.data.digits import digit_scans
from keras_inception_v4.runs.phases import from_scratch
from keras_inception_v4.runs.run import Parts, read_images
from keras_inception_v4.training import devices
from keras_inception_v4.training.fitting import fit
from keras_inception_v4.training.recipes import RATE, RECIPES
from keras_inception_v4.training.scratch import scratch_model

SCANS = 40
CONTROL = os.environ["CONTROL"]
assert CONTROL in ("", "rounding", "no learning"), CONTROL


def some_scans():
    """The first scans."""
    scans, labels = digit_scans()
    return scans[:SCANS], labels[:SCANS]


def trained_model(*arguments, **named) -> keras.Model:
    """The network with the weights of the run."""
    model = scratch_model(*arguments, **named)
    model.load_weights(Path(os.environ["START"]) / "model.keras")
    if CONTROL == "rounding":
        kernel = model.get_layer("conv2d_1a_3x3_conv").kernel
        kernel.assign(kernel * (1 + 1e-6))
    return model


def paced_optimizer(schedule) -> keras.optimizers.Optimizer:
    """The paper's optimizer, with that many steps an epoch."""
    paced = schedule._replace(steps=int(os.environ["PACE"]))
    rate = 0.0 if CONTROL == "no learning" else RATE
    return RECIPES["paper"].optimizer(paced, rate=rate)


def recorded_fit(model, *arguments, **named) -> keras.callbacks.History:
    """A fit that writes the losses, the momentum of all weights, and batch norm's statistics."""
    history = fit(model, *arguments, **named)
    if devices.is_first():
        momentum = [v for v in model.optimizer.variables if v.path.endswith("momentum")]
        moving = [v for v in model.non_trainable_variables if "/moving_" in v.path]
        np.savez(
            os.environ["STATE"],
            loss=history.history["loss"],
            momentum=np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in momentum]),
            **{v.path: keras.ops.convert_to_numpy(v) for v in moving},
        )
    return history


PACED = RECIPES["paper"]._replace(optimizer=paced_optimizer)
PARTS = Parts(
    partial(read_images, scans=some_scans),
    partial(from_scratch, build=trained_model, recipes={"paper": PACED}, fit_model=recorded_fit),
)

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:], parts=PARTS))
