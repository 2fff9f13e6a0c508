import gc
import weakref

import keras
import numpy as np
import pytest
from conftest import ordered
from PIL import Image
from safetensors import safe_open
from tiny import tiny

from keras_inception_v4 import (
    ENDPOINTS,
    InceptionV4,
    class_activation_map,
    embed,
    evaluate,
    feature_extractor,
    load_image,
)
from keras_inception_v4.auxiliary import with_auxiliary_head
from keras_inception_v4.cli import main
from keras_inception_v4.features import PYRAMID
from keras_inception_v4.inference.embedding import embed_folder


def small(**arguments):
    return InceptionV4(**{"weights": None, "input_shape": ordered(75, 80, 3), **arguments})


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("b/2.png", "a/1.jpg", "c.png", "a/3.webp", "z.bmp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 90, 3), "uint8")).save(path)
    return folder


class TestFeatureExtractor:
    @pytest.mark.backends
    def test_declared_stride_and_channels_are_the_real_ones(self, data_format):
        size = 32 * 16 + 43  # so that floor(size / stride) tells the strides apart
        extractor = feature_extractor(
            tuple(ENDPOINTS), weights=None, input_shape=ordered(size, size, 3)
        )
        for name, (stride, channels) in ENDPOINTS.items():
            shape = extractor.output[name].shape[1:]
            side, found = (shape[1], shape[0]) if shape[0] == channels else (shape[0], shape[2])
            assert found == channels
            assert shape == ordered(side, side, channels)
            assert round(np.log2(size / side)) == np.log2(stride)

    def test_the_default_is_a_pyramid(self):
        extractor = feature_extractor(weights=None)
        assert list(extractor.output) == list(PYRAMID)
        assert [ENDPOINTS[name] for name in PYRAMID] == [
            (2, 64), (4, 160), (8, 384), (16, 1024), (32, 1536),
        ]  # fmt: skip

    @pytest.mark.usefixtures("shallow")
    def test_no_layer_beyond_the_last_one_needed(self):
        extractor = feature_extractor(("mixed_3a", "conv2d_1a_3x3"), weights=None)
        assert extractor.layers[-1].name == "mixed_3a"
        assert len([x for x in extractor.layers if isinstance(x, keras.layers.Conv2D)]) == 4

    @pytest.mark.usefixtures("kinds")
    def test_weights_as_a_path(self, kinds_file):
        """What endpoints answer is compared with timm in test_parity."""
        extractor = feature_extractor("mixed_7d", weights=kinds_file)
        beta = extractor.get_layer("mixed_7d_branch_2_conv2d_0e_3x1_bn").beta
        with safe_open(kinds_file, framework="numpy") as file:
            expected = file.get_tensor("features.10.branch2_3b.bn.bias")
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(beta), expected)

    @pytest.mark.usefixtures("shallow")
    def test_an_existing_model_shares_its_weights(self):
        model = small(classes=3, include_preprocessing=True)
        extractor = feature_extractor("mixed_4a", model=model)
        layer = "mixed_4a_branch_0_conv2d_1a_3x3_conv"
        assert extractor.get_layer(layer) is model.get_layer(layer)
        assert list(extractor.output) == ["mixed_4a"]

    @pytest.mark.backends
    @pytest.mark.usefixtures("shallow")
    def test_unknown_size_and_other_channels(self, data_format):
        extractor = feature_extractor(weights=None, input_shape=ordered(None, None, 5))
        channels = ENDPOINTS["mixed_7d"].channels
        assert extractor.output["mixed_7d"].shape == (None, *ordered(None, None, channels))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"endpoints": ("mixed_9z",)}, r"endpoints=\('mixed_9z',\).*mixed_7d"),
            ({"endpoints": ()}, r"endpoints=\(\).*one or more"),
            ({"classes": 3}, "classes.*no top"),
            ({"pooling": "avg"}, "pooling.*no top"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            feature_extractor(weights=None, **arguments)

    def test_wrong_models(self):
        other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="other")
        with pytest.raises(ValueError, match="'other' has no layer"):
            feature_extractor(model=other)
        with pytest.raises(ValueError, match=r"model and weights.*one or the other"):
            feature_extractor(model=other, weights=None)


@pytest.fixture(scope="module")
def network():
    """Any model, where the network is no matter."""
    return tiny()


def two_heads():
    model = InceptionV4(
        weights=None, classes=3, input_shape=ordered(107, 107, 3), include_preprocessing=True
    )
    return with_auxiliary_head(model, 3)


def with_a_softmax_layer():
    model = tiny(activation=None)
    return keras.Model(model.inputs, keras.layers.Softmax()(model.output))


WORKS = {
    "embed": lambda model, pixels: embed(model, pixels, verbose=False),
    "class_activation_map": class_activation_map,
    "a map of a class": lambda model, pixels: class_activation_map(model, pixels, 2),
    "evaluate": lambda model, pixels: np.array(
        evaluate(model, (pixels, np.array([0])), verbose=False)["calibration_error"]
    ),
}


