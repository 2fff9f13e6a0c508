"""Artefacts of models for several classes, or quantities."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from test_export import SUFFIXES, pictures
from test_tasks import OTHERS, model_of

from keras_inception_v4 import export_model, export_saved_model, open_artefact
from keras_inception_v4.cli import main
from keras_inception_v4.export import EXPORTS
from keras_inception_v4.tasks import TASKS

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports go through TensorFlow"
)
EVERY = [(format, precision) for format, kinds in EXPORTS.items() for precision in kinds]


def sharp(task):
    """A tiny model whose answers differ widely from image to image."""
    model = model_of(task)
    rng = np.random.default_rng(0)
    dense = model.get_layer("predictions")
    kernel = 3 * rng.normal(size=dense.kernel.shape)
    scale = 40 if task == "regression" else 1
    dense.set_weights([scale * kernel, np.full(3, 500.0 if scale > 1 else -0.2)])
    return model


@pytest.fixture(scope="module", params=OTHERS)
def case(request):
    return request.param, sharp(request.param), pictures(32, 30, 30)


@pytest.mark.parametrize(("format", "precision"), EVERY)
def test_every_artefact_answers_and_says_its_task(case, tmp_path, format, precision):
    task, model, images = case
    thresholds = [0.3, 0.5, 0.9] if task == "multi-label" else None
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    verified = export_model(
        model, path, format=format, precision=precision, calibration=images, crop=1.0,
        class_names=["ant", "bee", "cat"], thresholds=thresholds, verbose=0,
    )  # fmt: skip
    artefact = open_artefact(path, precision="float32" if format == "openvino" else None)
    assert artefact.description.task == task
    assert artefact.description.thresholds == thresholds
    expected = model.predict_on_batch(images[:8])
    apart = np.abs(artefact.predict(images[:8]) - expected).max()
    spread = expected.std() if task == "regression" else 1
    allowed = {"float32": 1e-4, "float16": 0.12, "int8": 1.0}[precision]
    assert apart <= allowed * spread
    assert verified.difference <= allowed * 2 * spread

    Image.fromarray(np.round(images[0]).astype("uint8")).save(tmp_path / "a.png")
    command = ["predict", "--model", str(path), str(tmp_path / "a.png"), "--format", "json"]
    assert main([*command, *(["--precision", "float32"] if format == "openvino" else [])]) == 0


def test_predict_by_an_artefact_is_predict_by_the_model(case, tmp_path, capsys):
    task, model, images = case
    model.save(tmp_path / "model.keras")
    export_model(
        model, tmp_path / "a.onnx", format="onnx", class_names=list("012"), crop=0.875, verbose=0
    )
    Image.fromarray(np.round(images[1]).astype("uint8")).save(tmp_path / "a.png")
    found = []
    for source in ("model.keras", "a.onnx"):
        command = ["predict", "--model", str(tmp_path / source), str(tmp_path / "a.png")]
        assert main([*command, "--format", "json"]) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        found.append(answer["targets" if task == "regression" else "top"])
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        (name, value), (same_name, same_value) = one.values(), other.values()
        assert name == same_name
        assert value == pytest.approx(same_value, rel=1e-4)


def test_the_signatures_answer_from_the_thresholds_on_padded(tmp_path):
    import tensorflow as tf

    model, thresholds = sharp("multi-label"), [0.9, 0.2, 0.6]
    names = ["ant", "bee", "cat"]
    export_saved_model(
        model, tmp_path / "saved", class_names=names, thresholds=thresholds, crop=1.0
    )
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures
    images = np.round(pictures(40, 30, 30, 5)).astype("uint8")
    found = {k: v.numpy() for k, v in serve["serve_images"](images=tf.constant(images)).items()}
    assert found["classes"].shape == found["scores"].shape == (40, 3)
    task, lengths = TASKS["multi-label"], set()
    for row, classes, scores in zip(*map(found.get, ("probabilities", "classes", "scores")),
                                    strict=True):  # fmt: skip
        expected = task.answer(row, names, 3, thresholds)
        lengths.add(len(expected))
        assert [name.decode() for name in classes if name] == [name for name, _ in expected]
        np.testing.assert_allclose(scores[: len(expected)], [p for _, p in expected])
        assert not scores[len(expected) :].any()
        assert not any(classes[len(expected) :])
    assert len(lengths) > 1
    export_saved_model(model, tmp_path / "two", class_names=names, top_k=2, crop=1.0)
    serve = tf.saved_model.load(str(tmp_path / "two")).signatures
    assert serve["serve_images"](images=tf.constant(images))["classes"].shape == (40, 2)
    export_saved_model(
        model, tmp_path / "one", class_names=names, thresholds=thresholds, top_k=1, crop=1.0
    )
    serve = tf.saved_model.load(str(tmp_path / "one")).signatures
    found = {k: v.numpy() for k, v in serve["serve_images"](images=tf.constant(images)).items()}
    for row, (name,) in zip(found["probabilities"], found["classes"], strict=True):
        expected = task.answer(row, names, 1, thresholds)
        assert name.decode() == (expected[0][0] if expected else "")


def test_quantities_have_values_alone(tmp_path):
    import tensorflow as tf

    model = sharp("regression")
    export_saved_model(model, tmp_path / "saved", crop=1.0)
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures
    images = np.round(pictures(4, 30, 30)).astype("uint8")
    found = serve["serve_images"](images=tf.constant(images))
    assert set(found) == {"values"}
    expected = model.predict_on_batch(images.astype("float32"))
    np.testing.assert_allclose(found["values"], expected, rtol=1e-4)
    plain = serve["serving_default"](inputs=tf.constant(images, "float32"))
    np.testing.assert_allclose(plain["values"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("task", "thresholds", "message"),
    [
        ("multi-label", [0.5, 0.5], r"thresholds of shape \(2,\) for 3 classes"),
        ("multi-label", 1.5, r"threshold=1.5. It must be from 0 to 1"),
        ("multi-label", [0.1, 0.2, float("nan")], "threshold=nan. It must be"),
        ("regression", 0.5, "thresholds for a model of regression"),
    ],
)
def test_thresholds_that_are_none(tmp_path, task, thresholds, message):
    for write, more in ((export_saved_model, {}), (export_model, {"format": "saved_model"})):
        with pytest.raises(ValueError, match=message):
            write(sharp(task), tmp_path / "saved", thresholds=thresholds, **more)


def test_an_artefact_that_decides_otherwise_is_told():
    """The verification looks at each class by itself: one class of many answered otherwise."""
    task = TASKS["multi-label"]
    rng = np.random.default_rng(0)
    expected = np.where(rng.uniform(size=(50, 10)) > 0.5, 0.52, 0.02)
    found = expected.copy()
    found[:20, 3] = np.where(expected[:20, 3] > 0.5, 0.48, 0.02)
    compared = task.compare(expected, found)
    changed = np.mean(expected[:20, 3] > 0.5) * 20 / 50
    assert compared.agreement == pytest.approx(1 - changed)
    assert compared.agreement < 0.9
    assert compared.difference == pytest.approx(0.04)
    numbers = TASKS["regression"]
    far = numbers.compare(np.array([[1.0], [3.0], [5.0]]), np.array([[1.0], [3.0], [9.0]]))
    assert far.difference == 4
    assert far.agreement == pytest.approx(2 / 3)
    assert far.relative == pytest.approx(4 / (np.std([1, 3, 5]) + 0.03) / 6)


def test_no_class_is_an_answer_too(tmp_path, capsys):
    images = pictures(2, 30, 30)
    export_model(sharp("multi-label"), tmp_path / "a.onnx", format="onnx", verbose=0)
    Image.fromarray(np.round(images[1]).astype("uint8")).save(tmp_path / "a.png")
    command = ["predict", "--model", str(tmp_path / "a.onnx"), str(tmp_path / "a.png")]
    for format, expected in (("table", "none"), ("csv", "a.png,1,,"), ("json", '"top": []')):
        assert main([*command, "--threshold", "1", "--format", format]) == 0
        assert expected in capsys.readouterr().out
