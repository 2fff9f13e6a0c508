import os
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ordered
from forked import Forked
from thin import thin_network

from keras_inception_v4 import cli, load_image, train
from keras_inception_v4.blocks import dtype_policy
from keras_inception_v4.data.digits import digit_scans, load_digits_data
from keras_inception_v4.files import read_json
from keras_inception_v4.inference.classification import predict_files
from keras_inception_v4.runs.folder import RunFolder
from keras_inception_v4.runs.run import (
    Parts,
    Watching,
    precision_for,
    read_images,
    run_settings,
)
from keras_inception_v4.runs.settings import Settings
from keras_inception_v4.starting import import_keras
from keras_inception_v4.tasks import TASKS
from keras_inception_v4.training.options import ONEDNN
from keras_inception_v4.training.precision import fastest_precision, processor_has_bfloat16
from keras_inception_v4.training.scratch import scratch_model


def train_digits(output, **arguments):
    return train("digits", output, weights=None, **arguments)


def every_ninth():
    scans, labels = digit_scans()
    return scans[::9], labels[::9]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One epoch of every ninth scan: enough for every file, not for accuracy (see below)."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    with thin_network("shallow"):
        few = Parts(partial(read_images, scans=every_ninth))
        settings = Settings(data="digits", weights=None, epochs=1, batch_size=64)
        report = run_settings(settings, folder, Watching(verbose=0), parts=few)
    return folder, report


def test_the_folder_has_everything(run):
    folder, report = run
    expected = {
        "MODEL_CARD.md",
        "class_names.json",
        "config.json",
        "confusion_matrix.png",
        "curves.png",
        "data.json",
        "examples",
        "history.csv",
        "model.keras",
        "report.json",
    }
    if keras.backend.backend() == "tensorflow":
        expected.add("saved_model")
    assert set(os.listdir(folder)) == expected
    assert read_json(folder / "report.json") == report
    assert report["images"] == 40
    assert report["training_images"] == 160
    assert np.sum(report["confusion_matrix"]) == 40
    assert read_json(folder / "class_names.json") == list("0123456789")
    header, *epochs = (folder / "history.csv").read_text().splitlines()
    assert header == "epoch,phase,accuracy,loss,val_accuracy,val_loss"
    assert len(epochs) == 1
    assert epochs[0].startswith("1,from scratch,")
    assert report["epochs"] == {"from scratch": 1}
    assert sum(read_json(folder / "data.json")["validation"].values()) == 40


@pytest.mark.parametrize("switch", [None, "0", "1"])
def test_a_run_goes_on_with_the_kernels_that_it_began_with(run, tmp_path, monkeypatch, switch):
    """Of the command: it sets the variable before TensorFlow is imported, unless the user has."""
    recorded = read_json(run[0] / "config.json")["environment"]
    on_tensorflow = keras.backend.backend() == "tensorflow"
    assert recorded == ({ONEDNN: os.environ.get(ONEDNN)} if on_tensorflow else {})
    RunFolder(tmp_path / "run", {}, crop=1.0, environment={ONEDNN: switch}).begin({})
    for folder, expected in (("new", "1"), ("run", switch)):
        options = cli.parser().parse_args(["train", "digits", "--output", str(tmp_path / folder)])
        for own in (None, "of the user"):
            monkeypatch.setenv(ONEDNN, own or "")  # so that it is put back
            if own is None:
                os.environ.pop(ONEDNN)
            import_keras(options)
            assert os.environ.get(ONEDNN) == (own or expected)


def test_the_model_takes_raw_pixels_in_float32_without_augmentation(run):
    folder, report = run
    model = keras.saving.load_model(folder / "model.keras")
    assert model.layers[1].name == "preprocessing"
    assert model.get_layer("mixed_7d").compute_dtype == "float32"
    assert not [layer.name for layer in model.layers if layer.name.startswith("augment_")]
    data = load_digits_data(75, seed=0, scans=every_ninth)
    pixels = data.validation.pixels
    if model.input_shape[1] == 3:
        pixels = np.moveaxis(pixels, 3, 1)
    predicted = model.predict(pixels, batch_size=64, verbose=0).argmax(axis=1)
    assert np.mean(predicted == data.validation.labels) == pytest.approx(report["accuracy"])


