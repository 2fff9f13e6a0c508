"""The command for test_devices.py, on small networks.

From scratch it trains a network of one convolution with batch norm and both heads. From trained
weights it trains the shallow network.

From random weights InceptionV4 itself cannot be compared. Its gradients change by 8 % when the
input changes by a millionth, so no two orders of summation in float32 agree. `benchmarks/curves.py`
compares it from trained weights.
"""

import atexit
import contextlib
import sys
from functools import partial

from test_tasks import TaskNetwork
from thin import thin_network

from keras_inception_v4 import cli
from keras_inception_v4.runs.phases import from_scratch
from keras_inception_v4.runs.run import Parts, read_images
from keras_inception_v4.training import recipes

# A shallow network learns faster: at a tenth of the rate rounding does not grow.
SLOWER = recipes.RECIPES["paper"]._replace(
    optimizer=partial(recipes._rms_prop, rate=recipes.RATE / 10)
)
PARTS = Parts(
    read_images,
    partial(
        from_scratch,
        build=TaskNetwork.scratch_model,
        add_head=TaskNetwork.with_auxiliary_head,
        recipes={"paper": SLOWER},
    ),
)

SHALLOW = contextlib.ExitStack()
atexit.register(SHALLOW.close)
SHALLOW.enter_context(thin_network("shallow"))  # in the children too, which import this

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:], parts=PARTS))
