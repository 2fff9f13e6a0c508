"""The command, on a network of one convolution with batch norm and both heads; see test_devices.py.

InceptionV4 itself cannot be compared so: from random weights its gradients change by 8 % when the
input changes by a millionth, so no two orders of summation in float32 agree. `benchmarks/curves.py`
compares it from trained weights. Processes that this one starts import this file, and so do the
same.
"""

import sys
from functools import partial

from test_recipes import Network

from keras_inception_v4 import cli
from keras_inception_v4.runs import phases
from keras_inception_v4.training import recipes

phases.scratch_model = Network.scratch_model
phases.train_from_scratch = partial(
    phases.train_from_scratch,
    build=Network.scratch_model,
    add_head=Network.with_auxiliary_head,
)
# A shallow network learns faster: at a tenth of the rate rounding does not grow.
slower = partial(recipes._rms_prop, rate=recipes.RATE / 10)
recipes.RECIPES["paper"] = recipes.RECIPES["paper"]._replace(optimizer=slower)

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