@pytest.mark.usefixtures("shallow")
class TestEmbed:
    @pytest.mark.backends
    def test_arrays_are_what_the_model_pools(self, data_format):
        model = small(include_top=False, pooling="avg")
        pixels = np.random.default_rng(0).uniform(0, 255, (3, 75, 80, 3)).astype("float32")
        found = embed(model, pixels, 2, verbose=False)
        x = pixels / 127.5 - 1
        if data_format == "channels_first":
            x = np.moveaxis(x, 3, 1)
        np.testing.assert_allclose(found, model.predict_on_batch(x), rtol=1e-4, atol=1e-6)
        assert found.shape == (3, model.output_shape[1])
        assert found.dtype == np.float32

    @pytest.mark.parametrize(
        "arguments",
        [{"include_top": False}, {"include_top": False, "pooling": "max"}, {"classes": 3}],
    )
    def test_any_top(self, arguments):
        model = small(include_preprocessing=True, **arguments)
        bare = small(include_top=False, pooling="avg", include_preprocessing=True)
        bare.set_weights(model.get_weights()[: len(bare.weights)])
        pixels = np.random.default_rng(0).uniform(0, 255, (2, 75, 80, 3)).astype("float32")
        np.testing.assert_allclose(
            embed(model, pixels, verbose=False), embed(bare, pixels, verbose=False), atol=1e-6
        )

    def test_an_image_does_not_depend_on_its_neighbours_count(self, photos, monkeypatch):
        counts = set()
        predict = keras.Model.predict_on_batch

        def spy(model, batch):
            counts.add(len(batch))
            return predict(model, batch)

        monkeypatch.setattr(keras.Model, "predict_on_batch", spy)
        model = small(include_top=False)
        paths = sorted(path for path in photos.rglob("*") if path.is_file())
        together = embed(model, paths, 2, verbose=False)
        for count in (1, 3):
            fewer = embed(model, paths[:count], 2, verbose=False)
            np.testing.assert_array_equal(fewer, together[:count])
        alone = np.concatenate([embed(model, [path], 2, verbose=False) for path in paths])
        np.testing.assert_array_equal(alone[::2], together[::2])  # at the same place
        # With AVX2, TensorFlow rounds otherwise at another place of a batch.
        np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6 * together.max())
        pixels = np.stack([load_image(path, (75, 80)) for path in paths])
        np.testing.assert_array_equal(embed(model, pixels, 2, verbose=False), together)
        assert counts == {2}

    def test_nothing(self):
        model = small(include_top=False)
        assert embed(model, [], verbose=False).shape == (0, model.output_shape[-1])

    @pytest.mark.parametrize("form", ["array", "objects", "generator", "tuple", "text", "bytes"])
    def test_paths_in_any_form(self, network, photos, form):
        paths = sorted(path for path in photos.rglob("*") if path.is_file())[:2]
        given = {
            "array": np.array([str(path) for path in paths]),
            "objects": np.array(paths),
            "generator": iter(paths),
            "tuple": tuple(paths),
            "text": [str(path) for path in paths],
            "bytes": [path.read_bytes() for path in paths],
        }[form]
        expected = embed(network, paths, 2, verbose=False)
        np.testing.assert_array_equal(embed(network, given, 2, verbose=False), expected)

    @pytest.mark.parametrize("form", [str, lambda path: path, lambda path: path.read_bytes()])
    def test_one_image(self, network, photos, form):
        expected = embed(network, [photos / "c.png"], 2, verbose=False)
        found = embed(network, form(photos / "c.png"), 2, verbose=False)
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("form", [list, iter, keras.ops.convert_to_tensor])
    def test_pixels_in_any_form(self, network, form):
        pixels = np.random.default_rng(0).uniform(0, 255, (2, 75, 75, 3)).astype("float32")
        expected = embed(network, pixels, 2, verbose=False)
        np.testing.assert_array_equal(embed(network, form(pixels), 2, verbose=False), expected)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (np.zeros((75, 75, 3)), r"images of shape \(75, 75, 3\).*pass image\[None\]"),
            (np.zeros((2, 75, 75)), r"images of shape \(2, 75, 75\)"),
            ({"images": np.zeros((1, 75, 75, 3))}, "a dict of images. Pass its values"),
            (np.zeros(3), r"images of shape \(3,\)"),
        ],
    )
    def test_what_are_no_images(self, network, images, message):
        with pytest.raises(ValueError, match=message):
            embed(network, images, verbose=False)

    @pytest.mark.parametrize(("least", "most"), [(0, 1), (-1, 1), (0, 0.4), (-0.2, 0.3)])
    def test_scaled_pixels_are_warned_of(self, network, least, most):
        pixels = np.random.default_rng(0).uniform(least, most, (1, 75, 75, 3))
        with pytest.warns(UserWarning, match="raw pixels, 0 to 255, are expected") as told:
            embed(network, pixels, verbose=False)
        assert told[0].filename == __file__

    @pytest.mark.backends
    @pytest.mark.parametrize(
        ("work", "build"),
        [
            ("embed", tiny),
            ("embed", two_heads),
            ("class_activation_map", with_a_softmax_layer),
            ("class_activation_map", two_heads),
            ("a map of a class", tiny),
            ("evaluate", two_heads),
        ],
    )
    def test_a_part_is_made_once_and_goes_with_its_model(self, monkeypatch, work, build):
        model = build()
        side = 107 if build is two_heads else 75
        pixels = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3))
        parts, predict = [], keras.Model.predict_on_batch

        def spy(part, batch):
            parts.append(weakref.ref(part))
            return predict(part, batch)

        monkeypatch.setattr(keras.Model, "predict_on_batch", spy)
        first = WORKS[work](model, pixels)
        norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
        beta = [norm for norm in norms if norm.name.startswith("mixed_7d")][-1].beta
        beta.assign(beta + np.arange(beta.shape[0]))
        assert np.abs(WORKS[work](model, pixels) - first).max() > 0  # new weights are used
        assert parts[0]() is parts[1]() is not None
        del model, beta
        for _ in range(3):  # the model, what was kept for it, and for that
            gc.collect()
        assert [part() for part in parts] == [None] * 2

    @pytest.mark.backends
    def test_the_part_is_in_the_model_s_own_data_format(self, data_format):
        model = small(include_top=False)
        pixels = np.random.default_rng(0).uniform(0, 255, (1, 75, 80, 3)).astype("float32")
        expected = embed(small_copy := keras.models.clone_model(model), pixels, verbose=False)
        model.set_weights(small_copy.get_weights())
        other = {"channels_last": "channels_first", "channels_first": "channels_last"}
        keras.config.set_image_data_format(other[data_format])
        np.testing.assert_array_equal(embed(model, pixels, verbose=False), expected)

    def test_a_bad_path_and_batch(self, tmp_path):
        model = small(include_top=False)
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            embed(model, [tmp_path / "gone.png"], verbose=False)
        with pytest.raises(ValueError, match="batch_size=0"):
            embed(model, [], 0)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny().save(path)
    return path


