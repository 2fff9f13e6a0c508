"""The command, on a network that fits the question; see test_devices.py.

`NETWORK=small`: one convolution with batch norm and both heads, on which float32 runs can be
compared. `NETWORK=whole`: InceptionV4 in float64, for `--precision float32`: in float32 its
gradients from random weights change by 8 % when the input changes by a millionth, so no two orders
of summation agree. Processes that this one starts import this file, and so do the same.
"""

import os
import sys
from functools import partial

import keras
from test_recipes import Network

from keras_inception_v4 import cli
from keras_inception_v4.training import fitting, recipes, scratch
from keras_inception_v4.transfer import run

if os.environ["NETWORK"] == "small":
    scratch.scratch_model = run.scratch_model = Network.scratch_model
    scratch.with_auxiliary_head = Network.with_auxiliary_head
    # A shallow network learns faster: at a tenth of the rate rounding does not grow.
    slower = partial(recipes._rms_prop, rate=recipes.RATE / 10)
    recipes.RECIPES["paper"] = recipes.RECIPES["paper"]._replace(optimizer=slower)
else:
    scratch.dtype_policy = lambda _: fitting.dtype_policy("float64")
    fitting.PRECISIONS = ("float64",)

if __name__ == "__main__":
    assert keras.backend.backend() == "jax"
    sys.exit(cli.main(sys.argv[1:]))
