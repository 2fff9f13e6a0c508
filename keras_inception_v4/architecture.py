"""The figures of the Inception-v4 paper as data, and the name of every layer.

Source: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and
the Impact of Residual Connections on Learning", 2016, figures 3 to 9, and the
authors' TF-slim graph (`nets/inception_v4.py`), whose scopes give the names.

A branch is a tuple of ops. A fork at its end is a list. A block is a tuple of
branches in the order of concatenation. Sizes are height x width. The rest of the
package walks these tables to get the Keras layers, the weight names of other
frameworks and the summary. This module uses the standard library only.
"""

from collections.abc import Iterator
from typing import NamedTuple

V = "valid"  # marked "V" in the paper; unmarked ops use "same" padding
VARIANTS = ("released", "paper")
MINIMUM_SIZE = 75
AUXILIARY_MINIMUM_SIZE = 107  # smallest side with the 5 x 5 cells that the auxiliary head pools
DEFAULT_SIZE = 299
EVALUATION_CROP = 0.875  # share of the short side used for the published accuracy
DIGITS_CROP = 1.0  # no crop: a quarter of a digit's ink is in the outer ring
BATCH_NORM_EPSILON = 0.001
IMAGENET_CLASSES = 1000


class Conv(NamedTuple):
    """A convolution, followed by batch norm without scale and ReLU."""

    filters: int
    height: int
    width: int
    strides: int = 1
    padding: str = "same"
    step: str = ""  # overrides the rule of `_steps`


class Pool(NamedTuple):
    """A pool, 3x3 by default. Average pools ignore the padding."""

    kind: str
    strides: int = 1
    padding: str = "same"
    step: str = ""
    height: int = 3
    width: int = 3


class Unit(NamedTuple):
    """One op of the network and its place.

    `branch` and `position` count from 0 inside the block. Both are `None` for a single stem
    convolution. `fork` is the index inside a fork, or `None` outside one. `channels` is the
    number of input channels.
    """

    name: str
    op: Conv | Pool
    channels: int
    endpoint: str
    branch: int | None = None
    position: int | None = None
    fork: int | None = None


Block = tuple[tuple, ...]

MAX_POOL_2 = Pool("max", 2, V)
AVERAGE_POOL = Pool("avg")

# Figure 3, the stem: three convolutions, then three blocks.
STEM_CONVOLUTIONS = {
    "conv2d_1a_3x3": Conv(32, 3, 3, 2, V),
    "conv2d_2a_3x3": Conv(32, 3, 3, 1, V),
    "conv2d_2b_3x3": Conv(64, 3, 3),
}
MIXED_3A = (
    (Pool("max", 2, V, step="0a"),),
    (Conv(96, 3, 3, 2, V, step="0a"),),
)
MIXED_4A = (
    (Conv(64, 1, 1), Conv(96, 3, 3, 1, V)),
    (Conv(64, 1, 1), Conv(64, 1, 7), Conv(64, 7, 1), Conv(96, 3, 3, 1, V)),
)
MIXED_4A_PAPER = (
    (Conv(64, 1, 1), Conv(96, 3, 3, 1, V)),
    (Conv(64, 1, 1), Conv(64, 7, 1), Conv(64, 1, 7), Conv(96, 3, 3, 1, V)),
)
# The paper's figure omits the stride of the convolution.
MIXED_5A = (
    (Conv(192, 3, 3, 2, V),),
    (MAX_POOL_2,),
)
# Figure 4.
INCEPTION_A = (
    (Conv(96, 1, 1),),
    (Conv(64, 1, 1), Conv(96, 3, 3)),
    (Conv(64, 1, 1), Conv(96, 3, 3), Conv(96, 3, 3)),
    (AVERAGE_POOL, Conv(96, 1, 1)),
)
# Figure 7 with the row of table 1: k=192, l=224, m=256, n=384.
REDUCTION_A = (
    (Conv(384, 3, 3, 2, V),),
    (Conv(192, 1, 1), Conv(224, 3, 3), Conv(256, 3, 3, 2, V)),
    (MAX_POOL_2,),
)
# Figure 5, which prints 1x7 twice in the second branch.
INCEPTION_B = (
    (Conv(384, 1, 1),),
    (Conv(192, 1, 1), Conv(224, 1, 7), Conv(256, 7, 1)),
    (Conv(192, 1, 1), Conv(192, 7, 1), Conv(224, 1, 7), Conv(224, 7, 1), Conv(256, 1, 7)),
    (AVERAGE_POOL, Conv(128, 1, 1)),
)
INCEPTION_B_PAPER = (
    (Conv(384, 1, 1),),
    (Conv(192, 1, 1), Conv(224, 1, 7), Conv(256, 7, 1)),
    (Conv(192, 1, 1), Conv(192, 1, 7), Conv(224, 7, 1), Conv(224, 1, 7), Conv(256, 7, 1)),
    (AVERAGE_POOL, Conv(128, 1, 1)),
)
# Figure 8.
REDUCTION_B = (
    (Conv(192, 1, 1), Conv(192, 3, 3, 2, V)),
    (Conv(256, 1, 1), Conv(256, 1, 7), Conv(320, 7, 1), Conv(320, 3, 3, 2, V)),
    (MAX_POOL_2,),
)
# Figure 6.
INCEPTION_C = (
    (Conv(256, 1, 1),),
    (Conv(384, 1, 1), [Conv(256, 1, 3), Conv(256, 3, 1)]),
    (Conv(384, 1, 1), Conv(448, 3, 1), Conv(512, 1, 3), [Conv(256, 1, 3), Conv(256, 3, 1)]),
    (AVERAGE_POOL, Conv(256, 1, 1)),
)
INCEPTION_C_PAPER = (
    (Conv(256, 1, 1),),
    (Conv(384, 1, 1), [Conv(256, 1, 3), Conv(256, 3, 1)]),
    (Conv(384, 1, 1), Conv(448, 1, 3), Conv(512, 3, 1), [Conv(256, 1, 3), Conv(256, 3, 1)]),
    (AVERAGE_POOL, Conv(256, 1, 1)),
)


