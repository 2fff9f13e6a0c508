"""The auxiliary head: the authors' numbers, errors, and that other parts do not use it."""

import keras
import numpy as np
import pytest
from checkpoints import DATA, SLIM_SHAPES, slim_variables, thin_shapes, write_slim
from conftest import ordered
from rules import images
from tiny import tiny

from keras_inception_v4 import InceptionV4, class_activation_map, convert_weights, load_weights
from keras_inception_v4.auxiliary import with_auxiliary_head
from keras_inception_v4.evaluation import evaluate
from keras_inception_v4.inspection import classifier_of
from keras_inception_v4.weights import names

RECORDED = np.load(DATA / "slim.npz")


KINDS = slim_variables(thin_shapes(SLIM_SHAPES))


def build(size=107, classes=5, **arguments):
    arguments = {"weights": None, "input_shape": ordered(size, size, 3), **arguments}
    return with_auxiliary_head(InceptionV4(classes=classes, **arguments), classes)


def test_the_names_are_slim_s():
    theirs = {name for name in SLIM_SHAPES if "/AuxLogits/" in name}
    assert set(names.slim_auxiliary_names().values()) == theirs
    assert len(theirs) == 10


@pytest.mark.backends
def test_slim_s_auxiliary_logits(slim_prefix, data_format):
    model = build(299, 1000, classifier_activation=None)
    load_weights(model, slim_prefix)
    x = images(0, (2, 299, 299, 3))
    if data_format == "channels_first":
        x = np.moveaxis(x, 3, 1)
    found = model.predict_on_batch(x)
    for output, recorded in (("predictions", "Logits"), ("auxiliary", "AuxLogits")):
        expected = RECORDED[recorded][:, 1:]
        assert np.abs(found[output] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("background", [1, 0])
def test_the_background_stays_for_1001_classes(tmp_path, background):
    write_slim(tmp_path / "inception_v4.ckpt", KINDS)
    model = build(299, 1000 + background)
    load_weights(model, tmp_path / "inception_v4.ckpt")
    tables = names.slim_names() | names.slim_auxiliary_names()
    for layer in model.layers:
        for variable in layer.weights:
            expected = KINDS[tables[f"{layer.name}/{variable.name}"]]
            if layer.name in ("predictions", "auxiliary"):
                expected = expected[..., 1 - background :]
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected)


@pytest.mark.usefixtures("kinds")
def test_other_formats_have_no_name_for_it(kinds_file):
    model = build(classes=1000)
    before = [np.array(w) for w in model.get_layer("auxiliary").get_weights()]
    load_weights(model, kinds_file)
    for old, new in zip(before, model.get_layer("auxiliary").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.usefixtures("kinds")
def test_a_slim_checkpoint_without_it_is_refused(tmp_path):
    variables = {n: v for n, v in KINDS.items() if "/AuxLogits/Conv2d_2a/" not in n}
    write_slim(tmp_path / "inception_v4.ckpt", variables)
    with pytest.raises(ValueError, match=r"4 missing: auxlogits_conv2d_2a_conv/kernel"):
        load_weights(build(classes=1001), tmp_path / "inception_v4.ckpt")


def test_its_layers_and_counts():
    model = build(107, 5)
    assert {name: output.shape for name, output in model.output.items()} == {
        "predictions": (None, 5),
        "auxiliary": (None, 5),
    }
    added = {layer.name for layer in model.layers} - {
        layer.name for layer in classifier_of(model).layers
    }
    assert added == {
        "auxlogits_avgpool_1a_5x5",
        *(f"auxlogits_conv2d_1b_1x1{suffix}" for suffix in ("", "_conv", "_bn")),
        *(f"auxlogits_conv2d_2a{suffix}" for suffix in ("", "_conv", "_bn")),
        "auxlogits_flatten",
        "auxiliary",
    }
    assert model.get_layer("auxlogits_conv2d_2a").output.shape[1:] == ordered(1, 1, 768)
    assert model.get_layer("auxiliary").activation is keras.activations.softmax


@pytest.mark.backends
@pytest.mark.usefixtures("kinds")
def test_the_full_grid_of_another_shape():
    model = with_auxiliary_head(
        InceptionV4(weights=None, input_shape=ordered(299, 107, 3), classes=2), 2
    )
    kernel = model.get_layer("auxlogits_conv2d_2a_conv").kernel
    assert tuple(kernel.shape) == (5, 1, 8, 48)


@pytest.mark.usefixtures("kinds")
def test_it_takes_after_the_model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = InceptionV4(
        weights=None, input_shape=ordered(107, 107, 3), classes=2, batch_norm_momentum=0.7,
        classifier_activation="sigmoid",
    )  # fmt: skip
    keras.config.set_dtype_policy("float32")
    model = with_auxiliary_head(network, 2)
    assert model.get_layer("auxlogits_conv2d_2a_conv").compute_dtype == "bfloat16"
    assert model.get_layer("auxlogits_conv2d_2a_bn").momentum == 0.7
    assert model.get_layer("auxiliary").compute_dtype == "float32"
    assert model.get_layer("auxiliary").activation is keras.activations.sigmoid


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize(
    ("model", "classes", "message"),
    [
        (lambda: InceptionV4(weights=None, classes=2, input_shape=ordered(None, None, 3)), 2,
         "known height and width of at least 107"),
        (lambda: InceptionV4(weights=None, classes=2, input_shape=ordered(106, 299, 3)), 2,
         "at least 107"),
        (lambda: InceptionV4(weights=None, include_top=False), 2, "no classifier"),
        (lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), 2, "no endpoint"),
        (lambda: InceptionV4(weights=None, classes=2, input_shape=ordered(107, 107, 3)), 3,
         "classes=3 for a model of 2 classes"),
        (lambda: build(classes=2), 2, "has an auxiliary head already"),
    ],
)  # fmt: skip
def test_refusals(model, classes, message):
    with pytest.raises(ValueError, match=message):
        with_auxiliary_head(model(), classes)


