import csv
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ordered
from keras import layers

from keras_inception_v4 import ENDPOINTS, InceptionV4
from keras_inception_v4.architecture import VARIANTS

DATA = Path(__file__).parent / "data"

SHAPES_AT_299 = {
    "conv2d_1a_3x3": (149, 149, 32),
    "conv2d_2a_3x3": (147, 147, 32),
    "conv2d_2b_3x3": (147, 147, 64),
    "mixed_3a": (73, 73, 160),
    "mixed_4a": (71, 71, 192),
    "mixed_5a": (35, 35, 384),
    "mixed_5b": (35, 35, 384),
    "mixed_5c": (35, 35, 384),
    "mixed_5d": (35, 35, 384),
    "mixed_5e": (35, 35, 384),
    "mixed_6a": (17, 17, 1024),
    "mixed_6b": (17, 17, 1024),
    "mixed_6c": (17, 17, 1024),
    "mixed_6d": (17, 17, 1024),
    "mixed_6e": (17, 17, 1024),
    "mixed_6f": (17, 17, 1024),
    "mixed_6g": (17, 17, 1024),
    "mixed_6h": (17, 17, 1024),
    "mixed_7a": (8, 8, 1536),
    "mixed_7b": (8, 8, 1536),
    "mixed_7c": (8, 8, 1536),
    "mixed_7d": (8, 8, 1536),
}