class TestEmbedFolder:
    def test_features_with_their_paths(self, model_file, photos, tmp_path, capsys):
        output, picture = tmp_path / "features.npz", tmp_path / "picture.png"
        status = main(
            ["embed", str(photos), "--model", str(model_file), "--output", str(output),
             "--picture", str(picture)]
        )  # fmt: skip
        with Image.open(picture) as drawn:
            assert drawn.format == "PNG"
        assert status == 0
        assert "5 images embedded; 0 files left out" in capsys.readouterr().out
        with np.load(output) as saved:
            assert saved["paths"].tolist() == ["a/1.jpg", "a/3.webp", "b/2.png", "c.png", "z.bmp"]
            model = keras.saving.load_model(model_file)
            expected = embed(model, [photos / path for path in saved["paths"]], verbose=False)
            np.testing.assert_array_equal(saved["features"], expected)

    def test_corrupt_files_are_refused_before_work_or_left_out(
        self, model_file, photos, tmp_path, capsys
    ):
        (photos / "notes.txt").write_text("no image")
        (photos / "c.png").write_bytes((photos / "c.png").read_bytes()[:200])
        (photos / ".DS_Store").write_text("hidden")
        output = tmp_path / "features.npz"
        arguments = ["embed", str(photos), "--model", str(model_file), "--output", str(output)]
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert "2 of 6 files cannot be used" in err
        assert "notes.txt" in err
        assert "c.png" in err
        assert "--skip-corrupt" in err
        assert not output.exists()
        assert main([*arguments, "--skip-corrupt"]) == 0
        assert np.load(output)["paths"].tolist() == ["a/1.jpg", "a/3.webp", "b/2.png", "z.bmp"]
        assert "left out: " in capsys.readouterr().err

    def test_wrong_places(self, model_file, photos, tmp_path):
        with pytest.raises(FileNotFoundError, match="no folder"):
            embed_folder(model_file, tmp_path / "gone", tmp_path / "x.npz")
        with pytest.raises(ValueError, match=r"must end in \.npz"):
            embed_folder(model_file, photos, tmp_path / "x.csv")
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="holds no images"):
            embed_folder(model_file, tmp_path / "empty", tmp_path / "x.npz")
        (tmp_path / "empty" / "x.txt").touch()
        with pytest.raises(ValueError, match="None of the 1 files"):
            embed_folder(model_file, tmp_path / "empty", tmp_path / "x.npz", skip_corrupt=True)
