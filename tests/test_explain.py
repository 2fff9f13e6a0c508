import keras
import numpy as np
import pytest
from conftest import ordered
from keras import layers
from PIL import Image
from tiny import tiny

from keras_inception_v4 import InceptionV4, class_activation_map, feature_extractor, overlay
from keras_inception_v4.architecture import GRIDS
from keras_inception_v4.cli import main
from keras_inception_v4.explain import enlarged


def pixels(count=2, height=171, width=139):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, height, width, 3)).astype("float32")


def check_maps(model, raw, shape):
    """The mean of a map and the bias are the logit of its class."""
    dense = model.get_layer("predictions")
    dense.bias.assign(np.arange(5, dtype="float32"))
    dense.kernel.assign(np.random.default_rng(1).normal(size=dense.kernel.shape))
    x = pixels()
    fed = x if raw else x / 127.5 - 1
    if keras.config.image_data_format() == "channels_first":
        fed = np.moveaxis(fed, 3, 1)
    logits = model.predict_on_batch(fed)
    for class_index in (None, 3, [4, 0]):
        maps = class_activation_map(model, x, class_index, batch_size=1)
        assert maps.shape == (2, *shape)
        chosen = logits.argmax(axis=1) if class_index is None else np.broadcast_to(class_index, 2)
        found = maps.mean(axis=(1, 2)) + np.arange(5)[chosen]
        expected = logits[np.arange(2), chosen]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
def test_the_mean_of_the_map_and_the_bias_are_the_logit(data_format):
    keras.utils.set_random_seed(0)
    model = InceptionV4(
        weights=None, classes=5, classifier_activation=None, input_shape=ordered(None, None, 3)
    )
    check_maps(model, raw=False, shape=(4, 3))


@pytest.mark.backends
@pytest.mark.parametrize("raw", [True, False])
def test_raw_pixels_or_not(data_format, raw):
    check_maps(tiny(size=None, classes=5, raw=raw, activation=None), raw, shape=(19, 15))


def test_a_loaded_model_and_unequal_cells(tmp_path):
    model = tiny(size=139)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = pixels(1, 139, 139)
    found = class_activation_map(again, x, 1)
    np.testing.assert_allclose(found, class_activation_map(model, x, 1), rtol=1e-4, atol=1e-7)
    assert np.ptp(found) > 0


@pytest.mark.parametrize("class_index", [5, -1, 1.5, [1], [0, 9], "cat"])
def test_a_wrong_class_says_what_is_allowed(class_index):
    with pytest.raises(ValueError, match=r"class_index=.*from 0 to 4.*each of the 2"):
        class_activation_map(tiny(classes=5), pixels(2, 75, 75), class_index)


@pytest.mark.usefixtures("shallow")
def test_other_heads_are_refused():
    bare = InceptionV4(weights=None, include_top=False, pooling="max")
    with pytest.raises(ValueError, match="global average pool"):
        class_activation_map(bare, pixels())
    model = InceptionV4(weights=None, include_top=False, pooling="avg")
    x = layers.Dense(8, activation="relu")(model.output)
    deeper = keras.Model(model.input, layers.Dense(3, name="predictions")(x))
    with pytest.raises(ValueError, match="global average pool"):
        class_activation_map(deeper, pixels())
    top = InceptionV4(weights=None)
    longer = keras.Model(top.input, layers.Softmax()(top.output))
    with pytest.raises(ValueError, match="global average pool"):
        class_activation_map(longer, pixels())
    with pytest.raises(ValueError, match=r"shape \(171, 139, 3\).*image\[None\]"):
        class_activation_map(top, pixels()[0])