def test_the_saved_model_answers_the_same(run):
    """That one needs nothing but TensorFlow is test_export's."""
    folder, _ = run
    if keras.backend.backend() != "tensorflow":
        assert not (folder / "saved_model").exists()
        return
    import tensorflow as tf

    x = np.stack([load_image(folder / f"examples/{d}.png", (75, 75), 1.0) for d in range(10)])
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    answer = loaded.signatures["serving_default"]
    (name,) = answer.structured_input_signature[1]
    (found,) = answer(**{name: tf.constant(x)}).values()
    expected = keras.saving.load_model(folder / "model.keras").predict_on_batch(x)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_predict_names_the_classes_of_the_run(run):
    folder, _ = run
    paths = [folder / f"examples/{digit}.png" for digit in (3, 7)]
    predictions = predict_files(folder / "model.keras", paths, top=10, batch_size=1)
    model = keras.saving.load_model(folder / "model.keras")
    for path, prediction in zip(paths, predictions, strict=True):
        assert prediction.path == str(path)
        found = dict(prediction.top)
        assert set(found) == set("0123456789")
        assert list(found.values()) == sorted(found.values(), reverse=True)
        pixels = load_image(path, (75, 75), crop=1.0)[None]
        if keras.config.image_data_format() == "channels_first":
            pixels = np.moveaxis(pixels, 3, 1)
        expected = model.predict_on_batch(pixels)[0]
        np.testing.assert_allclose([found[str(d)] for d in range(10)], expected, atol=1e-5)


def test_a_complete_run_is_not_trained_again(run, monkeypatch):
    folder, report = run
    monkeypatch.setattr(keras.Model, "fit", None)
    assert train_digits(folder, epochs=1, batch_size=64) == report


def test_a_run_takes_the_fastest_precision_and_keeps_it(run):
    folder, _ = run
    recorded = read_json(folder / "config.json")["arguments"]
    decided = recorded["precision"]
    assert decided == fastest_precision()

    def elsewhere():
        return "mixed_float16"

    assert Settings(weights=None).decided({}, elsewhere).precision == "mixed_float16"
    assert Settings(weights=None).decided(recorded, elsewhere).precision == decided
    with pytest.raises(ValueError, match=f"precision is '{decided}' there and 'mixed_float16'"):
        train_digits(folder, epochs=1, batch_size=64, precision="mixed_float16")


def test_many_processes_ask_in_a_child():
    assert precision_for(2) == fastest_precision()
    with pytest.raises(OSError, match="checks the devices ended"):
        precision_for(2, os.abort)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        (None, False),
    ],
)
def test_linux_says_whether_the_processor_has_bfloat16(monkeypatch, flags, expected):
    def read_text(path):
        assert path == Path("/proc/cpuinfo")
        if flags is None:
            raise FileNotFoundError(path)
        return f"processor\t: 0\n{flags}\n"

    monkeypatch.setattr(Path, "read_text", read_text)
    assert processor_has_bfloat16() == expected


def tensorflow(gpus, capability=None):
    return SimpleNamespace(
        config=SimpleNamespace(
            get_visible_devices=lambda kind: gpus if kind == "GPU" else [],
            experimental=SimpleNamespace(
                get_device_details=lambda device: {"compute_capability": capability}
            ),
        )
    )


def jax(platform, capability=None):
    device = SimpleNamespace(platform=platform)
    if capability is not None:
        device.compute_capability = capability
    return SimpleNamespace(devices=lambda: [device])


def torch(capability=None, hip=None):
    return SimpleNamespace(
        cuda=SimpleNamespace(get_device_capability=lambda: capability),
        version=SimpleNamespace(hip=hip),
        zeros=lambda shape: SimpleNamespace(
            device=SimpleNamespace(type="cuda" if capability else "cpu")
        ),
    )


@pytest.mark.parametrize(
    ("backend", "library", "expected"),
    [
        ("tensorflow", tensorflow([]), "of the processor"),
        ("tensorflow", tensorflow(["GPU:0"], (7, 5)), "float32"),
        ("tensorflow", tensorflow(["GPU:0"], (8, 0)), "mixed_bfloat16"),
        ("jax", jax("cpu"), "float32"),
        ("jax", jax("tpu"), "mixed_bfloat16"),
        ("jax", jax("gpu", "7.5"), "float32"),
        ("jax", jax("gpu", "12.0"), "mixed_bfloat16"),
        ("jax", jax("gpu", "gfx90a"), "float32"),
        ("torch", torch(), "of the processor"),
        ("torch", torch((7, 5)), "float32"),
        ("torch", torch((9, 0)), "mixed_bfloat16"),
        ("torch", torch((9, 0), hip="6.2"), "float32"),
    ],
)
def test_the_fastest_precision_of_a_device(monkeypatch, backend, library, expected):
    """Stand-ins for the libraries: there is no such device here."""
    monkeypatch.setitem(sys.modules, backend, library)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    if backend == "torch":
        monkeypatch.setattr(keras.ops, "zeros", library.zeros)
    for processor in (True, False):
        own = "mixed_bfloat16" if processor else "float32"
        assert fastest_precision(lambda it=processor: it) == (
            own if expected == "of the processor" else expected
        )


