"""The first command, shorter, and its artefacts on held-out digits. Slow; CI runs it."""

import keras
import numpy as np
import pytest

from keras_inception_v4 import export_model, open_artefact, train
from keras_inception_v4.data import DIGITS_CROP, load_digits_data
from keras_inception_v4.files import read_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    train("digits", folder, weights=None, epochs=4, verbose=2)
    return folder


@pytest.fixture(scope="module")
def data():
    return load_digits_data(75, seed=0)


def test_digits_are_learned(run):
    """One seed; benchmarks record three."""
    assert read_json(run / "report.json")["accuracy"] >= 0.90


@pytest.mark.parametrize(
    ("format", "precision"),
    [
        ("onnx", "float32"),  # benchmarks.exports measures all
        ("litert", "float16"),
        ("litert", "int8"),
        ("openvino", "int8"),
    ],
)
def test_artefacts_agree_on_held_out_digits(run, data, tmp_path, format, precision):
    model = keras.saving.load_model(run / "model.keras")
    path = tmp_path / f"digits{ {'litert': '.tflite', 'onnx': '.onnx'}.get(format, '') }"
    export_model(
        model, path, format=format, precision=precision, crop=DIGITS_CROP,
        calibration=data.train.pixels[:100] if precision == "int8" else None,
        samples=run / "examples", verbose=False,
    )  # fmt: skip
    hint = "float32" if (format, precision) == ("openvino", "float32") else None
    pixels = data.validation.pixels
    expected = model.predict(pixels, batch_size=32, verbose=0)
    found = open_artefact(path, precision=hint).predict(pixels)
    same = np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
    largest = np.abs(found - expected).max()
    print(f"{format} {precision}: same top class {same:.2%}, largest difference {largest:.2g}")
    if precision == "int8":
        assert same >= 0.98
    else:
        assert largest <= (1e-4 if precision == "float32" else 2e-2)
        assert same >= 0.99


@pytest.mark.parametrize("format", ["litert", "openvino"])
def test_garbage_calibration_fails(run, tmp_path, format):
    model = keras.saving.load_model(run / "model.keras")
    path = tmp_path / f"digits{ {'litert': '.tflite'}.get(format, '') }"
    noise = np.random.default_rng(0).uniform(0, 10, (20, 75, 75, 3))
    with pytest.raises(ValueError, match="does not answer what the model answers"):
        export_model(
            model, path, format=format, precision="int8", calibration=noise, crop=DIGITS_CROP,
            samples=run / "examples", verbose=False,
        )  # fmt: skip
    assert not path.exists()
