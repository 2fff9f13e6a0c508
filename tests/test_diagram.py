from collections import Counter

import pytest
from PIL import Image

from keras_inception_v4 import diagram
from keras_inception_v4.architecture import Conv, walk


def drawn_texts(variant="released"):
    (axis,) = diagram.network_figure(variant).axes
    return Counter(text.get_text() for text in axis.texts)


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_every_convolution_of_each_kind_of_block_is_in_the_picture(variant):
    texts = drawn_texts(variant)
    shown = {"conv2d_1a_3x3", "conv2d_2a_3x3", "conv2d_2b_3x3", "mixed_3a", "mixed_4a", "mixed_5a",
             "mixed_5b", "mixed_6a", "mixed_6b", "mixed_7a", "mixed_7b"}  # fmt: skip
    expected = Counter(
        f"{unit.op.filters}@{unit.op.height}x{unit.op.width}"
        for endpoint, branches in walk(variant)
        if endpoint in shown
        for units in branches
        for unit in units
        if isinstance(unit.op, Conv)
    )
    found = Counter()
    for text, count in texts.items():
        if "@" in text and not text.startswith("k@"):
            found[text.split()[0]] += count
    assert found == expected
    assert texts["64@3x3"] == 1
    assert texts["320@3x3 /2 V"] == 1
    assert texts["max 3x3 /2 V"] == 4
    for stage in ("Stem", "4 x Inception-A", "Reduction-A", "7 x Inception-B", "3 x Inception-C"):
        assert texts[stage]
    for join in ("mixed_5a: 35 x 35 x 384", "mixed_6b: 17 x 17 x 1024", "mixed_7b: 8 x 8 x 1536"):
        assert texts[join] == 1


def test_the_variants_differ_where_the_figures_do():
    released, paper = drawn_texts(), drawn_texts("paper")
    assert (released["448@3x1"], released["448@1x3"]) == (1, 0)
    assert (paper["448@3x1"], paper["448@1x3"]) == (0, 1)


def test_the_picture_is_wide_and_light(tmp_path):
    diagram.draw_network(tmp_path / "network.png")
    with Image.open(tmp_path / "network.png") as picture:
        assert picture.width > 2 * picture.height
        assert picture.convert("L").getpixel((1, 1)) == 255