def test_other_arguments_are_refused(run):
    with pytest.raises(ValueError, match=r"other arguments: epochs is 1 there and 2 here"):
        train_digits(run[0], epochs=2, batch_size=64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"image_size": 64}, "at least 75"),
        ({"precision": "int8"}, "precision='int8'.*mixed_bfloat16"),
        ({"augment": "cutmix"}, "augment='cutmix'.*photographs, symbols, none"),
    ],
)
def test_a_wrong_argument_writes_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        train_digits(tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(ValueError, match=r"is not empty and holds no run"):
        RunFolder(tmp_path, {}, crop=1.0)
    with pytest.raises(ValueError, match=r"thesis\.tex is a file"):
        RunFolder(tmp_path / "thesis.tex", {}, crop=1.0)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("name", [".DS_Store", ".gitkeep", ".nfs0001", ".cache"])
def test_hidden_files_are_no_run(tmp_path, name):
    (tmp_path / name).touch()
    RunFolder(tmp_path, {}, crop=1.0).begin({})
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("key", ["data", "weights"])
@pytest.mark.parametrize("spelled", ["photos/", "./photos", "photos//", "x/../photos"])
def test_a_path_is_the_same_however_it_is_spelled(tmp_path, key, spelled):
    RunFolder(tmp_path, {key: "photos", "seed": 0}, crop=1.0).begin({})
    RunFolder(tmp_path, {key: spelled, "seed": 0}, crop=1.0)
    with pytest.raises(ValueError, match=f"{key} is 'photos' there and 'photos2' here"):
        RunFolder(tmp_path, {key: "photos2", "seed": 0}, crop=1.0)
    with pytest.raises(ValueError, match=f"{key} is 'photos' there and None here"):
        RunFolder(tmp_path, {key: None, "seed": 0}, crop=1.0)


def test_a_run_killed_while_it_began_begins_again(tmp_path):
    left = tmp_path / ".config.json-abc.unfinished"
    left.mkdir()
    run = RunFolder(tmp_path, {}, crop=1.0)
    run.begin({"train": {}})
    assert sorted(os.listdir(tmp_path)) == ["config.json", "data.json"]
    with pytest.raises(ValueError, match="images have changed"):
        run.begin({"train": {"a": 1}})


def test_the_policy_is_put_back_after_a_failure():
    names = []

    def fail():
        with dtype_policy("mixed_bfloat16"):
            names.append(keras.config.dtype_policy().name)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert names == ["mixed_bfloat16"]
    assert keras.config.dtype_policy().name == "float32"


def test_label_smoothing_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1]], "float32")
    target = np.array([0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3])
    expected = -np.sum(target * np.log(probabilities[0]))
    found = TASKS["single-label"].loss(3, smoothing=0.1)(np.array([1]), probabilities)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [expected], rtol=1e-5)


def train_on_few_digits(output):
    scans, labels = digit_scans()
    few = partial(read_images, scans=lambda: (scans[::12], labels[::12]))
    settings = Settings(data="digits", weights=None, epochs=1, seed=5, deterministic=True)
    run_settings(settings, output, parts=Parts(few))


@pytest.mark.slow
def test_deterministic_runs_agree(tmp_path):
    """In processes of their own: TensorFlow cannot take determinism back. Every twelfth scan.

    On the thin network; `python -m benchmarks digits` does it at full width.
    """
    first, second = (tmp_path / name for name in ("first", "second"))
    for output in (first, second):
        process = Forked(train_on_few_digits, output, depth="shallow")
        _, err = process.communicate()
        assert process.returncode == 0, err
    reports = [read_json(output / "report.json") for output in (first, second)]
    for name in ("accuracy", "confusion_matrix", "calibration_error"):
        assert reports[0][name] == reports[1][name]
    weights = [
        keras.saving.load_model(output / "model.keras").get_weights() for output in (first, second)
    ]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("shallow")
def test_shapes_follow_the_data_format(data_format):
    assert scratch_model(10, 75).input_shape == (None, *ordered(75, 75, 3))
