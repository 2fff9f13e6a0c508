"""Artefacts: their outputs, what is rejected, and what a failure leaves."""

import contextlib
import gc
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from forked import Forked
from PIL import Image
from tiny import tiny

from keras_inception_v4 import (
    export_model,
    export_saved_model,
    load_image,
    open_artefact,
)
from keras_inception_v4.artefacts import runtimes
from keras_inception_v4.cli import main
from keras_inception_v4.export import EXPORTS, formats, next_version
from keras_inception_v4.export.saved_model import central_window
from keras_inception_v4.export.small_onnx import SETTINGS
from keras_inception_v4.preprocessing import resize_image
from keras_inception_v4.training.augmentation import augmentation_layers

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports go through TensorFlow"
)
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx"}
EVERY = [(format, precision) for format, kinds in EXPORTS.items() for precision in kinds]


def sharp(**arguments):
    """A tiny model whose answers differ widely from image to image."""
    model = tiny(**arguments)
    rng = np.random.default_rng(0)
    dense = model.get_layer("predictions")
    dense.kernel.assign(3 * rng.normal(size=dense.kernel.shape))
    return model


def pictures(count, height=75, width=75, seed=0):
    """Smooth ones, each with a colour of its own."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [resize_image(rng.uniform(0, 255, (3, 4, 3)), (height, width), 1.0) for _ in range(count)]
    )


def encoded(pixels, format):
    file = io.BytesIO()
    Image.fromarray(np.round(pixels).astype("uint8")).save(file, format)
    return file.getvalue()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = sharp()
    model.save(folder / "model.keras")
    export_saved_model(model, folder / "saved", class_names=["ant", "bee", "cat"], top_k=2)
    files = {}
    for index, (kind, suffix) in enumerate(
        [("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp")]
    ):
        path = folder / f"{index}.{suffix}"
        path.write_bytes(encoded(pictures(1, 90 + 7 * index, 110, index)[0], kind))
        files[path.name] = load_image(path, (75, 75))
    return folder, model, files


class TestSavedModel:
    def test_each_weight_is_saved_once(self, exported):
        folder, model, _ = exported
        (variables,) = (folder / "saved" / "variables").glob("variables.data-*")
        weights = 4 * sum(w.shape.num_elements() for w in (v.value for v in model.weights))
        assert variables.stat().st_size < weights + 10_000

    def test_every_signature_in_a_process_without_this_package(self, exported):
        folder, model, files = exported
        np.save(folder / "x.npy", pictures(2))
        np.save(folder / "wide.npy", np.round(pictures(64, 120, 160)).astype("uint8"))
        code = f"""
