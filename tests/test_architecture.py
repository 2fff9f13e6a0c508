import subprocess
import sys

import pytest

from keras_inception_v4 import architecture
from keras_inception_v4.architecture import Conv, Pool

ENDPOINTS = {
    "conv2d_1a_3x3": (2, 32),
    "conv2d_2a_3x3": (2, 32),
    "conv2d_2b_3x3": (2, 64),
    "mixed_3a": (4, 160),
    "mixed_4a": (4, 192),
    "mixed_5a": (8, 384),
    "mixed_5b": (8, 384),
    "mixed_5c": (8, 384),
    "mixed_5d": (8, 384),
    "mixed_5e": (8, 384),
    "mixed_6a": (16, 1024),
    "mixed_6b": (16, 1024),
    "mixed_6c": (16, 1024),
    "mixed_6d": (16, 1024),
    "mixed_6e": (16, 1024),
    "mixed_6f": (16, 1024),
    "mixed_6g": (16, 1024),
    "mixed_6h": (16, 1024),
    "mixed_7a": (32, 1536),
    "mixed_7b": (32, 1536),
    "mixed_7c": (32, 1536),
    "mixed_7d": (32, 1536),
}

# Block, branch: kernels (height x width) in the order of the forward pass.
PAPER_DIFFERS = {
    ("mixed_4a", 1): (["1x1", "1x7", "7x1", "3x3"], ["1x1", "7x1", "1x7", "3x3"]),
    ("mixed_6b", 2): (["1x1", "7x1", "1x7", "7x1", "1x7"], ["1x1", "1x7", "7x1", "1x7", "7x1"]),
    ("mixed_6h", 2): (["1x1", "7x1", "1x7", "7x1", "1x7"], ["1x1", "1x7", "7x1", "1x7", "7x1"]),
    ("mixed_7b", 2): (["1x1", "3x1", "1x3", "1x3", "3x1"], ["1x1", "1x3", "3x1", "1x3", "3x1"]),
    ("mixed_7d", 2): (["1x1", "3x1", "1x3", "1x3", "3x1"], ["1x1", "1x3", "3x1", "1x3", "3x1"]),
}


def branch(variant, endpoint, index):
    return [
        unit
        for unit in architecture.convolutions(variant)
        if (unit.endpoint, unit.branch) == (endpoint, index)
    ]


def test_endpoints_are_the_table_of_the_paper():
    assert architecture.ENDPOINTS == ENDPOINTS
    assert list(architecture.ENDPOINTS) == list(ENDPOINTS)


def test_the_cells_of_299_pixels_lie_in_the_middle():
    """Every reduction fits 299 pixels without a rest, so a picture and its mirror image agree."""
    sides = {"conv2d_1a": 149, "conv2d_2": 147, "mixed_3a": 73, "mixed_4a": 71, "mixed_5": 35,
             "mixed_6": 17, "mixed_7": 8}  # fmt: skip
    for name, grid in architecture.GRIDS.items():
        (cells,) = (count for prefix, count in sides.items() if name.startswith(prefix))
        assert grid.cells(299) == cells
        assert grid.stride == ENDPOINTS[name][0]
        assert grid.first == 298 - (grid.first + (cells - 1) * grid.stride)
    assert architecture.GRIDS["mixed_7d"] == (37, 32)


@pytest.mark.parametrize("variant", architecture.VARIANTS)
def test_there_are_149_convolutions_with_the_paper_s_weights(variant):
    units = architecture.convolutions(variant)
    assert len(units) == 149
    assert len({unit.name for unit in units}) == 149
    kernels = sum(u.op.height * u.op.width * u.channels * u.op.filters for u in units)
    assert kernels == 41_079_648
    assert sum(unit.op.filters for unit in units) == 31_584


@pytest.mark.parametrize(("place", "kernels"), PAPER_DIFFERS.items())
def test_variants_differ_in_the_order_of_factorized_pairs(place, kernels):
    for variant, expected in zip(architecture.VARIANTS, kernels, strict=True):
        assert [f"{u.op.height}x{u.op.width}" for u in branch(variant, *place)] == expected


def test_variants_agree_everywhere_else():
    places = {(u.endpoint, u.branch) for u in architecture.convolutions()}
    different = {place for place in places if branch("released", *place) != branch("paper", *place)}
    assert different == {
        ("mixed_4a", 1),
        *((f"mixed_6{letter}", 2) for letter in "bcdefgh"),
        *((f"mixed_7{letter}", 2) for letter in "bcd"),
    }


def test_filters_of_a_branch_do_not_depend_on_the_variant():
    for released, paper in zip(
        architecture.convolutions("released"), architecture.convolutions("paper"), strict=True
    ):
        assert released.op.filters == paper.op.filters
        assert released.channels == paper.channels


def test_names_are_slim_s_scopes():
    names = [unit.name for unit in architecture.convolutions()]
    assert names[:7] == [
        "conv2d_1a_3x3",
        "conv2d_2a_3x3",
        "conv2d_2b_3x3",
        "mixed_3a_branch_1_conv2d_0a_3x3",
        "mixed_4a_branch_0_conv2d_0a_1x1",
        "mixed_4a_branch_0_conv2d_1a_3x3",
        "mixed_4a_branch_1_conv2d_0a_1x1",
    ]
    assert names[-4:] == [
        "mixed_7d_branch_2_conv2d_0c_1x3",
        "mixed_7d_branch_2_conv2d_0d_1x3",
        "mixed_7d_branch_2_conv2d_0e_3x1",
        "mixed_7d_branch_3_conv2d_0b_1x1",
    ]
    pools = [
        unit.name
        for _, branches in architecture.walk()
        for units in branches
        for unit in units
        if isinstance(unit.op, Pool)
    ]
    assert pools[:2] == ["mixed_3a_branch_0_maxpool_0a_3x3", "mixed_5a_branch_1_maxpool_1a_3x3"]
    assert "mixed_5b_branch_3_avgpool_0a_3x3" in pools
    assert len(pools) == 2 + 4 + 1 + 7 + 1 + 3


def test_both_ops_of_a_fork_see_the_same_channels():
    fork = [u for u in architecture.convolutions() if u.fork is not None]
    assert len(fork) == 3 * 2 * 2
    for first, second in zip(fork[::2], fork[1::2], strict=True):
        assert (first.fork, second.fork) == (0, 1)
        assert first.channels == second.channels
    assert all(isinstance(unit.op, Conv) for unit in fork)


def test_unknown_variant_names_the_two():
    with pytest.raises(ValueError, match=r"Unknown variant 'v5'.*'released'.*'paper'"):
        architecture.network("v5")


@pytest.mark.parametrize(
    "code",
    [
        "import keras_inception_v4",
        "from keras_inception_v4 import ENDPOINTS; assert len(ENDPOINTS) == 22",
        "from keras_inception_v4.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from keras_inception_v4.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_keras_is_not_imported_for(code):
    check = "import sys; assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
