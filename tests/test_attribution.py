"""Grad-CAM, occlusion, and curves of deletion and insertion."""

import keras
import numpy as np
import pytest
from conftest import ordered
from keras import layers
from PIL import Image
from test_tasks import OTHERS, model_of
from tiny import tiny

from keras_inception_v4 import (
    InceptionV4,
    class_activation_map,
    faithfulness,
    grad_cam,
    occlusion_map,
)
from keras_inception_v4.architecture import GRIDS
from keras_inception_v4.cli import main
from keras_inception_v4.explain import endpoint_as_drawn


def pixels(count=2, height=139, width=107):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, height, width, 3)).astype("float32")


def normalized(maps):
    """Negative parts cut off, the greatest value 1."""
    maps = np.maximum(maps, 0)
    return maps / maps.max(axis=(1, 2), keepdims=True)


def with_random_head(model):
    dense = model.get_layer("predictions")
    dense.kernel.assign(np.random.default_rng(1).normal(size=dense.kernel.shape))
    return model


@pytest.mark.backends
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_at_the_last_endpoint_it_is_the_exact_map(data_format, activation):
    model = with_random_head(tiny(size=None, classes=5, activation=activation))
    for class_index in (None, 3, [4, 0]):
        exact = class_activation_map(model, pixels(), class_index)
        found = grad_cam(model, pixels(), class_index, batch_size=1)
        assert found.shape == exact.shape == (2, 15, 11)
        assert found.dtype == np.float32
        np.testing.assert_allclose(normalized(found), normalized(exact), atol=1e-4)
        cells = exact[0].size
        np.testing.assert_allclose(found * cells, np.maximum(exact, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
def test_the_network_s_own_endpoints(data_format):
    keras.utils.set_random_seed(0)
    model = InceptionV4(weights=None, classes=5, input_shape=ordered(139, 139, 3))
    kernel = with_random_head(model).get_layer("predictions").kernel
    kernel.assign(keras.ops.abs(kernel))  # so that no map is below 0 everywhere
    x = pixels(2, 139, 139)
    np.testing.assert_allclose(
        normalized(grad_cam(model, x, 2)), normalized(class_activation_map(model, x, 2)), atol=1e-4
    )
    finer = np.stack([grad_cam(model, x, index, endpoint="mixed_6h") for index in range(5)])
    assert finer.shape == (5, 2, 7, 7)
    assert finer.min() >= 0
    assert finer.max() > 0


@pytest.mark.parametrize("task", OTHERS)
def test_of_other_tasks(task):
    model = with_random_head(model_of(task))
    x = pixels(2, 30, 30)
    exact = class_activation_map(model, x, 1)
    np.testing.assert_allclose(grad_cam(model, x, 1) * exact[0].size, np.maximum(exact, 0),
                               rtol=1e-3, atol=1e-3)  # fmt: skip


@pytest.mark.backends
@pytest.mark.parametrize("nested", [True, False])
def test_a_head_of_one_s_own_by_differences(data_format, nested):
    """The weight of a channel is how the logit moves when the channel rises everywhere."""
    keras.utils.set_random_seed(0)
    whole = tiny(channels=6)
    base = keras.Model(whole.input, whole.get_layer("mixed_7d").output)
    pool = layers.GlobalAveragePooling2D(data_format=keras.config.image_data_format())
    hidden, last = layers.Dense(8, "tanh"), layers.Dense(3, "softmax")
    inputs = keras.Input(whole.input_shape[1:]) if nested else base.input
    grid = base(inputs) if nested else base.output
    model = keras.Model(inputs, last(hidden(pool(grid))))
    last.kernel.assign(np.random.default_rng(1).normal(size=last.kernel.shape))
    hidden.kernel.assign(np.random.default_rng(2).normal(size=hidden.kernel.shape))
    x = pixels(1, 75, 75)
    fed = x if data_format == "channels_last" else np.moveaxis(x, 3, 1)
    cells = np.asarray(keras.ops.convert_to_numpy(base(fed)), "float64")[0]
    if data_format == "channels_first":
        cells = np.moveaxis(cells, 0, 2)
    first, second, bias, other = (
        np.asarray(keras.ops.convert_to_numpy(each), "float64")
        for each in (hidden.kernel, last.kernel, hidden.bias, last.bias)
    )

    def logit(mean):
        return (np.tanh(mean @ first + bias) @ second + other)[1]

    mean, step = cells.mean(axis=(0, 1)), 1e-5
    slopes = [(logit(mean + step * d) - logit(mean - step * d)) / (2 * step) for d in np.eye(6)]
    expected = np.maximum(cells @ slopes, 0) / cells[..., 0].size
    np.testing.assert_allclose(grad_cam(model, x, 1)[0], expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="global average pool"):
        class_activation_map(model, x, 1)


@pytest.mark.usefixtures("shallow")
def test_other_endpoints_are_refused():
    model = InceptionV4(weights=None, classes=3, input_shape=(107, 107, 3))
    x = pixels(1, 107, 107)
    with pytest.raises(ValueError, match=r"no endpoint 'block8'.*mixed_6h"):
        grad_cam(model, x, endpoint="block8")
    with pytest.raises(ValueError, match="no endpoint 'avg_pool'"):
        grad_cam(model, x, endpoint="avg_pool")
    names = (layer.name for layer in model.layers)
    branch = next(name for name in names if name.startswith("mixed_7a") and name.endswith("_conv"))
    with pytest.raises(ValueError, match="other paths bypass"):
        grad_cam(model, x, endpoint=branch)
    with pytest.raises(ValueError, match="class_index=3"):
        grad_cam(model, x, 3)
    with pytest.raises(ValueError, match=r"image\[None\]"):
        grad_cam(model, x[0])


def corner_model():
    """Answers by the mean of the upper left quarter alone, at any place there."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(inputs)
    x = layers.Cropping2D(((0, 16), (0, 16)))(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(2, "softmax", name="predictions")(x))
    model.get_layer("predictions").kernel.assign([[2.0, -2], [2, -2], [2, -2]])
    return model


def corner_image():
    image = np.full((32, 32, 3), 40, "float32")
    image[:16, :16] = 200
    return image


def test_occlusion_finds_what_decides():
    (found,) = occlusion_map(corner_model(), corner_image()[None], 0, cells=8, batch_size=7)
    assert found.shape == (8, 8)
    assert found[:4, :4].min() > 0
    np.testing.assert_allclose(found[5:], 0, atol=1e-6)
    np.testing.assert_allclose(found[:, 5:], 0, atol=1e-6)
    again = occlusion_map(corner_model(), corner_image()[None], cells=8)[0]
    np.testing.assert_allclose(found, again, atol=1e-6)


def test_occlusion_by_hand():
    """Of two by two cells: all, half or a quarter of a cell's patches cover what decides."""
    covered = corner_image()
    covered[:16, :16] = covered.mean(axis=(0, 1))
    before, after = (corner_model().predict_on_batch(x[None])[0, 0]
                     for x in (corner_image(), covered))  # fmt: skip
    found = occlusion_map(corner_model(), corner_image()[None], 0, cells=2)[0]
    assert before - after > 0.01
    np.testing.assert_allclose(found, (before - after) * np.array([[1, 0.5], [0.5, 0.25]]),
                               rtol=1e-4)  # fmt: skip
    with pytest.raises(ValueError, match=r"cells=33 for images of 32 x 32"):
        occlusion_map(corner_model(), corner_image()[None], cells=33)
    with pytest.raises(ValueError, match="cells=0"):
        occlusion_map(corner_model(), corner_image()[None], cells=0)


def test_curves_tell_a_true_map_from_its_opposite():
    model, image = corner_model(), corner_image()
    right = np.zeros((8, 8))
    right[:4, :4] = 1
    good, bad = (faithfulness(model, image, each, 0, steps=8) for each in (right, -right))
    whole = model.predict_on_batch(image[None])[0, 0]
    empty = model.predict_on_batch(np.full_like(image, image.mean())[None])[0, 0]
    for found in (good, bad):
        np.testing.assert_allclose(found.shares, np.linspace(0, 1, 9))
        np.testing.assert_allclose(found.deletion[[0, -1]], [whole, empty], rtol=1e-5)
        np.testing.assert_allclose(found.insertion[[0, -1]], [empty, whole], rtol=1e-5)
    # After a quarter of the pixels, the right ones, nothing more changes.
    np.testing.assert_allclose(good.deletion[3:], empty, rtol=0.02)
    np.testing.assert_allclose(good.insertion[3:], whole, rtol=0.02)
    assert good.deletion_area < bad.deletion_area
    assert good.insertion_area > bad.insertion_area
    by_hand = np.mean((good.deletion[1:] + good.deletion[:-1]) / 2)
    assert good.deletion_area == pytest.approx(by_hand)
    with pytest.raises(ValueError, match=r"a map of shape \(8,\)"):
        faithfulness(model, image, right[0])
    with pytest.raises(ValueError, match=r"8 x 8 cells with endpoint='mixed_3a', which has 6 x 6"):
        faithfulness(model, image, right, endpoint="mixed_3a")


@pytest.mark.usefixtures("shallow")
def test_a_grid_behind_a_resizing_is_stretched():
    network = InceptionV4(weights=None, include_preprocessing=True)
    x = keras.Input((320, 320, 3))
    resized = keras.Model(x, network(keras.layers.Resizing(299, 299)(x)))
    y = keras.Input((299, 299, 3))
    nested = keras.Model(y, network(y))
    for model, side, found in (
        (network, 299, "mixed_7d"), (nested, 299, "mixed_7d"), (resized, 320, None),
    ):  # fmt: skip
        assert GRIDS["mixed_7d"].cells(side) == 8
        assert endpoint_as_drawn(model, "mixed_7d", (8, 8), (side, side)) == found
    for endpoint, cells in ((None, 8), ("a_layer_of_my_own", 8), ("mixed_7d", 7)):
        assert endpoint_as_drawn(network, endpoint, (cells, cells), (299, 299)) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attribution")
    with_random_head(tiny(classes=3)).save(folder / "model.keras")
    (folder / "class_names.json").write_text('["ant", "bee", "cat"]')
    Image.fromarray(pixels(1)[0].astype("uint8")).save(folder / "photo.png")
    return folder


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "(cam at mixed_7d)"),
        (["--method", "gradcam", "--check"], "(gradcam at mixed_7d)"),
        (["--method", "occlusion"], "(occlusion)"),
    ],
)
def test_the_command_takes_a_method(run, tmp_path, capsys, options, told):
    path = tmp_path / "map.png"
    status = main(["explain", "--model", str(run / "model.keras"), str(run / "photo.png"),
                   "--output", str(path), "--class", "bee", *options])  # fmt: skip
    out, err = capsys.readouterr()
    assert status == 0, err
    assert f"shows where bee was seen {told}." in out
    assert ("insertion" in out and "shuffled" in out) == ("--check" in options)
    with Image.open(path) as picture:
        assert picture.width > 800