def _table(mixed_4a: Block, block_b: Block, block_c: Block) -> dict[str, Conv | Block]:
    return {
        **STEM_CONVOLUTIONS,
        "mixed_3a": MIXED_3A,
        "mixed_4a": mixed_4a,
        "mixed_5a": MIXED_5A,
        **{f"mixed_5{letter}": INCEPTION_A for letter in "bcde"},
        "mixed_6a": REDUCTION_A,
        **{f"mixed_6{letter}": block_b for letter in "bcdefgh"},
        "mixed_7a": REDUCTION_B,
        **{f"mixed_7{letter}": block_c for letter in "bcd"},
    }


NETWORKS: dict[str, dict[str, Conv | Block]] = {
    "released": _table(MIXED_4A, INCEPTION_B, INCEPTION_C),
    "paper": _table(MIXED_4A_PAPER, INCEPTION_B_PAPER, INCEPTION_C_PAPER),
}
"""Table of each variant; see `network`."""


def network(variant: str = "released") -> dict[str, Conv | Block]:
    """Return the network up to the head, as a dict from endpoint name to op or block.

    Args:
        variant: `"released"` orders factorized pairs as the authors' checkpoint does.
            `"paper"` orders them as the figures do. Counts and shapes are the same.
            The differences are listed in tensorflow/models #7041 and #3313.

    Returns:
        The 22 endpoints in the order of the forward pass.

    Raises:
        ValueError: If `variant` is not one of the two.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"Unknown variant {variant!r}. Allowed are 'released' (the order of the ImageNet "
            "weights) and 'paper' (the order of the figures)."
        )
    return NETWORKS[variant]


def _steps(branch: tuple) -> Iterator[tuple[int, int | None, str, Conv | Pool]]:
    """Yield position, index in the fork (or `None`), slim's step name and op for each op.

    Slim names the ops of a branch 0a, 0b, ... and names an op that shrinks the grid 1a.
    """
    count = 0
    for position, item in enumerate(branch):
        for fork, op in enumerate(item if isinstance(item, list) else [item]):
            step = op.step or ("1a" if op.padding == V else f"0{'abcdefgh'[count]}")
            yield position, fork if isinstance(item, list) else None, step, op
            count += 1


def block_units(endpoint: str, block: Conv | Block, channels: int) -> list[list[Unit]]:
    """Return the named ops of one block, as one list for each branch.

    Args:
        endpoint: Name of the block, the prefix of every name in it.
        block: Entry of `network()`.
        channels: Number of input channels of the block.

    Returns:
        A list of branches. All ops of a fork take the output of the op before the fork.
    """
    if isinstance(block, Conv):
        return [[Unit(endpoint, block, channels, endpoint)]]
    branches = []
    for index, branch in enumerate(block):
        units = []
        incoming = current = channels
        for position, fork, step, op in _steps(branch):
            if not fork:  # the first op of a fork, and every op outside one
                incoming = current
            kind = "conv2d" if isinstance(op, Conv) else f"{op.kind}pool"
            name = f"{endpoint}_branch_{index}_{kind}_{step}_{op.height}x{op.width}"
            units.append(Unit(name, op, incoming, endpoint, index, position, fork))
            current = op.filters if isinstance(op, Conv) else incoming
        branches.append(units)
    return branches


def branch_outputs(units: list[Unit]) -> list[Unit]:
    """Return the ops of a branch that are concatenated: its last op, or all ops of its fork."""
    return [unit for unit in units if unit.position == units[-1].position]


def _out_channels(unit: Unit) -> int:
    return unit.op.filters if isinstance(unit.op, Conv) else unit.channels


def walk(variant: str = "released", channels: int = 3) -> Iterator[tuple[str, list[list[Unit]]]]:
    """Yield each endpoint with its branches of named ops, in the order of the forward pass.

    Args:
        variant: Variant of the network, as in `network`.
        channels: Number of input channels of the network.
    """
    for endpoint, block in network(variant).items():
        branches = block_units(endpoint, block, channels)
        yield endpoint, branches
        channels = sum(_out_channels(unit) for units in branches for unit in branch_outputs(units))


def convolutions(variant: str = "released", channels: int = 3) -> list[Unit]:
    """Return the 149 convolutions in the order of the table, of slim and of Keras 2."""
    return [
        unit
        for _, branches in walk(variant, channels)
        for units in branches
        for unit in units
        if isinstance(unit.op, Conv)
    ]


class Endpoint(NamedTuple):
    """Stride of a feature map, in image pixels per cell, and its number of channels."""

    stride: int
    channels: int


def _endpoints() -> dict[str, Endpoint]:
    endpoints = {}
    for endpoint, branches in walk():
        outputs = [unit for units in branches for unit in branch_outputs(units)]
        channels = sum(_out_channels(unit) for unit in outputs)
        endpoints[endpoint] = Endpoint(GRIDS[endpoint].stride, channels)
    return endpoints


class Grid(NamedTuple):
    """Positions in the image of an endpoint's cells, in pixels from 0.

    Cell `i` along a side is centred on pixel `first + i * stride`. The stem does not pad, so the
    centres do not reach the border.
    """

    first: int
    stride: int

    def cells(self, side: int) -> int:
        """Return the number of cells along a side of `side` pixels."""
        return (side - 2 * self.first - 1) // self.stride + 1


def _grids() -> dict[str, Grid]:
    grids, first, stride = {}, 0, 1
    for endpoint, branches in walk():
        for unit in branches[0]:
            if unit.op.padding == V:  # "same" padding does not move the centres
                first += (unit.op.height - 1) // 2 * stride
            stride *= unit.op.strides
        grids[endpoint] = Grid(first, stride)
    return grids


GRIDS: dict[str, Grid] = _grids()
"""Positions of the cells of each of the 22 endpoints, by endpoint name."""
ENDPOINTS: dict[str, Endpoint] = _endpoints()
"""Names of the 22 endpoints, in their order, each with its stride and channels.