import json, sys
sys.modules["keras_inception_v4"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
serve = tf.saved_model.load("saved").signatures
names = {list(files)!r}
content = [open(name, "rb").read() for name in names]
def answer(signature, **inputs):
    found = serve[signature](**{{k: tf.constant(v) for k, v in inputs.items()}})
    return {{k: [[x.decode() if isinstance(x, bytes) else float(x) for x in row]
                for row in v.numpy()] for k, v in found.items()}}
out = {{"inputs": {{s: list(f.structured_input_signature[1]) for s, f in serve.items()}}}}
out["default"] = answer("serving_default", inputs=np.load("x.npy"))
out["wide"] = answer("serve_images", images=np.load("wide.npy"))
out["one"] = answer("serve_images", images=np.load("wide.npy")[:1])
out["bytes"] = answer("serve_bytes", image_bytes=content)
try:
    answer("serve_bytes", image_bytes=[content[0], b"\\xff\\xd8 damaged"])
except tf.errors.InvalidArgumentError as error:
    out["error"] = str(error)
out["after"] = answer("serve_bytes", image_bytes=content * 16)
print(json.dumps(out))
"""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        out = json.loads(done.stdout.splitlines()[-1])
        assert out["inputs"] == {
            "serving_default": ["inputs"],
            "serve_images": ["images"],
            "serve_bytes": ["image_bytes"],
        }
        assert list(out["default"]) == ["probabilities"]
        np.testing.assert_allclose(
            out["default"]["probabilities"], model.predict_on_batch(pictures(2)), atol=1e-5
        )
        expected = model.predict_on_batch(np.stack(list(files.values())))
        assert np.ptp(expected, axis=0).max() > 0.1  # it tells the files apart
        np.testing.assert_allclose(out["bytes"]["probabilities"], expected, atol=1e-3)
        for row, names, scores in zip(
            expected, out["bytes"]["classes"], out["bytes"]["scores"], strict=True
        ):
            best = np.argsort(-row)[:2]
            assert names == [["ant", "bee", "cat"][index] for index in best]
            np.testing.assert_allclose(scores, row[best], atol=1e-3)
        wide = np.load(folder / "wide.npy")
        expected = model.predict_on_batch(
            np.stack([resize_image(image, (75, 75)) for image in wide])
        )
        np.testing.assert_allclose(out["wide"]["probabilities"], expected, atol=1e-3)
        np.testing.assert_allclose(out["one"]["probabilities"], expected[:1], atol=1e-3)
        assert "Invalid" in out["error"] or "JPEG" in out["error"]
        np.testing.assert_allclose(
            out["after"]["probabilities"], out["bytes"]["probabilities"] * 16, atol=1e-5
        )

    @pytest.mark.parametrize("shape", [(400, 300), (80, 501), (75, 75), (33, 20), (86, 87)])
    @pytest.mark.parametrize("crop", [0.875, 1.0])
    def test_the_window_is_load_image_s(self, shape, crop):
        pixels = np.random.default_rng(0).uniform(0, 255, (*shape, 3)).astype("float32")
        found = central_window(tf.constant(pixels[None]), 75, 81, crop)[0].numpy()
        np.testing.assert_allclose(found, resize_image(pixels, (75, 81), crop), atol=0.02)

    def test_names_are_the_bytes_of_their_folders(self, tmp_path):
        names = [b"caf\xe9", b"$5_$10", "größer".encode()]
        export_saved_model(
            sharp(), tmp_path / "saved", class_names=[os.fsdecode(name) for name in names], top_k=3
        )
        serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve_images"]
        found = serve(images=tf.zeros((1, 75, 75, 3), "uint8"))
        assert set(found["classes"].numpy().ravel()) == set(names)

    def test_indices_as_text_and_models_of_the_narrow_range(self, tmp_path):
        model = sharp(raw=False)
        export_saved_model(model, tmp_path / "saved", top_k=9)
        serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve_images"]
        pixels = np.round(pictures(3))
        found = serve(images=tf.constant(pixels.astype("uint8")))
        assert {name.decode() for name in found["classes"].numpy().ravel()} == {"0", "1", "2"}
        expected = model.predict_on_batch(
            np.stack([resize_image(image, (75, 75)) for image in pixels]) / 127.5 - 1
        )
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-3)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"class_names": ["ant"]}, "1 class_names for a model of 3 classes"),
            ({"top_k": 0}, "top_k=0"),
            ({"crop": 0}, "crop=0"),
        ],
    )
    def test_wrong_arguments(self, tmp_path, arguments, message):
        with pytest.raises(ValueError, match=message):
            export_saved_model(tiny(), tmp_path / "saved", **arguments)
        assert not (tmp_path / "saved").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder as a run leaves it: a model, what it recorded, and images."""
    folder = tmp_path_factory.mktemp("run")
    sharp().save(folder / "model.keras")
    (folder / "class_names.json").write_text('["ant", "bee", "cat"]')
    (folder / "config.json").write_text('{"crop": 1.0, "arguments": {}}')
    (folder / "photos").mkdir()
    for index, pixels in enumerate(np.round(pictures(24, 80, 90)).astype("uint8")):
        Image.fromarray(pixels).save(folder / "photos" / f"{index:02}.png")
    shutil.copytree(folder / "photos", folder / "examples")
    return folder


@pytest.mark.parametrize(("format", "precision"), EVERY)
def test_every_artefact_answers_through_predict(run, tmp_path, capsys, format, precision):
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    arguments = ["export", str(run / "model.keras"), str(path), "--format", format,
                 "--precision", precision]  # fmt: skip
    if precision == "int8":
        arguments += ["--calibration", str(run / "photos")]
    status = main(arguments)
    out, err = capsys.readouterr()
    assert status == 0, err
    assert f"{format}, {precision}" in out
    assert "same top class" in out
    artefact = open_artefact(path)
    assert artefact.description.class_names == ["ant", "bee", "cat"]
    assert artefact.description.crop == 1.0
    answers = []
    exact = ["--precision", "float32"] if (format, precision) == ("openvino", "float32") else []
    for model, options in ((run / "model.keras", []), (path, exact)):
        assert main(["predict", "--model", str(model), "--format", "json", "--top", "3", *options,
                     str(run / "photos")]) == 0  # fmt: skip
        found = json.loads(capsys.readouterr().out)
        answers.append([{one["class"]: one["probability"] for one in a["top"]} for a in found])
    tolerance = {"float32": 1e-3, "float16": 2e-2, "int8": 0.15}[precision]
    for expected, found in zip(*answers, strict=True):
        assert expected.keys() == found.keys() == {"ant", "bee", "cat"}
        for name, probability in expected.items():
            assert abs(found[name] - probability) <= tolerance
    assert main([*arguments]) == 1
    assert "exists. Name another place" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == [path.name]


def test_openvino_takes_a_precision(run, tmp_path, capsys, monkeypatch):
    path = tmp_path / "network"
    export_model(tiny(), path, format="openvino", verbose=False)
    import openvino

    assert not sys.modules.get("openvino_telemetry")
    image = str(run / "photos" / "00.png")
    hints = []
    compile_model = openvino.Core.compile_model

    def spy(core, network, device, config):
        hints.append(config.get("INFERENCE_PRECISION_HINT"))
        return compile_model(core, network, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    for precision in ("float32", "bfloat16"):
        assert main(["predict", "--model", str(path), "--precision", precision, image]) == 0
    assert hints == ["f32", "bf16"]
    assert main(["predict", "--model", str(run / "model.keras"), "--precision", "bfloat16",
                 image]) == 1  # fmt: skip
    capsys.readouterr()
    export_saved_model(tiny(), tmp_path / "saved")
    with pytest.raises(ValueError, match="Only OpenVINO artefacts take a precision"):
        open_artefact(tmp_path / "saved", precision="bfloat16")


FRONTS = {
    "ours": lambda: augmentation_layers("photographs"),
    "symbols": lambda: augmentation_layers("symbols"),
    "own": lambda: [keras.layers.RandomContrast(0.5), keras.layers.GaussianNoise(0.9)],
    "colours": lambda: [keras.layers.RandomHue(0.1), keras.layers.RandomBrightness(0.1)],
    "pipeline": lambda: [keras.layers.Pipeline([keras.layers.RandomFlip()])],
    "nested": lambda: [keras.Sequential([keras.Input((75, 75, 3)), keras.layers.RandomFlip()])],
}


@pytest.mark.parametrize(
    ("format", "front"),
    [
        *((format, front) for format in ("saved_model", "onnx") for front in FRONTS),
        *((format, front) for format in ("litert", "openvino") for front in ("ours", "own")),
    ],
)
def test_layers_that_only_training_uses_are_left_out(tmp_path, format, front):
    plain = sharp()
    x = inputs = keras.Input((75, 75, 3))
    for layer in FRONTS[front]():
        x = layer(x)
    copies = [type(layer).from_config(layer.get_config()) for layer in plain.layers[1:]]
    for layer in copies:
        x = layer(x)
    for copy, layer in zip(copies, plain.layers[1:], strict=True):
        copy.set_weights(layer.get_weights())
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    export_model(keras.Model(inputs, x), path, format=format, verbose=False)
    exact = {"precision": "float32"} if format == "openvino" else {}
    found = open_artefact(path, **exact).predict(pictures(2))
    np.testing.assert_allclose(found, plain.predict_on_batch(pictures(2)), atol=1e-4)


@pytest.mark.parametrize("format", ["saved_model", "onnx"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_has_diverged_is_refused(tmp_path, format, value):
    model = tiny()
    bias = np.zeros(3, "float32")
    bias[1] = value
    model.get_layer("predictions").bias.assign(bias)
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    with pytest.raises(ValueError, match="1 of 3 weights of 'tiny' in 'predictions' are not fin"):
        export_model(model, path, format=format, verification=False)
    assert os.listdir(tmp_path) == []


def brightness():
    """Pictures from dark to bright, and a model whose kernels are 1: is one brighter than 200?"""
    model = tiny()
    kernel = model.get_layer("mixed_7d_branch_0_conv2d_0a_1x1_conv").kernel
    kernel.assign(np.full(kernel.shape, 1 / np.prod(kernel.shape[:3])))
    dense = np.zeros((kernel.shape[-1], 3))
    dense[:, 0] = 40 / len(dense)
    model.get_layer("predictions").set_weights([dense, np.array([-40 * (200 / 127.5 - 1), 0, -5])])
    levels = np.concatenate([np.linspace(10, 190, 16), np.linspace(210, 245, 16)])
    noise = np.random.default_rng(0).uniform(-9, 9, (32, 75, 75, 3))
    return model, (levels[:, None, None, None] + noise).astype("float32")


def test_int8_in_onnx_says_how_its_weights_are_rounded(tmp_path):
    path = tmp_path / "artefact.onnx"
    options = {"format": "onnx", "precision": "int8", "calibration": pictures(32), "verbose": False}
    export_model(sharp(), path, **options)
    assert open_artefact(path).description.quantization == next(iter(SETTINGS))
    assert os.listdir(tmp_path) == ["artefact.onnx"]


def test_rounding_that_saturates_is_not_kept(tmp_path, monkeypatch):
    """Signed weights of all eight bits, where pairs of products are added in sixteen."""
    (model, given), path = brightness(), tmp_path / "artefact.onnx"
    options = {"format": "onnx", "precision": "int8", "calibration": given, "verbose": False}
    export_model(model, path, **options)
    assert open_artefact(path).description.quantization == next(iter(SETTINGS))
    for name in list(SETTINGS):
        monkeypatch.delitem(SETTINGS, name)
    monkeypatch.setitem(SETTINGS, "all bits", {"weight_type": "QInt8", "per_channel": True})
    with (
        contextlib.nullcontext()
        if adds_in_32_bits()
        else pytest.raises(
            ValueError, match=r"does not reproduce the model's outputs on 32 calibration images"
        )
    ):
        export_model(model, tmp_path / "other.onnx", **options)
    assert ("other.onnx" in os.listdir(tmp_path)) == adds_in_32_bits()


def adds_in_32_bits():
    """Whether this processor's int8 products never saturate: with VNNI, or none of x86."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return "vnni" in Path("/proc/cpuinfo").read_text()


@pytest.mark.parametrize("frozen", [True, False])
def test_onnx_leaves_the_garbage_collector_as_it_was(tmp_path, frozen):
    gc.freeze() if frozen else gc.unfreeze()
    before = gc.isenabled(), gc.get_freeze_count() > 0
    export_model(tiny(), tmp_path / "model.onnx", format="onnx", verbose=False)
    assert (gc.isenabled(), gc.get_freeze_count() > 0) == before == (False, frozen)
    gc.freeze()  # as `conftest` left it


def test_an_onnx_file_is_loaded_once(tmp_path):
    export_model(tiny(), tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession
    with mock.patch.object(onnxruntime, "InferenceSession", side_effect=session) as loads:
        assert open_artefact(tmp_path / "model.onnx").description.classes == 3
    assert loads.call_count == 1


def test_a_saved_model_traces_the_network_once(tmp_path):
    pool = keras.layers.GlobalAveragePooling2D
    model = tiny()
    with mock.patch.object(pool, "call", autospec=True, side_effect=pool.call) as calls:
        export_saved_model(model, tmp_path / "saved")
    assert calls.call_count == 1


def test_float16_in_onnx_is_half_as_large_and_takes_float32(tmp_path):
    model = tiny()
    for precision in ("float32", "float16"):
        export_model(model, tmp_path / f"{precision}.onnx", format="onnx", precision=precision,
                     verbose=False)  # fmt: skip
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("float16", "float32")]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.02)
    (given,) = onnxruntime.InferenceSession(tmp_path / "float16.onnx").get_inputs()
    assert given.type == "tensor(float)"


def test_weights_swapped_on_purpose_fail(tmp_path, monkeypatch):
    model, other = sharp(), sharp()
    kernel = other.get_layer("predictions").kernel
    kernel.assign(keras.ops.flip(kernel, axis=1))
    write = formats.WRITERS["onnx"]
    monkeypatch.setitem(formats.WRITERS, "onnx", lambda _, *arguments: write(other, *arguments))
    (tmp_path / "model.onnx").write_text("the old one")
    with pytest.raises(
        ValueError, match=r"does not reproduce.*16 synthetic images.*Nothing was writ"
    ):
        export_model(model, tmp_path / "model.onnx", format="onnx", overwrite=True, verbose=False)
    assert (tmp_path / "model.onnx").read_text() == "the old one"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_calibration_on_garbage_fails(run, tmp_path):
    """Dim noise, and nothing; what is brighter the verification finds, see test_digits."""
    path = tmp_path / "artefact.tflite"
    options = {"format": "litert", "precision": "int8", "verbose": False}
    noise = np.random.default_rng(0).uniform(0, 30, (32, 75, 75, 3))
    with pytest.raises(ValueError, match=r"reach from 0 to 30, and \d\d% of the samples' pixels"):
        export_model(sharp(), path, calibration=noise, samples=run / "photos", **options)
    with pytest.raises(ValueError, match="calibration images are all alike"):
        export_model(sharp(), path, calibration=np.zeros((32, 75, 75, 3)), **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "coreml"}, "format='coreml'.*saved_model, litert, onnx, openvino"),
        ({"format": "saved_model", "precision": "int8"},
         "saved_model does not support precision='int8'.*litert: "),
        ({"format": "litert", "precision": "int8"}, "int8 needs calibration"),
        ({"format": "litert", "precision": "int8", "calibration": np.zeros((3, 75, 75, 3))},
         "Received 3 calibration images. int8 needs at least 16"),
        ({"format": "onnx", "calibration": np.zeros((0, 75, 75, 3))}, "calibration of shape"),
    ],
)  # fmt: skip
def test_wrong_arguments(tmp_path, arguments, message):
    path = tmp_path / f"artefact{SUFFIXES.get(arguments['format'], '')}"
    with pytest.raises(ValueError, match=message):
        export_model(tiny(), path, verbose=False, **arguments)
    assert os.listdir(tmp_path) == []


def test_wrong_places_and_sizes(tmp_path, capsys, run):
    with pytest.raises(ValueError, match=r"For litert it must end in \.tflite"):
        export_model(tiny(), tmp_path / "x.onnx", format="litert")
    with pytest.raises(ValueError, match=r"LiteRT needs a fixed size.*\(None, None, 3\)"):
        export_model(tiny(size=None), tmp_path / "x.tflite", format="litert")
    (tmp_path / "empty").mkdir()
    arguments = ["export", str(run / "model.keras"), str(tmp_path / "x.tflite"), "--format",
                 "litert", "--precision", "int8", "--calibration"]  # fmt: skip
    assert main([*arguments, str(tmp_path / "empty")]) == 1
    assert "holds no images" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "gone")]) == 1
    assert "There is no folder" in capsys.readouterr().err
    assert main(["export", str(run / "model.keras"), str(run), "--format", "saved_model",
                 "--overwrite"]) == 1  # fmt: skip
    assert "is a folder that holds no artefact" in capsys.readouterr().err
    assert (run / "model.keras").exists()
    assert os.listdir(tmp_path) == ["empty"]
    model = tiny()
    backbone = keras.Model(model.inputs, model.get_layer("mixed_7d").output)
    with pytest.raises(ValueError, match="has no classifier"):
        export_model(backbone, tmp_path / "x.onnx", format="onnx")
    model.get_layer("predictions").activation = keras.activations.linear
    with pytest.raises(ValueError, match="outputs logits"):
        export_saved_model(model, tmp_path / "saved")


@pytest.mark.parametrize("format", ["litert", "onnx", "openvino"])
def test_a_missing_runtime_names_its_extra(tmp_path, monkeypatch, format):
    monkeypatch.setitem(sys.modules, runtimes.EXTRAS[format][1], None)
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    with pytest.raises(ImportError, match=rf"keras-inception-v4\[{format}\]"):
        export_model(tiny(), path, format=format)


def test_another_backend_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="need the TensorFlow backend, and this is jax"):
        export_model(tiny(), tmp_path / "x.onnx", format="onnx")


@pytest.mark.parametrize("format", ["tf_saved_model", "litert", "onnx", "openvino"])
def test_damaged_artefacts_are_named(tmp_path, format):
    """The SavedModel by Keras's name for it."""
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    export_model(tiny(), path, format=format, verification=False)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in files:
        os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=f"{path.name}.* damaged"):
        open_artefact(path)
    with pytest.raises(FileNotFoundError, match="no artefact"):
        open_artefact(tmp_path / "gone.onnx")
    with pytest.raises(ValueError, match="is no artefact"):
        open_artefact(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare")
@pytest.mark.parametrize("format", ["saved_model", "litert", "onnx", "openvino", "web"])
def test_a_full_disk_is_one_line_and_leaves_nothing(run, tmp_path, format):
    disk = tmp_path / "disk"
    disk.mkdir()
    path = disk / f"artefact{SUFFIXES.get(format, '')}"
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = (
        f'mount -t tmpfs -o size=60k none {disk} && "$@"; status=$?; '
        f"find {disk} -mindepth 1; exit $status"
    )
    command = ["-m", "keras_inception_v4", "export", str(run / "model.keras"), str(path)]
    done = subprocess.run(
        ["unshare", "--mount", *user, "sh", "-c", script, "sh", sys.executable, *command,
         "--format", format],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert str(disk) not in done.stdout


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def half_written(model, path, *_):
    path.mkdir()
    (path / "model.bin").write_bytes(b"half")
    interrupt()


def test_versions_count_up_as_servers_look_for_them(run, tmp_path, capsys):
    words = ["export", str(run / "model.keras"), str(tmp_path / "served"), "--format", "openvino"]
    for number in (1, 2):
        assert main([*words, "--versioned", "--no-verification"]) == 0
        assert f"served/{number} was written" in capsys.readouterr().out
    (tmp_path / "served" / "9").mkdir()
    (tmp_path / "served" / "notes").touch()
    assert next_version(tmp_path / "served").name == "10"
    assert open_artefact(tmp_path / "served" / "2").description.classes == 3


@pytest.mark.parametrize("moment", ["writing", "verifying"])
def test_an_interrupted_export_leaves_the_old_artefact(run, tmp_path, monkeypatch, capsys, moment):
    path = tmp_path / "artefact"
    export_model(tiny(), path, format="openvino", verification=False)
    before = (path / "model.bin").read_bytes()
    if moment == "writing":
        monkeypatch.setitem(formats.WRITERS, "openvino", half_written)
    else:
        import openvino

        monkeypatch.setattr(openvino.Core, "compile_model", lambda *_: interrupt())
    arguments = ["--format", "openvino", "--overwrite"]
    assert main(["export", str(run / "model.keras"), str(path), *arguments]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert (path / "model.bin").read_bytes() == before
    assert os.listdir(tmp_path) == ["artefact"]


def test_ctrl_c_at_any_moment_leaves_one_whole_artefact(run, tmp_path):
    """In a converter's callback it may become that library's error, or be lost: then it exports."""
    path = tmp_path / "artefact"
    export_model(tiny(), path, format="openvino", verification=False)
    before = (path / "model.bin").read_bytes()
    process = Forked(
        main, ["export", str(run / "model.keras"), str(path), "--format", "openvino", "--overwrite"]
    )
    deadline = time.monotonic() + 120
    while not [entry for entry in os.listdir(tmp_path) if entry.startswith(".artefact-")]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == ["artefact"]
    if process.returncode:
        assert (path / "model.bin").read_bytes() == before
    else:
        assert open_artefact(path).predict(pictures(1)).shape == (1, 3)


def test_the_help_prints_the_matrix(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    out = capsys.readouterr().out
    for format, precisions in EXPORTS.items():
        line = next(x for x in out.splitlines() if x.split()[:1] == [format])
        assert [w for w in line.split() if w in ("float32", "float16", "int8")] == [*precisions]


@pytest.mark.parametrize("format", ["litert", "onnx", "openvino"])
def test_an_artefact_needs_its_runtime_alone(run, tmp_path, format):
    """`predict` with it imports neither Keras nor TensorFlow, which take most of its time else."""
    path = tmp_path / f"artefact{SUFFIXES.get(format, '')}"
    export_model(tiny(), path, format=format, verbose=0)
    code = (
        "import sys\n"
        "from keras_inception_v4.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "heavy = {'keras', 'tensorflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(status)"
    )
    command = ["predict", "--model", str(path), str(run / "photos" / "00.png")]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout
    assert main(command) == 0
