"""Weights and multiply-adds of each block of the network. Standard library only."""

from typing import NamedTuple

from keras_inception_v4.architecture import (
    DEFAULT_SIZE,
    ENDPOINTS,
    HEAD,
    IMAGENET_CLASSES,
    MINIMUM_SIZE,
    Conv,
    Unit,
    V,
    walk,
)
from keras_inception_v4.errors import check_at_least

FIGURES = {
    "mixed_5a": "Stem",
    "mixed_5": "Inception-A",
    "mixed_6a": "Reduction-A",
    "mixed_6": "Inception-B",
    "mixed_7a": "Reduction-B",
    "mixed_7": "Inception-C",
}
"""The paper's block names by endpoint, with or without its letter; all others are the stem."""


class Cost(NamedTuple):
    """One row of the table of costs.

    `grid` and `channels` are the side and the channels of the output. `weights` counts kernels,
    biases, beta, and the moving mean and variance. `multiply_adds` is for one image.
    """

    endpoint: str
    block: str
    grid: int
    channels: int
    weights: int
    multiply_adds: int


def block_name(endpoint: str) -> str:
    """Return the paper's name of the block that an endpoint is in, such as `"Inception-A"`."""
    return FIGURES.get(endpoint) or FIGURES.get(endpoint[:-1], "Stem")


def output_side(side: int, kernel: int, unit: Unit) -> int:
    """Return the output height or width of a unit for input `side` and kernel side `kernel`."""
    if unit.op.padding == V:
        side -= kernel - 1
    return -(-side // unit.op.strides)


def network_costs(
    size: int = DEFAULT_SIZE, *, channels: int = 3, classes: int | None = IMAGENET_CLASSES
) -> list[Cost]:
    """Return the costs of all endpoints and the head; both variants cost the same.

    Multiply-adds are counted as in timm's table (12.28 G at 299): one for each kernel entry at each
    output position, and two for each value that batch norm normalizes.

    Args:
        size: Side of the input in pixels, at least 75. Defaults to 299.
        channels: Number of channels of the input, at least 1. Defaults to 3.
        classes: Number of classes of the head, at least 1. `None` omits the head.

    Returns:
        A row for each of the 22 endpoints, and one for the head.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_at_least(MINIMUM_SIZE, size=size)
    check_at_least(1, channels=channels, classes=1 if classes is None else classes)
    costs, side = [], size
    for endpoint, branches in walk(channels=channels):
        weights = multiply_adds = 0
        for units in branches:
            height = width = side
            for unit in units:
                height = output_side(height, unit.op.height, unit)
                width = output_side(width, unit.op.width, unit)
                if isinstance(unit.op, Conv):
                    kernel = unit.op.height * unit.op.width * unit.channels * unit.op.filters
                    weights += kernel + 3 * unit.op.filters
                    multiply_adds += height * width * (kernel + 2 * unit.op.filters)
        side = height
        costs.append(
            Cost(
                endpoint,
                block_name(endpoint),
                side,
                ENDPOINTS[endpoint].channels,
                weights,
                multiply_adds,
            )
        )
    if classes is not None:
        kernel = ENDPOINTS[endpoint].channels * classes
        costs.append(Cost(HEAD, "Head", 1, classes, kernel + classes, kernel))
    return costs