def test_an_overlay_by_hand():
    image = np.full((40, 60, 3), 100, "uint8")
    colours = overlay(image, np.array([[0, 1], [0, 1]]), opacity=1)
    assert colours.shape == (40, 60, 3)
    assert colours.dtype == np.uint8
    assert colours[0, 0].tolist() == [0x0B, 0x1E, 0x5B]
    assert colours[39, 59].tolist() == [0xFF, 0xE9, 0x4A]
    np.testing.assert_array_equal(overlay(image, np.eye(3), opacity=0), image)
    flat = overlay(image, np.ones((3, 3)), opacity=1)
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1
    with pytest.raises(ValueError, match=r"\(40, 60\) and a map"):
        overlay(image[..., 0], np.eye(3))


def test_a_map_without_an_endpoint_is_stretched():
    """As Pillow enlarges."""
    found = np.random.default_rng(0).normal(size=(4, 7)).astype("float32")
    expected = Image.fromarray(found).resize((60, 41), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(enlarged(found, (41, 60)), expected, atol=1e-5)


def test_a_cell_is_drawn_where_it_looks():
    found = np.arange(8 * 7, dtype="float32").reshape(8, 7)
    large = enlarged(found, (299, 267), "mixed_7d")
    np.testing.assert_allclose(large[37::32, 37::32][:8, :7], found, rtol=1e-6)
    np.testing.assert_allclose(large[53, 37::32][:7], (found[0] + found[1]) / 2, rtol=1e-6)
    assert (large[:37, :37] == found[0, 0]).all()
    assert (large[262:, 230:] == found[-1, -1]).all()
    colours = overlay(np.zeros((299, 267, 3)), found, opacity=1, endpoint="mixed_7d")
    assert colours[261, 229].tolist() == [0xFF, 0xE9, 0x4A]
    with pytest.raises(ValueError, match=r"8 x 7 cells with endpoint='mixed_7d', which has 8 x 8"):
        enlarged(found, (299, 299), "mixed_7d")
    with pytest.raises(ValueError, match="endpoint='mixed_8a'"):
        enlarged(found, (299, 299), "mixed_8a")


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("endpoint", ["conv2d_2a_3x3", "mixed_4a", "mixed_5a", "mixed_6a"])
def test_a_pixel_where_a_cell_looks_reaches_as_far_on_every_side_of_it(endpoint):
    keras.utils.set_random_seed(0)
    model = feature_extractor([endpoint], weights=None, input_shape=(299, 235, 3))
    grid = GRIDS[endpoint]
    rows, columns = grid.cells(299), grid.cells(235)
    assert model.output[endpoint].shape[1:3] == (rows, columns)
    cell = (rows // 2, columns // 2 + 1)
    image = np.zeros((1, 299, 235, 3), "float32")
    image[0, grid.first + cell[0] * grid.stride, grid.first + cell[1] * grid.stride] = 1
    found, empty = (model.predict_on_batch(x)[endpoint][0] for x in (image, 0 * image))
    for place, touched in zip(cell, np.nonzero((found != empty).any(axis=-1)), strict=True):
        assert touched.min() > 0
        assert touched.min() + touched.max() == 2 * place


def test_the_command_draws_a_picture(tmp_path, capsys):
    model = tmp_path / "model.keras"
    tiny(size=139, classes=4).save(model)
    (tmp_path / "class_names.json").write_text('["ant", "bee", "cat", "dog"]')
    Image.fromarray(pixels(1)[0].astype("uint8")).save(tmp_path / "photo.jpg")
    arguments = ["explain", "--model", model, tmp_path / "photo.jpg", "--output"]
    status = main([str(a) for a in [*arguments, tmp_path / "map.png", "--class", "bee"]])
    out, err = capsys.readouterr()
    assert status == 0, err
    assert "shows where bee was seen" in out
    assert all(name in out for name in ("ant", "bee", "cat", "dog"))
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 800
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 500
    assert main([str(a) for a in [*arguments, tmp_path / "map.gif"]]) == 1
    assert "must end in .png" in capsys.readouterr().err
    assert main([str(a) for a in [*arguments, tmp_path / "x.png", "--class", "emu"]]) == 1
    assert "'emu'. The model's classes are ant, bee, cat, dog" in capsys.readouterr().err
