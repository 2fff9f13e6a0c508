"""The figures of the Inception-v4 paper as data, and the name of every layer.

Source: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and
the Impact of Residual Connections on Learning", 2016, figures 3 to 9, and the
authors' TF-slim graph (`nets/inception_v4.py`), whose scopes give the names.

A branch is a tuple of ops, a fork at its end is a list, a block is a tuple of
branches in the order of concatenation. Sizes are height x width. Everything
else in the package (Keras layers, names of other frameworks' weights, the
summary) comes from a walk over these tables. Standard library only.
"""

from collections.abc import Iterator
from typing import NamedTuple

V = "valid"  # what the paper marks "V"; everything unmarked pads to the same size
VARIANTS = ("released", "paper")
MINIMUM_SIZE = 75
AUXILIARY_MINIMUM_SIZE = 107  # the auxiliary head pools 5 x 5 cells
DEFAULT_SIZE = 299
EVALUATION_CROP = 0.875  # share of the short side that the published accuracy was measured on
DIGITS_CROP = 1.0  # a quarter of a digit's ink is in the outer ring
BATCH_NORM_EPSILON = 0.001
IMAGENET_CLASSES = 1000


class Conv(NamedTuple):
    """Convolution, batch norm without scale, ReLU."""

    filters: int
    height: int
    width: int
    strides: int = 1
    padding: str = "same"
    step: str = ""  # overrides the rule of `_steps`


class Pool(NamedTuple):
    """A pool, 3x3 unless told; an average pool does not count the padding."""

    kind: str
    strides: int = 1
    padding: str = "same"
    step: str = ""
    height: int = 3
    width: int = 3


class Unit(NamedTuple):
    """One op of the network in its place.

    `branch` and `position` count from 0 inside the block (both None for a stem
    convolution that stands alone); `fork` is the index inside a fork, else None;
    `channels` is what goes in.
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
# The figure leaves out the stride of this convolution.
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
"""Each variant's table; see `network`."""


def network(variant: str = "released") -> dict[str, Conv | Block]:
    """The whole network up to the head: endpoint name to its op or block.

    Args:
        variant: `"released"` has the order of factorized pairs of the authors'
            checkpoint, `"paper"` that of the figures (tensorflow/models #7041,
            #3313 list the differences). Counts and shapes are the same.

    Returns:
        The 22 endpoints in the order of the forward pass.

    Raises:
        ValueError: if `variant` is none of the two.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"Unknown variant {variant!r}. Allowed are 'released' (the order of the ImageNet "
            "weights) and 'paper' (the order of the figures)."
        )
    return NETWORKS[variant]


def _steps(branch: tuple) -> Iterator[tuple[int, int | None, str, Conv | Pool]]:
    """Position, index in a fork, slim's step and op of everything in a branch.

    Slim counts the ops of a branch 0a, 0b, ... and calls the one that shrinks
    the grid 1a.
    """
    count = 0
    for position, item in enumerate(branch):
        for fork, op in enumerate(item if isinstance(item, list) else [item]):
            step = op.step or ("1a" if op.padding == V else f"0{'abcdefgh'[count]}")
            yield position, fork if isinstance(item, list) else None, step, op
            count += 1


def block_units(endpoint: str, block: Conv | Block, channels: int) -> list[list[Unit]]:
    """The named ops of one block, a list for each branch.

    Args:
        endpoint: name of the block, prefix of every name in it.
        block: an entry of `network()`.
        channels: channels of the block's input.

    Returns:
        A list of branches; the ops that a fork holds all come from the op before it.
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
    """The ops of a branch that are concatenated: its last one, or its fork."""
    return [unit for unit in units if unit.position == units[-1].position]


def _out_channels(unit: Unit) -> int:
    return unit.op.filters if isinstance(unit.op, Conv) else unit.channels


def walk(variant: str = "released", channels: int = 3) -> Iterator[tuple[str, list[list[Unit]]]]:
    """Every endpoint with its branches of named ops, in the order of the forward pass.

    Args:
        variant: as in `network`.
        channels: channels of the network's input.
    """
    for endpoint, block in network(variant).items():
        branches = block_units(endpoint, block, channels)
        yield endpoint, branches
        channels = sum(_out_channels(unit) for units in branches for unit in branch_outputs(units))


def convolutions(variant: str = "released", channels: int = 3) -> list[Unit]:
    """The 149 convolutions in the table's order, which is also slim's and Keras 2's."""
    return [
        unit
        for _, branches in walk(variant, channels)
        for units in branches
        for unit in units
        if isinstance(unit.op, Conv)
    ]


class Endpoint(NamedTuple):
    """Of a feature map: pixels of the image a cell, and channels."""

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
    """Where an endpoint's cells look: cell `i` of a side at what is around `first + i * stride`.

    In pixels, from 0. The stem does not pad, so the cells' centres do not reach the border.
    """

    first: int
    stride: int

    def cells(self, side: int) -> int:
        """How many there are along a side of so many pixels."""
        return (side - 2 * self.first - 1) // self.stride + 1


def _grids() -> dict[str, Grid]:
    grids, first, stride = {}, 0, 1
    for endpoint, branches in walk():
        for unit in branches[0]:
            if unit.op.padding == V:  # the others keep the centres where they are
                first += (unit.op.height - 1) // 2 * stride
            stride *= unit.op.strides
        grids[endpoint] = Grid(first, stride)
    return grids


GRIDS: dict[str, Grid] = _grids()
"""Name of each of the 22 endpoints to where its cells look."""
ENDPOINTS: dict[str, Endpoint] = _endpoints()
"""Name of each of the 22 endpoints to its stride and channels."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # dtype policies to compute in

PREPROCESSING, POOL, HEAD, AUXILIARY_HEAD = "preprocessing", "avg_pool", "predictions", "auxiliary"
TARGETS = "targets"  # behind the head of a model that answers quantities
SINGLE_LABEL, MULTI_LABEL, REGRESSION = TASK_NAMES = ("single-label", "multi-label", "regression")
"""What a picture has: one class, several or none, or quantities; see `tasks`."""
CLASSIFIER, EMBEDDING = "classifier", "embedding"
"""Parts of a model that are exported; the latter is also what such an artefact answers."""
"""Layers around the network: raw pixels to its range, the average pool, and the two classifiers."""

AUXILIARY_ENDPOINT = "mixed_6h"
AUXILIARY_FILTERS = [128, 768]  # of its two convolutions


def auxiliary_units(grid: tuple[int, int] = (5, 5)) -> list[Unit]:
    """The ops of the authors' auxiliary head, from `AUXILIARY_ENDPOINT` to its dense layer.

    Source: `AuxLogits` of slim's graph; the paper's figures leave it out.

    Args:
        grid: height and width of what the pool leaves, 5 x 5 for an image of 299 x 299; the
            last convolution covers it whole.
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
