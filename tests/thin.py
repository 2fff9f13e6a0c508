"""The whole network with a sixteenth of its channels, for tests in which the width does not matter.

Names, order, layer classes, grids and kernel sizes are the real ones, so all code that depends on
them is tested. A file of its weights has 1 MB instead of 171.

A thin layer takes Keras as long to build, trace, save and load as a wide one. So there are networks
with fewer layers (`DEPTHS`). `"kinds"` leaves out repeated blocks, and a third of the layers stays.
`"shallow"` has the same blocks with two branches each, of one convolution or a pool: a tenth of the
layers.

As a script it runs the command on the shallow network, for processes that a test kills.
"""

import contextlib
import sys
from unittest import mock

from keras_inception_v4 import architecture
from keras_inception_v4.architecture import Conv, Pool

DEPTHS = ("whole", "kinds", "shallow")
SHARE = 16
REPEATED = {*(f"mixed_5{letter}" for letter in "bcd"), *(f"mixed_6{letter}" for letter in "bcdefg"),
            "mixed_7b", "mixed_7c"}  # fmt: skip


def _thin(item):
    """A conv, pool, fork, branch or block with a share of its filters."""
    if isinstance(item, Conv):
        return item._replace(filters=item.filters // SHARE)
    if type(item) in (tuple, list):
        return type(item)(_thin(part) for part in item)
    return item


def _short(block):
    """A block's first and last branch, each its pool and the convolution that it ends with.

    The first has the filters of those between, so that the block has its channels.
    """
    if isinstance(block, Conv):
        return block
    first, last = block[0][-1], block[-1]
    for branch in block[1:-1]:
        ends = branch[-1] if isinstance(branch[-1], list) else [branch[-1]]
        first = first._replace(filters=first.filters + sum(end.filters for end in ends))
    return ((first,), (*(item for item in last[:-1] if isinstance(item, Pool)), last[-1]))


def table(variant: str, depth: str = "whole") -> dict:
    assert depth in DEPTHS
    return {
        endpoint: _thin(_short(block) if depth == "shallow" else block)
        for endpoint, block in architecture.NETWORKS[variant].items()
        if depth == "whole" or endpoint not in REPEATED
    }


@contextlib.contextmanager
def thin_network(depth: str = "whole"):
    """Inside the block everything that walks the network's table walks a thin one."""
    thin = {variant: table(variant, depth) for variant in architecture.VARIANTS}
    with contextlib.ExitStack() as stack:
        for known, values in (
            (architecture.NETWORKS, thin),
            (
                architecture.ENDPOINTS,
                {
                    name: endpoint._replace(channels=endpoint.channels // SHARE)
                    for name, endpoint in architecture.ENDPOINTS.items()
                },
            ),
        ):
            stack.enter_context(mock.patch.dict(known, values))
        filters = [count // SHARE for count in architecture.AUXILIARY_FILTERS]
        stack.enter_context(mock.patch.object(architecture, "AUXILIARY_FILTERS", filters))
        yield


if __name__ == "__main__":
    from keras_inception_v4 import cli

    with thin_network("shallow"):
        sys.exit(cli.main(sys.argv[1:]))