Examples:
    ```python
    from keras_inception_v4 import ENDPOINTS

    stride, channels = ENDPOINTS["mixed_6h"]
    print(stride, channels)
    ```
"""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # dtype policies to compute in

PREPROCESSING, POOL, HEAD, AUXILIARY_HEAD = "preprocessing", "avg_pool", "predictions", "auxiliary"
TARGETS = "targets"  # name of the last layer of a regression model
SINGLE_LABEL, MULTI_LABEL, REGRESSION = TASK_NAMES = ("single-label", "multi-label", "regression")
"""Tasks by what a picture has: one class, any number of classes, or quantities; see `tasks`."""
CLASSIFIER, EMBEDDING = "classifier", "embedding"
"""Parts of a model that can be exported. `EMBEDDING` also names the task of such an artefact."""
"""`PREPROCESSING`, `POOL` and the two heads are the names of the layers around the network."""

AUXILIARY_ENDPOINT = "mixed_6h"
AUXILIARY_FILTERS = [128, 768]  # of the auxiliary head's two convolutions


def auxiliary_units(grid: tuple[int, int] = (5, 5)) -> list[Unit]:
    """Return the ops of the auxiliary head between `AUXILIARY_ENDPOINT` and its dense layer.

    Source: `AuxLogits` of slim's graph by the paper's authors. The paper's figures omit it.

    Args:
        grid: Height and width of the pool's output, 5 x 5 for an image of 299 x 299. The kernel
            of the last convolution has this size.
    """
    channels = ENDPOINTS[AUXILIARY_ENDPOINT].channels
    first, second = AUXILIARY_FILTERS
    return [
        Unit(f"auxlogits_{name}", op, incoming, "auxlogits")
        for name, op, incoming in (
            ("avgpool_1a_5x5", Pool("avg", 3, V, height=5, width=5), channels),
            ("conv2d_1b_1x1", Conv(first, 1, 1), channels),
            ("conv2d_2a", Conv(second, *grid, 1, V), first),
        )
    ]