def test_methods_that_do_not_fit(run, tmp_path, capsys):
    command = ["explain", "--model", str(run / "model.keras"), str(run / "photo.png"),
               "--output", str(tmp_path / "map.png")]  # fmt: skip
    assert main([*command, "--method", "cam", "--endpoint", "mixed_6h"]) == 1
    assert "Only 'gradcam' takes another endpoint" in capsys.readouterr().err
    assert main([*command, "--endpoint", "mixed_6x"]) == 1
    assert "no endpoint 'mixed_6x'" in capsys.readouterr().err
    assert main([*command, "--method", "occlusion", "--endpoint", "mixed_7d"]) == 1
    assert "which looks at no layer" in capsys.readouterr().err
    assert not (tmp_path / "map.png").exists()


@pytest.mark.usefixtures("shallow")
def test_a_map_of_one_cell_names_a_finer_endpoint(tmp_path, capsys):
    model = InceptionV4(weights=None, classes=3, input_shape=(75, 75, 3))
    model.save(tmp_path / "model.keras")
    Image.fromarray(pixels(1)[0].astype("uint8")).save(tmp_path / "photo.png")
    command = ["explain", "--model", str(tmp_path / "model.keras"), str(tmp_path / "photo.png"),
               "--output", str(tmp_path / "map.png")]  # fmt: skip
    assert main(command) == 0
    assert (
        "one cell for the whole image. --endpoint mixed_6h has a finer" in capsys.readouterr().out
    )
    assert main([*command, "--endpoint", "mixed_6h"]) == 0
    out = capsys.readouterr().out
    assert "(gradcam at mixed_6h)" in out
    assert "one cell" not in out
