"""The network's numbers against timm's and the authors' own, from the reference recordings."""

import functools

import keras
import numpy as np
import pytest
from checkpoints import DATA, keras2_groups, slim_variables, write_keras2
from conftest import ordered
from rules import images

from keras_inception_v4 import ENDPOINTS, InceptionV4, feature_extractor, load_weights

TIMM = np.load(DATA / "timm.npz")
SLIM = np.load(DATA / "slim.npz")


@pytest.fixture(scope="module")
def network():
    """Logits of so many classes, of images of any size; built once, each test loads its weights."""

    @functools.cache
    def build(classes, data_format):
        return InceptionV4(
            weights=None, classes=classes, classifier_activation=None,
            input_shape=ordered(None, None, 3),
        )  # fmt: skip

    return lambda classes=1000: build(classes, keras.config.image_data_format())


def answer(model, x):
    """What the model answers; on TensorFlow without tracing a graph that would run once."""
    if keras.config.image_data_format() == "channels_first":
        x = np.moveaxis(x, 3, 1)
    if keras.backend.backend() == "tensorflow":
        return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, training=False))
    return keras.tree.map_structure(np.asarray, model.predict_on_batch(x))


def answers(model, x):
    """Endpoints as [mean, std, 32 samples], and the model's layers after them, by name."""
    outputs = feature_extractor(tuple(ENDPOINTS), model=model).output
    outputs |= {name: model.get_layer(name).output for name in ("avg_pool", "predictions")}
    found = answer(keras.Model(model.input, outputs), x)
    for name in ENDPOINTS:
        grid = found[name]
        if keras.config.image_data_format() == "channels_first":
            grid = np.moveaxis(grid, 1, 3)
        flat = grid.astype("float64").ravel()
        samples = flat[np.linspace(0, flat.size - 1, 32).astype(int)]
        found[name] = np.array([flat.mean(), flat.std(), *samples])
    return found


def softmax(logits):
    powers = np.exp(logits.astype("float64") - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def assert_agrees(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.backends
@pytest.mark.parametrize(
    ("prefix", "seed", "shape"), [("299", 0, (2, 299, 299, 3)), ("107x139", 1, (1, 107, 139, 3))]
)
def test_timm(network, timm_file, data_format, prefix, seed, shape):
    model = network()
    load_weights(model, timm_file)
    found = answers(model, images(seed, shape))
    for index, endpoint in enumerate(ENDPOINTS):
        assert_agrees(found[endpoint], TIMM[f"{prefix}/features.{index}"])
    assert_agrees(found["avg_pool"], TIMM[f"{prefix}/pre_logits"])
    assert_agrees(found["predictions"], TIMM[f"{prefix}/logits"])


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_timm_with_other_channels(timm_file, data_format, channels):
    model = InceptionV4(
        weights=timm_file, input_shape=ordered(139, 139, channels), classifier_activation=None
    )
    found = answer(model, images(10 + channels, (1, 139, 139, channels)))
    assert_agrees(found, TIMM[f"in_chans{channels}/logits"])


@pytest.mark.backends
def test_slim(network, slim_prefix):
    model = network(1001)
    load_weights(model, slim_prefix)
    found = answers(model, images(0, (2, 299, 299, 3)))
    for endpoint in ENDPOINTS:
        assert_agrees(found[endpoint], SLIM[endpoint.capitalize()])
    assert_agrees(found["avg_pool"], SLIM["PreLogitsFlatten"])
    assert_agrees(found["predictions"], SLIM["Logits"])
    # A probability differs at most by half of what the logits do.
    assert_agrees(softmax(SLIM["Logits"]), SLIM["Predictions"])
    half = np.abs(found["predictions"] - SLIM["Logits"]).max() / 2
    difference = np.abs(softmax(found["predictions"]) - SLIM["Predictions"]).max()
    assert difference <= half + 1e-6


def test_slim_without_the_background(network, slim_prefix):
    model = network()
    load_weights(model, slim_prefix)
    assert_agrees(answer(model, images(0, (2, 299, 299, 3))), SLIM["Logits"][:, 1:])


@pytest.mark.parametrize("first", [0, 1])
def test_keras_2(network, tmp_path, first):
    path = tmp_path / "inception-v4_weights_tf_dim_ordering_tf_kernels.h5"
    write_keras2(path, keras2_groups(slim_variables(), first))
    model = network(1001)
    load_weights(model, path)
    assert_agrees(answer(model, images(0, (2, 299, 299, 3))), SLIM["Logits"])


def test_keras_2_without_top(network, tmp_path):
    path = tmp_path / "inception-v4_weights_tf_dim_ordering_tf_kernels_notop.h5"
    write_keras2(path, keras2_groups(slim_variables(), top=False))
    whole = network()
    model = keras.Model(whole.input, whole.get_layer("avg_pool").output)
    load_weights(model, path)
    assert_agrees(answer(model, images(0, (2, 299, 299, 3))), SLIM["PreLogitsFlatten"])
