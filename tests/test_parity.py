"""The network's numbers against timm's and the authors' own, from the reference recordings."""

import keras
import numpy as np
import pytest
from checkpoints import (
    DATA,
    keras2_groups,
    slim_variables,
    timm_state,
    write_keras2,
    write_safetensors,
    write_slim,
)
from conftest import ordered
from rules import images

from keras_inception_v4 import ENDPOINTS, InceptionV4

TIMM = np.load(DATA / "timm.npz")
SLIM = np.load(DATA / "slim.npz")


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    write_safetensors(path, timm_state())
    return path


@pytest.fixture(scope="module")
def slim_prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("slim") / "inception_v4.ckpt"
    write_slim(prefix, slim_variables())
    return prefix


def answers(model, x):
    """Endpoints as [mean, std, 32 samples], and the model's layers after them, by name."""
    names = [*ENDPOINTS, "avg_pool", "predictions"]
    probe = keras.Model(model.inputs, {name: model.get_layer(name).output for name in names})
    if keras.config.image_data_format() == "channels_first":
        x = np.moveaxis(x, 3, 1)
    found = {name: np.asarray(value) for name, value in probe.predict_on_batch(x).items()}
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


@pytest.mark.parametrize(
    ("prefix", "seed", "shape"), [("299", 0, (2, 299, 299, 3)), ("107x139", 1, (1, 107, 139, 3))]
)
def test_timm(timm_file, data_format, prefix, seed, shape):
    model = InceptionV4(
        weights=timm_file, input_shape=ordered(*shape[1:]), classifier_activation=None
    )
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
    x = images(10 + channels, (1, 139, 139, channels))
    found = answers(model, x)
    assert_agrees(found["predictions"], TIMM[f"in_chans{channels}/logits"])


def test_slim(slim_prefix):
    model = InceptionV4(weights=slim_prefix, classes=1001, classifier_activation=None)
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


def test_slim_without_the_background(slim_prefix):
    model = InceptionV4(weights=slim_prefix, classifier_activation=None)
    found = answers(model, images(0, (2, 299, 299, 3)))
    assert_agrees(found["predictions"], SLIM["Logits"][:, 1:])


@pytest.mark.parametrize("first", [0, 1])
def test_keras_2(tmp_path, first):
    path = tmp_path / "inception-v4_weights_tf_dim_ordering_tf_kernels.h5"
    write_keras2(path, keras2_groups(slim_variables(), first))
    model = InceptionV4(weights=path, classes=1001, classifier_activation=None)
    assert_agrees(answers(model, images(0, (2, 299, 299, 3)))["predictions"], SLIM["Logits"])


def test_keras_2_without_top(tmp_path):
    path = tmp_path / "inception-v4_weights_tf_dim_ordering_tf_kernels_notop.h5"
    write_keras2(path, keras2_groups(slim_variables(), top=False))
    model = InceptionV4(weights=path, include_top=False, pooling="avg")
    found = model.predict_on_batch(images(0, (2, 299, 299, 3)))
    assert_agrees(found, SLIM["PreLogitsFlatten"])
