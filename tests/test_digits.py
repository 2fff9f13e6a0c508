"""The first command, and its int8 artefacts on held-out digits. Slow; CI runs it."""

import keras
import numpy as np
import pytest
from PIL import Image
from skimage.data import lfw_subset
from test_audit import duplicate_across, write_digits
from test_tflite_metadata import classified
from test_web import browser, photographs

from keras_inception_v4 import (
    calibrate,
    evaluate,
    export_model,
    open_artefact,
    train_head,
    transfer_model,
)
from keras_inception_v4.architecture import DIGITS_CROP
from keras_inception_v4.audit import audit
from keras_inception_v4.data.digits import load_digits_data
from keras_inception_v4.data.findings import EXACT, LABEL, NEAR
from keras_inception_v4.files import read_json
from keras_inception_v4.inference.classification import predict_files
from keras_inception_v4.preprocessing import resize_image

pytestmark = pytest.mark.slow
SUFFIXES = {"litert": ".tflite"}


@pytest.fixture(scope="module")
def data():
    return load_digits_data(75, seed=0)


@pytest.fixture(scope="module")
def model(digits_run):
    return keras.saving.load_model(digits_run / "model.keras")


@pytest.fixture(scope="module")
def expected(model, data):
    """The model's answers to the held-out digits."""
    return model.predict(data.validation.pixels, batch_size=32, verbose=0)


def test_digits_are_learned(digits_run):
    """One seed; benchmarks record three."""
    assert read_json(digits_run / "report.json")["accuracy"] >= 0.90


@pytest.mark.parametrize("format", ["litert", "openvino", "web"])
def test_int8_agrees_on_held_out_digits(digits_run, model, expected, data, tmp_path, format):
    """`benchmarks.exports` measures every precision. A page holds the ONNX file, in parts."""
    path = tmp_path / f"digits{SUFFIXES.get(format, '')}"
    export_model(
        model, path, format=format, precision="int8", crop=DIGITS_CROP,
        calibration=data.train.pixels[:60],
        samples=digits_run / "examples", class_names=data.class_names, verbose=False,
    )  # fmt: skip
    found = open_artefact(path).predict(data.validation.pixels)
    same = np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
    print(f"{format}: same top class {same:.2%}")
    assert same >= 0.98
    if format == "web" and browser.CHROMIUM:
        in_a_browser(path, data.validation.pixels[:50], tmp_path)
    if format == "litert":
        hundred = data.validation.pixels[:100].round().astype("uint8")
        best = found[:100].argmax(axis=1).astype(str)
        names = [answers[0][0] for answers in classified(path, *hundred)]
        same = np.mean(np.array(names) == best)
        print(f"MediaPipe: same top class {same:.2%}")
        assert same >= 0.97


def in_a_browser(page, digits, tmp_path):
    """Digits and photographs have the class there that they have here."""
    paths = photographs(tmp_path / "photographs")
    for index, pixels in enumerate(digits):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(pixels.round().astype("uint8")).save(paths[-1])
    with (
        browser.served(page) as address,
        browser.chromium() as chromium,
        browser.opened(chromium, address) as (opened, _),
    ):
        found = [answer["best"][0]["name"] for answer in browser.answers(opened, paths)]
    expected = [top[0][0] for _, top in predict_files(page, paths, top=1, verbose=0)]
    same = np.mean(np.array(found) == expected)
    print(f"in a browser: same top class {same:.2%}")
    assert same >= 0.98


def test_its_features_are_worth_more_than_those_of_a_network_that_has_learned_nothing(digits_run):
    """A head on 40 small photographs: faces and other things. `benchmarks.transfer` has more."""
    pixels = np.stack([resize_image(255 * (p - p.min()) / np.ptp(p), (75, 75), 1.0)
                       for p in lfw_subset()])  # fmt: skip
    labels = np.repeat([0, 1], 100)
    order = np.random.default_rng(0).permutation(200)
    few, others = order[:40], order[40:]
    found = []
    for weights in (digits_run / "model.keras", None):
        keras.utils.set_random_seed(0)
        model = transfer_model(2, weights=weights, input_shape=(75, 75, 3))
        train_head(model, (pixels[few], labels[few]), epochs=100, batch_size=16, verbose=0)
        report = evaluate(model, (pixels[others], labels[others]), verbose=False)
        found.append(report["accuracy"])
    assert found[0] >= 0.75
    assert found[0] - found[1] >= 0.15


def test_an_audit_finds_wrong_labels_and_duplicates(digits_run, tmp_path):
    """Ten wrong labels among 500, and five digits that are held out too."""
    wrong = write_digits(tmp_path / "digits")
    pairs = duplicate_across(tmp_path / "digits")
    done = audit(tmp_path / "digits", model=digits_run, verbose=False)
    first = {finding.path for finding in done.findings[:20] if finding.kind == LABEL}
    print(f"wrong labels among the first 20 findings: {len(first & set(wrong))} of 10")
    assert len(first & set(wrong)) >= 8
    twice = {(f.path, f.other) for f in done.findings if f.kind in (EXACT, NEAR)}
    print(f"duplicates: {len(twice)}, {len(pairs)} of them put there")
    assert set(pairs) <= twice
    assert len(twice) <= len(pairs) + 2


def test_calibration_holds_on_pictures_that_neither_saw(digits_run, data):
    model = keras.saving.load_model(digits_run / "model.keras")
    halves = [data.validation.take(range(start, 360, 2)) for start in (0, 1)]
    labels = [data.validation.labels[start::2] for start in (0, 1)]
    before = evaluate(model, (halves[1], labels[1]), verbose=False)
    temperature = calibrate(model, (halves[0], labels[0]), verbose=False)
    after = evaluate(model, (halves[1], labels[1]), verbose=False)
    errors = [report["calibration_error"] for report in (before, after)]
    print(f"temperature {temperature:.2f}: calibration error {errors[0]:.1%} to {errors[1]:.1%}")
    assert errors[1] < errors[0]
    assert after["confusion_matrix"] == before["confusion_matrix"]


def from_noise(digits_run, model, path, most):
    """An artefact that was calibrated on noise of so many grey levels."""
    noise = np.random.default_rng(0).uniform(0, most, (20, 75, 75, 3))
    export_model(
        model, path, format="openvino", precision="int8", calibration=noise, crop=DIGITS_CROP,
        samples=digits_run / "examples", verbose=False,
    )  # fmt: skip


def test_garbage_calibration_fails(digits_run, model, tmp_path):
    with pytest.raises(ValueError, match="does not reproduce the model's outputs"):
        from_noise(digits_run, model, tmp_path / "digits", 255)
    assert not (tmp_path / "digits").exists()


def test_what_passes_the_verification_is_right(digits_run, model, expected, data, tmp_path):
    """Noise as dark as a digit's ground, which ten examples let through with a quarter wrong."""
    path = tmp_path / "digits"
    try:
        from_noise(digits_run, model, path, 10)
    except ValueError as error:
        refused = str(error)
        assert "reach from 0 to 10, and" in refused
    else:
        refused = ""
        found = open_artefact(path).predict(data.validation.pixels)
        assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) >= 0.98
    assert path.exists() != bool(refused)