def images(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_and_shapes_are_the_paper_s(full_network, variant):
    model = full_network(variant)
    assert model.count_params() == 42_711_400
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 42_648_232
    assert sum(isinstance(layer, layers.Conv2D) for layer in model.layers) == 149
    found = {name: model.get_layer(name).output.shape[1:] for name in ENDPOINTS}
    assert found == SHAPES_AT_299
    assert model.output_shape == (None, 1000)


def test_the_paper_variant_has_its_own_kernels(full_network):
    model = full_network("paper")
    sizes = {
        "mixed_4a_branch_1_conv2d_0b_7x1_conv": (7, 1, 64, 64),
        "mixed_4a_branch_1_conv2d_0c_1x7_conv": (1, 7, 64, 64),
        "mixed_6b_branch_2_conv2d_0b_1x7_conv": (1, 7, 192, 192),
        "mixed_6h_branch_2_conv2d_0e_7x1_conv": (7, 1, 224, 256),
        "mixed_7d_branch_2_conv2d_0b_1x3_conv": (1, 3, 384, 448),
        "mixed_7d_branch_2_conv2d_0c_3x1_conv": (3, 1, 448, 512),
    }
    assert {name: tuple(model.get_layer(name).kernel.shape) for name in sizes} == sizes


def test_layers_are_frozen(full_network):
    """Names and order are API: saved weights are found by them."""
    with (DATA / "layers.csv").open(newline="") as file:
        expected = [tuple(row.values()) for row in csv.DictReader(file)]
    found = [
        (
            "input_layer" if isinstance(layer, layers.InputLayer) else layer.name,
            type(layer).__name__,
            "x".join(map(str, layer.output.shape[1:])),
            " ".join("x".join(map(str, weight.shape)) for weight in layer.weights),
        )
        for layer in full_network().layers
    ]
    assert found == expected


def test_every_op_is_as_the_released_graph_has_it(full_network):
    model = full_network()
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            assert not layer.use_bias
        elif isinstance(layer, layers.BatchNormalization):
            assert (layer.scale, layer.epsilon, layer.momentum) == (False, 0.001, 0.99)
    assert model.get_layer("dropout").rate == 0.2


# What keras/src/applications/applications_test.py asks of every application.


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("channels", [1, 4])
def test_contract_variable_size_and_channels(data_format, channels):
    model = InceptionV4(include_top=False, weights=None, input_shape=ordered(None, None, channels))
    assert model.output_shape == (None, *ordered(None, None, ENDPOINTS["mixed_7d"].channels))


@pytest.mark.backends
def test_contract_default_arguments_and_serialization(full_network, data_format):
    model = full_network()
    assert model.input_shape == (None, *ordered(299, 299, 3))
    assert model.name == "inception_v4"
    config = keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(config)
    assert [w.path for w in again.weights] == [w.path for w in model.weights]


@pytest.mark.usefixtures("shallow")
def test_contract_custom_size(data_format):
    model = InceptionV4(include_top=False, weights=None, input_shape=ordered(123, 123, 3))
    assert model.output_shape == (None, *ordered(2, 2, ENDPOINTS["mixed_7d"].channels))


@pytest.mark.usefixtures("shallow")
def test_contract_input_tensor(data_format):
    inputs = layers.Input(shape=ordered(200, 200, 4), name="custom_input")
    x = layers.Conv2D(3, (2, 2), padding="valid", strides=(2, 2))(inputs)
    model = InceptionV4(weights=None, include_top=False, input_tensor=x)
    assert model.output_shape == (None, *ordered(1, 1, ENDPOINTS["mixed_7d"].channels))
    assert model.input_shape == (None, *ordered(200, 200, 4))


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_contract_pooling(data_format, pooling):
    model = InceptionV4(weights=None, include_top=False, pooling=pooling)
    assert model.output_shape == (None, ENDPOINTS["mixed_7d"].channels)
    assert model.layers[-1].name == f"{pooling}_pool"


@pytest.mark.usefixtures("shallow")
def test_contract_classifier_activation():
    model = InceptionV4(weights=None, classifier_activation="softmax")
    assert model.layers[-1].activation.__name__ == "softmax"


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
def test_probabilities_and_logits():
    x = images((2, 75, 75, 3))
    keras.utils.set_random_seed(0)
    softmax = InceptionV4(weights=None, input_shape=(75, 75, 3), classes=7)
    logits = InceptionV4(
        weights=None, input_shape=[75, 75, 3], classes=np.int64(7), classifier_activation=None
    )
    logits.set_weights(softmax.get_weights())
    probabilities = softmax.predict_on_batch(x)
    assert probabilities.shape == (2, 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    expected = keras.ops.softmax(logits.predict_on_batch(x))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
def test_unknown_size_gives_exactly_what_the_fixed_size_gives(data_format):
    shape = ordered(107, 139, 3)
    fixed = InceptionV4(weights=None, input_shape=shape, classes=5)
    unknown = InceptionV4(weights=None, input_shape=ordered(None, None, 3), classes=5)
    unknown.set_weights(fixed.get_weights())
    x = images((1, *shape))
    np.testing.assert_array_equal(unknown.predict_on_batch(x), fixed.predict_on_batch(x))


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
def test_channels_first_answers_what_channels_last_answers(data_format):
    if data_format == "channels_last":
        assert keras.config.image_data_format() == "channels_last"
        return
    first = InceptionV4(weights=None, input_shape=(3, 90, 80), classes=5)
    keras.config.set_image_data_format("channels_last")
    last = InceptionV4(weights=None, input_shape=(90, 80, 3), classes=5)
    last.set_weights(first.get_weights())
    x = images((2, 90, 80, 3))
    expected = last.predict_on_batch(x)
    found = first.predict_on_batch(np.moveaxis(x, 3, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
def test_raw_pixels_in():
    plain = InceptionV4(weights=None, input_shape=(75, 75, 3), classes=5)
    raw = InceptionV4(weights=None, input_shape=(75, 75, 3), classes=5, include_preprocessing=True)
    raw.set_weights(plain.get_weights())
    assert raw.layers[1].name == "preprocessing"
    x = images((2, 75, 75, 3))
    np.testing.assert_allclose(
        raw.predict_on_batch((x + 1) * 127.5), plain.predict_on_batch(x), rtol=1e-4, atol=1e-6
    )


@pytest.mark.backends
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_answers_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    model = InceptionV4(weights=None, input_shape=(75, 75, 3), classes=5)
    assert model.get_layer("mixed_7d").compute_dtype == policy.removeprefix("mixed_")
    assert model.get_layer("predictions").compute_dtype == "float32"
    assert model.predict_on_batch(images((1, 75, 75, 3))).dtype == np.float32


@pytest.mark.usefixtures("shallow")
def test_dropout_and_momentum_reach_their_layers():
    model = InceptionV4(
        weights=None, input_shape=(75, 75, 3), dropout_rate=0, batch_norm_momentum=0.9
    )
    assert model.get_layer("dropout").rate == 0
    assert model.get_layer("mixed_5e_branch_0_conv2d_0a_1x1_bn").momentum == 0.9


@pytest.mark.usefixtures("shallow")
def test_a_saved_model_loads_where_the_package_is_not(tmp_path):
    keras.utils.set_random_seed(0)
    model = InceptionV4(
        weights=None, input_shape=(75, 75, 3), classes=5, include_preprocessing=True
    )
    model.save(tmp_path / "model.keras")
    x = images((1, 75, 75, 3))
    np.save(tmp_path / "x.npy", x)
    code = (
        "import json, sys; sys.modules['keras_inception_v4'] = None\n"
        "import keras, numpy as np\n"
        "model = keras.saving.load_model('model.keras')\n"
        "print(json.dumps(model.predict_on_batch(np.load('x.npy')).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, model.predict_on_batch(x), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "cifar"}, r"weights='cifar'.*None.*'imagenet'.*path"),
        ({"pooling": "mean"}, r"pooling='mean'.*None.*'avg' and 'max'"),
        ({"pooling": "mean", "include_top": False}, r"pooling='mean'"),
        ({"variant": "v5"}, r"variant 'v5'.*'released'.*'paper'"),
        ({"classifier_activation": "sofmax"}, r"classifier_activation='sofmax'.*'softmax'"),
        ({"classes": 0}, r"classes=0.*at least 1"),
        ({"classes": -3}, r"classes=-3.*at least 1"),
        ({"classes": 2.5}, r"classes=2.5.*integer"),
        ({"input_shape": (74, 299, 3)}, r"\(74, 299, 3\).*at least 75"),
        ({"input_shape": (None, 10, 3)}, r"\(None, 10, 3\).*at least 75"),
        ({"input_shape": (299, 299)}, r"\(299, 299\).*three entries.*height, width, channels"),
        ({"input_shape": 299}, r"input_shape=299.*three entries"),
        ({"input_shape": (299.0, 299, 3)}, r"three entries"),
        ({"input_shape": (299, 299, None)}, r"channels must be an integer of at least 1"),
        ({"input_shape": (299, 299, 0)}, r"channels must be an integer of at least 1"),
        ({"input_tensor": np.zeros((1, 299, 299, 3))}, r"type ndarray.*Keras tensor"),
        ({"dropout_rate": 1}, r"dropout_rate=1.*at least 0 and below 1"),
        ({"dropout_rate": -0.1}, r"dropout_rate=-0.1.*at least 0 and below 1"),
        ({"dropout_rate": "0.2"}, r"dropout_rate='0.2'.*a number"),
        ({"dropout_rate": float("nan")}, r"dropout_rate=nan.*below 1"),
        ({"batch_norm_momentum": 0}, r"batch_norm_momentum=0.*above 0 and below 1"),
        ({"batch_norm_momentum": 1.0}, r"batch_norm_momentum=1.0.*above 0 and below 1"),
    ],
)
def test_a_wrong_argument_says_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        InceptionV4(**{"weights": None, **arguments})


@pytest.mark.parametrize(
    ("tensor_shape", "input_shape", "message"),
    [
        ((299, 299, 3), (200, 200, 3), r"\(200, 200, 3\).*\(299, 299, 3\).*agree"),
        ((60, 299, 3), None, r"input_tensor of shape.*\(60, 299, 3\).*at least 75"),
        ((299, 299), None, r"input_tensor of shape \(None, 299, 299\).*four axes"),
        ((299, 299, None), None, r"number of channels"),
    ],
)
def test_a_wrong_input_tensor_says_so(tensor_shape, input_shape, message):
    with pytest.raises(ValueError, match=message):
        InceptionV4(weights=None, input_tensor=layers.Input(tensor_shape), input_shape=input_shape)


@pytest.mark.usefixtures("shallow")
def test_an_input_tensor_of_unknown_size_may_be_narrowed():
    model = InceptionV4(
        weights=None,
        include_top=False,
        input_tensor=layers.Input((None, None, 3)),
        input_shape=(299, 299, 3),
    )
    assert model.output_shape == (None, None, None, ENDPOINTS["mixed_7d"].channels)
