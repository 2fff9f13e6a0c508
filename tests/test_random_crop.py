import colorsys

import numpy as np
import pytest
from PIL import Image

from keras_inception_v4.preprocessing import RANDOM_CROPS, Picture, opened, random_crop
from keras_inception_v4.preprocessing.random_crop import Ranges, random_box

PHOTOGRAPHS = RANDOM_CROPS["photographs"]
WHOLE = Ranges((1, 1), (1, 1))


def rng(seed=0):
    return np.random.default_rng(seed)


def photograph(height=60, width=80, seed=3):
    return rng(seed).uniform(0, 255, (height, width, 3)).astype("float32")


def test_boxes_keep_to_area_and_aspect_and_reach_everywhere():
    draw = rng()
    boxes = np.array([random_box(600, 800, PHOTOGRAPHS, draw) for _ in range(2000)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 800
    assert bottom.max() <= 600
    shares = (right - left) * (bottom - top) / (600 * 800)
    aspects = (right - left) / (bottom - top)
    assert 0.049 < shares.min() < 0.06
    assert 0.9 < shares.max() <= 1
    assert 0.74 < aspects.min() < 0.76
    assert 1.32 < aspects.max() < 1.35
    assert 0.35 < np.mean(shares) < 0.55  # uniform but for what does not fit
    assert left.max() > 500
    assert top.max() > 350


def test_what_never_fits_is_the_whole_image():
    assert random_box(10, 1000, Ranges((0.9, 1), (1, 1)), rng()) == (0, 0, 1000, 10)


def test_the_whole_image_without_changes_is_the_image():
    pixels = photograph(64, 64)
    found = random_crop(Picture.of(pixels), (64, 64), WHOLE, rng())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pixels, atol=1e-4)


def test_it_is_a_function_of_the_generator():
    channels = Picture.of(photograph())
    first, again, other = (
        random_crop(channels, (75, 90), PHOTOGRAPHS, rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (75, 90, 3)
    assert np.abs(first - other).mean() > 5
    assert 0 <= first.min() < first.max() <= 255


def test_half_are_mirrored():
    pixels = photograph(64, 64)
    mirrored = sum(
        np.allclose(
            random_crop(Picture.of(pixels), (64, 64), WHOLE._replace(mirror=True), rng(seed)),
            pixels[:, ::-1],
            atol=1e-3,
        )
        for seed in range(200)
    )
    assert 70 < mirrored < 130


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"contrast": (0.5, 0.5)}, lambda x: x.mean((0, 1)) + 0.5 * (x - x.mean((0, 1)))),
        ({"saturation": (0, 0)}, lambda x: np.repeat(x @ [[0.299], [0.587], [0.114]], 3, 2)),
    ],
)
def test_colours_by_hand(change, expected):
    pixels = 100 + photograph(64, 64) / 5  # far from the ends of the range
    found = random_crop(Picture.of(pixels), (64, 64), WHOLE._replace(**change), rng())
    np.testing.assert_allclose(found, expected(pixels.astype("float64")), atol=0.5)


def test_brightness_is_one_shift_within_its_range():
    pixels = 100 + photograph(64, 64) / 5
    shifts = []
    for seed in range(50):
        found = random_crop(Picture.of(pixels), (64, 64), WHOLE._replace(brightness=32), rng(seed))
        difference = found - pixels
        assert np.ptp(difference) < 0.01
        shifts.append(difference.mean())
    assert -32 <= min(shifts) < -24
    assert 24 < max(shifts) <= 32


def test_the_hue_turns_and_luminance_stays():
    red = np.zeros((8, 8, 3), "float32") + np.array([140, 110, 110], "float32")
    hues = []
    for seed in range(60):
        found = random_crop(Picture.of(red), (8, 8), WHOLE._replace(hue=0.2), rng(seed))[0, 0]
        assert found @ [0.299, 0.587, 0.114] == pytest.approx(119, abs=0.5)
        hue = colorsys.rgb_to_hsv(*found)[0]
        hues.append(hue if hue < 0.5 else hue - 1)
    assert min(hues) < -0.12
    assert max(hues) > 0.12
    assert max(map(abs, hues)) < 0.3


def test_symbols_keep_their_colours_and_sides():
    assert not RANDOM_CROPS["symbols"].mirror
    pixels = np.zeros((40, 40, 3), "float32")
    pixels[:, :20] = 255
    for seed in range(20):
        found = random_crop(Picture.of(pixels), (40, 40), RANDOM_CROPS["symbols"], rng(seed))
        assert found[20, 0].min() == 255
        assert found[20, -1].max() == 0


def test_files_of_every_kind_are_read_as_load_image_does(tmp_path):
    Image.fromarray(photograph().astype("uint8")).save(tmp_path / "a.png")
    Image.fromarray((photograph()[..., 0] * 257).astype("uint16")).save(tmp_path / "grey16.png")
    for name in ("a.png", "grey16.png"):
        with opened(tmp_path / name) as picture:
            found = random_crop(picture, (32, 32), PHOTOGRAPHS, rng())
        assert found.shape == (32, 32, 3)
        assert found.std() > 5
