"""The command `train digits`, at the pace of ImageNet, from the weights of a run.

    RUN=runs/digits python -m benchmarks.continued train digits ...

Forty scans of digits; for the rate, an epoch has the 1,281,167 images of ImageNet. Processes that
this one starts import this file, and so do the same.
"""

import os
import sys
from pathlib import Path

from keras_inception_v4 import cli
from keras_inception_v4.data import digits
from keras_inception_v4.training import RECIPES, scratch

IMAGENET = 1_281_167  # training images of 2012
SCANS = 40
build, of_schedule = scratch.scratch_model, RECIPES["paper"].optimizer
scans, labels = digits.digit_scans()


def trained(*arguments, **named):
    """The network with the weights of the run."""
    model = build(*arguments, **named)
    model.load_weights(Path(os.environ["RUN"]) / "model.keras")
    return model


def paced(schedule):
    """The paper's optimizer, with ImageNet's steps an epoch."""
    return of_schedule(schedule._replace(steps=IMAGENET // schedule.batch_size))


scratch.scratch_model = trained
RECIPES["paper"] = RECIPES["paper"]._replace(optimizer=paced)
digits.digit_scans = lambda: (scans[:SCANS], labels[:SCANS])

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