@pytest.mark.backends
@pytest.mark.usefixtures("kinds")
def test_measures_and_maps_go_by_the_model_s_own_classifier():
    model = build(107, 3, include_preprocessing=True)
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 107, 107, 3)).astype("float32")
    labels = np.array([0, 1, 2, 0])
    alone = classifier_of(model)
    assert alone.output_shape == (None, 3)
    assert classifier_of(alone) is alone
    assert evaluate(model, (pixels, labels), verbose=False) == evaluate(
        alone, (pixels, labels), verbose=False
    )
    np.testing.assert_array_equal(
        class_activation_map(model, pixels), class_activation_map(alone, pixels)
    )


@pytest.mark.usefixtures("kinds")
def test_files_are_without_it(tmp_path):
    model = build(107, 3, include_preprocessing=True)
    model.save(tmp_path / "both.keras")
    plain = InceptionV4(
        weights=tmp_path / "both.keras", input_shape=ordered(107, 107, 3), classes=3,
        include_preprocessing=True,
    )  # fmt: skip
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *plain.input_shape[1:]))
    expected = model.predict_on_batch(pixels)["predictions"]
    np.testing.assert_allclose(plain.predict_on_batch(pixels), expected, atol=1e-6)
    convert_weights(tmp_path / "both.keras", tmp_path / "plain.keras")
    found = keras.saving.load_model(tmp_path / "plain.keras")
    assert not [layer for layer in found.layers if layer.name.startswith("aux")]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports go through TensorFlow")
def test_a_saved_model_is_without_it(tmp_path):
    from keras_inception_v4.export import export_saved_model

    plain = tiny(size=107)
    auxiliary = keras.layers.Dense(3, "softmax", name="auxiliary")(plain.layers[-3].output)
    both = keras.Model(plain.inputs, {"predictions": plain.output, "auxiliary": auxiliary})
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *plain.input_shape[1:]))
    export_saved_model(both, tmp_path / "saved_model")
    answer = export_answer(tmp_path / "saved_model", pixels)
    np.testing.assert_allclose(answer, plain.predict_on_batch(pixels), atol=1e-5)


def export_answer(path, pixels):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    found = loaded.signatures["serving_default"](inputs=tf.constant(pixels, "float32"))
    assert set(found) == {"probabilities"}
    assert not [v.name for v in loaded.variables if "aux" in v.name]
    return found["probabilities"].numpy()
