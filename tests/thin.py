"""The whole network with a sixteenth of its channels: where its width is no matter.

Names, order, layer classes, grids and kernel sizes are the real ones, so that everything that goes
by them is tested; a file of its weights has 1 MB instead of 171. `shallow` leaves out the blocks
that repeat another one, and keeps the last of each kind: a third of the layers, of which each costs
Keras as much time to build, trace, save and load as a wide one.

As a script it is the command on the thin and shallow network: for processes that a test kills.
"""

import contextlib
import sys
from unittest import mock

from keras_inception_v4 import architecture
from keras_inception_v4.architecture import Conv

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


def table(variant: str, shallow: bool = False) -> dict:
    return {
        endpoint: _thin(block)
        for endpoint, block in architecture.NETWORKS[variant].items()
        if not (shallow and endpoint in REPEATED)
    }


@contextlib.contextmanager
def thin_network(shallow: bool = False):
    """Inside the block everything that walks the network's table walks a thin one."""
    thin = {variant: table(variant, shallow) for variant in architecture.VARIANTS}
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

    with thin_network(shallow=True):
        sys.exit(cli.main(sys.argv[1:]))
