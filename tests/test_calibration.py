"""Temperature scaling: what it finds, where it is kept, and what it does not change."""

import keras
import numpy as np
import pytest
from test_tasks import model_of
from tiny import CHANNELS, tiny

from keras_inception_v4 import calibrate, evaluate, export_model, open_artefact
from keras_inception_v4.runs.settings import Settings
from keras_inception_v4.tasks import Measured
from keras_inception_v4.training.calibrating import _best_temperature

RNG = np.random.default_rng(0)


def drawn(logits):
    """Labels that are drawn from the probabilities of these logits."""
    return np.array([RNG.choice(len(p), p=p) for p in softmax(logits)])


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_answers_is_found(temperature):
    logits = 2 * RNG.normal(size=(4000, 5))
    given = Measured(softmax(temperature * logits).astype("float32"), drawn(logits))
    assert _best_temperature(given, several=False) == pytest.approx(temperature, rel=0.1)
    truth = 1 / (1 + np.exp(-logits))
    labels = (RNG.random(truth.shape) < truth).astype("float32")
    answers = 1 / (1 + np.exp(-temperature * logits))
    given = Measured(answers.astype("float32"), labels)
    assert _best_temperature(given, several=True) == pytest.approx(temperature, rel=0.1)


def test_weights_count():
    logits = 2 * RNG.normal(size=(2000, 3))
    labels = drawn(logits)
    answers = softmax(3 * logits).astype("float32")
    noise = RNG.integers(0, 3, 2000)
    both = Measured(np.tile(answers, (2, 1)), np.append(labels, noise),
                    np.append(np.ones(2000), np.zeros(2000)))  # fmt: skip
    plain = _best_temperature(Measured(answers, labels), several=False)
    assert _best_temperature(both, several=False) == pytest.approx(plain, rel=1e-3)


def sure_model():
    """A model that is three times as sure as it may be: its images' labels say so."""
    model = tiny(dropout_rate=0.0)
    pixels = RNG.uniform(0, 255, (300, 75, 75, 3)).astype("float32")
    dense = model.get_layer("predictions")
    dense.kernel.assign(RNG.normal(size=(CHANNELS, 3)))
    logits = np.log(np.maximum(model.predict(pixels, verbose=0), 1e-30))
    spread = (logits - logits.mean(axis=0)).std()
    dense.kernel.assign(dense.kernel * (6 / spread))
    dense.bias.assign(-(6 / spread) * logits.mean(axis=0))
    answers = model.predict(pixels, verbose=0)
    labels = drawn(np.log(np.maximum(answers, 1e-30).astype("float64")) / 3)
    return model, pixels, labels


@pytest.mark.backends
def test_a_model_is_calibrated_and_its_classes_stay(tmp_path):
    model, pixels, labels = sure_model()
    before = evaluate(model, (pixels, labels), verbose=False)
    answers = model.predict(pixels, verbose=0)
    temperature = calibrate(model, (pixels, labels), verbose=False)
    after = evaluate(model, (pixels, labels), verbose=False)
    assert 2 < temperature < 4.5
    assert after["calibration_error"] < 0.5 * before["calibration_error"]
    assert after["confusion_matrix"] == before["confusion_matrix"]
    found = model.predict(pixels, verbose=0)
    expected = answers.astype("float64") ** (1 / temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    sound = answers.min(axis=1) > 1e-30
    np.testing.assert_allclose(found[sound], expected[sound], atol=1e-4)
    model.save(tmp_path / "model.keras")  # it is in the last layer, and so in every file
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(pixels, verbose=0), found, atol=1e-6)
    assert calibrate(again, (pixels, labels), verbose=False) == pytest.approx(1, rel=0.01)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports are TensorFlow's")
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert", "saved_model"])
def test_every_export_has_it(tmp_path, format):
    model, pixels, labels = sure_model()
    calibrate(model, (pixels, labels), verbose=False)
    path = tmp_path / ("a.tflite" if format == "litert" else "a.onnx" if format == "onnx" else "a")
    export_model(model, path, format=format, verbose=False)
    # OpenVINO's own choice is bfloat16 on processors that have it.
    precision = "float32" if format == "openvino" else None
    found = open_artefact(path, precision=precision).predict(pixels[:8])
    np.testing.assert_allclose(found, model.predict(pixels[:8], verbose=0), atol=1e-4)


def test_several_classes_and_a_separate_activation():
    model = model_of("multi-label")
    pixels = RNG.uniform(0, 255, (60, 30, 30, 3)).astype("float32")
    model.get_layer("predictions").kernel.assign(5 * RNG.normal(size=(CHANNELS, 3)))
    labels = RNG.integers(0, 2, (60, 3))
    before = model.predict(pixels, verbose=0)
    assert calibrate(model, (pixels, labels), verbose=False) > 1
    after = model.predict(pixels, verbose=0)
    assert np.array_equal(before >= 0.5, after >= 0.5)
    assert np.abs(after - 0.5).mean() < np.abs(before - 0.5).mean()
    inner = tiny(activation=None)
    output = keras.layers.Softmax()(inner.output)
    apart = keras.Model(inner.input, output)
    pixels = RNG.uniform(0, 255, (20, 75, 75, 3)).astype("float32")
    before = inner.predict(pixels, verbose=0)
    temperature = calibrate(apart, (pixels, RNG.integers(0, 3, 20)), verbose=False)
    np.testing.assert_allclose(inner.predict(pixels, verbose=0), before / temperature, atol=1e-5)


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(ValueError, match="predicts quantities, which have no probability"):
        calibrate(model_of("regression"), (np.zeros((2, 30, 30, 3)), np.zeros((2, 3))))
    base = tiny(activation=None)
    apart = keras.Model(base.input, keras.layers.Softmax()(keras.layers.LeakyReLU()(base.output)))
    with pytest.raises(ValueError, match=r"come from .*, a LeakyReLU. Calibration scales"):
        calibrate(apart, (np.zeros((2, 75, 75, 3)), np.zeros(2, int)))
    bent = tiny(activation="tanh")
    apart = keras.Model(bent.input, keras.layers.Softmax()(bent.output))
    with pytest.raises(ValueError, match="several activations after its last weights"):
        calibrate(apart, (np.zeros((2, 75, 75, 3)), np.zeros(2, int)))
    with pytest.raises(ValueError, match="calibrate with task='regression'"):
        Settings(data="t.csv", task="regression", calibrate=True)
    assert "calibrate" not in Settings().as_json()
