"""Many devices and many processes train like one: the command on JAX, on this machine's CPUs.

Each epoch is one step, so the history is the loss curve of 20 steps. `parallel.py` says which
network is trained.
"""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from keras_inception_v4.data.digits import digit_scans
from keras_inception_v4.data.pipeline import batched
from keras_inception_v4.data.sources import Images, LabelledData
from keras_inception_v4.files import read_json
from keras_inception_v4.runs import phases
from keras_inception_v4.runs.folder import RunFolder
from keras_inception_v4.runs.phases import Watching
from keras_inception_v4.training import devices, processes

STEPS = 20


@pytest.fixture(autouse=True, scope="module")
def _compiled_once(tmp_path_factory):
    """All processes of these tests share what JAX has compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder with 12 training and 6 held-out scans of two digits."""
    pytest.importorskip("jax", reason="many devices need JAX")
    folder = tmp_path_factory.mktemp("scans") / "photos"
    images, labels = digit_scans()
    for digit, name in enumerate(("zero", "one")):
        for index, which in enumerate(np.flatnonzero(labels == digit)[:9]):
            path = folder / ("train" if index < 6 else "validation") / name / f"{which}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[which]).resize((120, 120)).save(path)
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


FROM_SCRATCH = ("--weights", "none", "--recipe", "paper", "--batch-size", "8")


def start(scans, output, *options, kind=FROM_SCRATCH, epochs=STEPS, devices=1):
    command = [sys.executable, str(Path(__file__).with_name("parallel.py")), "train", str(scans),
               "--image-size", "107", *kind, "--epochs", str(epochs), "--augment", "symbols",
               "--precision", "float32", "--output", str(output), *options]  # fmt: skip
    flags = [f"--xla_force_host_platform_device_count={devices}"]
    if kind != FROM_SCRATCH:  # many layers: compiled as quickly as can be
        flags.append("--xla_backend_optimization_level=0")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "NPROC": "16",  # threads: on as few as devices XLA waits for itself, now and then
        "XLA_FLAGS": " ".join(flags),
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_two(scans, output, *options, **arguments):
    port = free_port()
    return [
        start(scans, output, "--coordinator", f"localhost:{port}", "--processes", "2",
              "--process-id", str(index), *options, **arguments)
        for index in range(2)
    ]  # fmt: skip


def finish(*processes):
    """What each printed, after all of them ended well."""
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=1500)
        assert process.returncode == 0, err[-3000:]
        printed.append(out + err)
    return printed


def losses(run, column="loss"):
    with (run / "history.csv").open() as file:
        return np.array([float(row[column]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def alone(scans, tmp_path_factory):
    """The run of one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    finish(start(scans, run))
    return run


def statistics(run):
    """What batch norm knows of the images."""
    model = keras.saving.load_model(run / "model.keras", compile=False)
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.non_trainable_weights
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two devices", "two processes"])
def test_they_follow_the_losses_of_one_device(scans, alone, tmp_path, kind):
    run = tmp_path / "run"
    if kind == "two devices":
        (printed,) = finish(start(scans, run, devices=2))
        assert "8 images a step, on 2 devices of 1 processes." in printed
    else:
        printed, other = finish(*start_two(scans, run))
        assert "8 images a step, on 2 devices of 2 processes." in printed
        assert "images a step" not in other
        assert "held-out accuracy" in other
    expected = losses(alone)
    assert len(expected) == STEPS
    assert np.ptp(expected) > 0.02  # it moved
    np.testing.assert_allclose(losses(run), expected, rtol=1e-4)
    np.testing.assert_allclose(losses(run, "val_loss"), losses(alone, "val_loss"), rtol=1e-4)
    # Batch norm's statistics of half a batch would differ by far more.
    found, expected = statistics(run), statistics(alone)
    assert len(found) == len(expected) == 2
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1e-3 * np.abs(value).max(), name
    assert read_json(run / "report.json")["images"] == 6


@pytest.fixture(scope="module")
def transfer(shallow_file):
    """Options of a training from trained weights, every epoch a step of all images."""
    return ("--weights", str(shallow_file), "--head-epochs", str(STEPS), "--batch-size", "12",
            "--image-size", "75", "--learning-rate", "0.001")  # fmt: skip


@pytest.fixture(scope="module")
def tuned_alone(scans, transfer, tmp_path_factory):
    run = tmp_path_factory.mktemp("tuned_alone") / "run"
    finish(start(scans, run, kind=transfer))
    return run


@pytest.mark.slow
def test_transfer_on_two_processes_of_two_devices_follows_one(
    scans, transfer, tuned_alone, tmp_path
):
    """Both phases, with drawn augmentation and dropout."""
    run = tmp_path / "run"
    printed, _ = finish(*start_two(scans, run, kind=transfer, devices=2))
    assert "12 images a step, on 4 devices of 2 processes." in printed
    expected = losses(tuned_alone)
    assert len(expected) == 2 * STEPS
    assert np.ptp(expected[:STEPS]) > 0.1
    assert np.ptp(expected[STEPS:]) > 0.1
    for column in ("loss", "val_loss"):
        found, expected = losses(run, column), losses(tuned_alone, column)
        np.testing.assert_allclose(found[:STEPS], expected[:STEPS], rtol=1e-5)
        np.testing.assert_allclose(found[STEPS:], expected[STEPS:], rtol=1e-4)
    heads = [
        keras.saving.load_model(folder / "model.keras", compile=False).get_layer("predictions")
        for folder in (run, tuned_alone)
    ]
    for found, expected in zip(*(head.get_weights() for head in heads), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_one_of_two_is_killed_in_fine_tuning(scans, transfer, tmp_path):
    """What both had made of the frozen blocks serves one process of two devices that goes on."""
    run, kept = tmp_path / "run", ("--augment", "none")
    processes = start_two(scans, run, *kept, kind=transfer, epochs=6)
    wait_for(run / "checkpoints" / "fine_tuning.safetensors", processes)
    processes[1].send_signal(signal.SIGKILL)
    _, err = processes[0].communicate(timeout=120)
    assert processes[0].returncode == 1
    assert "error: Another process of this run has ended" in err, err[-3000:]
    features = {path.name for path in (run / "checkpoints").glob("*.features*")}
    names = ("train", "validation", "fine_tuning.0", "fine_tuning.validation")
    assert features == {f"{name}.features{end}" for name in names for end in ("", ".json")}
    finish(start(scans, run, *kept, kind=transfer, epochs=6, devices=2))
    assert read_json(run / "report.json")["epochs"] == {"head": STEPS, "fine-tuning": 6}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_follow_one_device_too(scans, tmp_path, task):
    rows = ["file,split,label,ink"]
    for path in sorted(scans.rglob("*.png")):
        several = f"{path.parent.name}|odd" if int(path.stem) % 2 else path.parent.name
        place, ink = path.relative_to(scans), np.mean(Image.open(path))
        rows.append(f"{place},{path.parents[1].name},{several},{ink:.4f}")
    (tmp_path / "a.csv").write_text("\n".join(rows))
    options = ["--images", str(scans), "--task", task]
    options += ["--label-column", "ink"] if task == "regression" else []
    for count, name in enumerate(("one", "two"), start=1):
        finish(start(tmp_path / "a.csv", tmp_path / name, *options, epochs=8, devices=count))
    expected = losses(tmp_path / "one")
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(losses(tmp_path / "two"), expected, rtol=1e-4)
    held_out = [losses(tmp_path / name, "val_loss") for name in ("one", "two")]
    np.testing.assert_allclose(*held_out, rtol=1e-4)


def wait_for(file, processes):
    deadline = time.monotonic() + 900
    while not file.exists():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 0])
def test_one_of_two_is_killed(scans, tmp_path, killed):
    run = tmp_path / "run"
    processes = start_two(scans, run, epochs=6)
    checkpoint = run / "checkpoints" / "from_scratch.safetensors"
    wait_for(checkpoint, processes)
    processes[killed].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    out, err = processes[1 - killed].communicate(timeout=120)
    assert time.monotonic() - killed_at < 120
    assert processes[1 - killed].returncode == 1, (out, err)
    assert "error: Another process of this run has ended" in err, err[-3000:]
    assert "they resume after the last finished epoch" in err
    assert not (run / "report.json").exists()
    with safe_open(checkpoint, framework="numpy") as file:
        before = json.loads(file.metadata()["state"])["history"]["loss"]
    if killed:
        finish(*start_two(scans, run, epochs=6))
    else:  # another number of processes and devices goes on too
        finish(start(scans, run, epochs=6, devices=4))
    assert len(losses(run)) == 6
    assert 1 <= len(before) < 6
    np.testing.assert_allclose(losses(run)[: len(before)], before, rtol=1e-5)
    assert read_json(run / "report.json")["epochs"] == {"from scratch": 6}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["their arguments", "their run folder"])
def test_processes_that_differ_stop(scans, tmp_path, what):
    port = free_port()
    arguments = what == "their arguments"
    processes = [
        start(scans, tmp_path / ("run" if arguments else f"run{index}"), "--coordinator",
              f"localhost:{port}", "--processes", "2", "--process-id", str(index), "--seed",
              str(index if arguments else 0))
        for index in range(2)
    ]  # fmt: skip
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 1
        assert f"error: Processes 0 and 1 differ in {what}" in err


@pytest.mark.slow
def test_a_batch_that_does_not_fit_the_devices_writes_nothing(scans, tmp_path):
    process = start(scans, tmp_path / "run", "--batch-size", "9", devices=2)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: Received batch_size=9. It must be a multiple of the 2 devices" in err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def many(monkeypatch):
    """As a process of two, with four devices each."""
    monkeypatch.setattr(devices, "count_devices", lambda: 8)
    monkeypatch.setattr(devices, "part", lambda: (1, 2))
    return monkeypatch


def test_what_devices_share(many):
    arrays = (np.zeros((10, 4, 4, 3)), np.zeros(10))
    assert devices.can_share(8, arrays)
    assert devices.can_share(8, Images(*arrays), arrays)
    assert devices.share(True) == {"last": "dropped", "part": (1, 2)}
    assert devices.share(True, held_out=True) == {"last": "padded", "part": (1, 2)}
    assert devices.share(False) == devices.share(False, held_out=True) == {}
    with pytest.raises(ValueError, match=r"batch_size=12\. It must be a multiple of the 8 devices"):
        devices.can_share(12, arrays)
    own = [(arrays[0], arrays[1])]
    for data in ((iter(own), None), (arrays, iter(own))):
        with pytest.raises(ValueError, match=r"list_iterator and many processes.* Pass arrays or"):
            devices.can_share(8, *data)
    many.setattr(devices, "part", lambda: (0, 1))
    assert not devices.can_share(12, iter(own))  # on one device, which shares nothing
    many.setattr(keras.distribution, "distribution", lambda: "the user's")
    assert not devices.can_share(8, arrays)
    many.setattr(devices, "count_devices", lambda: 1)
    assert not devices.can_share(12, arrays)
    assert devices.share(True) == {}


@pytest.mark.parametrize("count", [1, 8])
def test_batches_that_the_images_do_not_fill(many, count):
    many.setattr(devices, "count_devices", lambda: count)
    with pytest.raises(ValueError, match=r"batch_size=16 and 10 training.* lower batch_size"):
        devices.check_batch(16, 10, whole=True)
    with pytest.raises(ValueError, match=r"batch_size=16 and 10 training.* lower batch_size"):
        batched(Images(np.zeros((10, 4, 4, 3)), np.zeros(10)), 16, last="dropped")
    devices.check_batch(8, 10, whole=True)


def test_a_backend_of_one_device_names_what_it_leaves_idle(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(devices, "count_idle", lambda: 3)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    run = RunFolder(tmp_path / "run", {}, crop=1.0, writes=True, environment={})
    images = Images(np.zeros((10, 4, 4, 3)), np.zeros(10))
    phases._begin(run, LabelledData(images, images, ["a", "b"], 1.0, []), 8, Watching(verbose=1))
    assert "one GPU and leaves 3 idle, as always on torch." in capsys.readouterr().err


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="asks TensorFlow")
@pytest.mark.parametrize(("seen", "idle"), [(0, 0), (1, 0), (4, 3)])
def test_idle_gpus_are_those_beside_the_first(monkeypatch, seen, idle):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * seen)
    assert devices.count_idle() == idle


class JaxRuntimeError(RuntimeError):
    """Named as JAX's."""


def raised(first, second):
    """An error that came while another one was on its way."""
    try:
        try:
            raise first
        except Exception:
            raise second from None
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (JaxRuntimeError("Gloo: closed"), OSError, "Another process .*Gloo: closed"),
        (raised(JaxRuntimeError("closed"), TypeError("None")), OSError, "Another process .*closed"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: 8 GB"), RuntimeError, "RESOURCE_EXHAUSTED: 8 GB"),
        (
            ValueError("UNKNOWN: Gloo AllGather failed"),
            OSError,
            "Another process .*AllGather failed",
        ),
        (ValueError("batch_size=9"), ValueError, "^batch_size=9$"),
        (ZeroDivisionError("a bug"), RuntimeError, "^ZeroDivisionError: a bug$"),
    ],
)
def test_what_a_process_tells_of_an_error(error, kind, message):
    told = processes._told(error)
    assert type(told) is kind
    assert re.search(message, str(told))


@pytest.mark.parametrize(
    ("news", "status", "message"),
    [
        ("joined", -signal.SIGABRT, "Another process of this run has ended"),
        ("joined", -signal.SIGSEGV, "Another process of this run has ended"),
        ("started", -signal.SIGABRT, "Process 1 of 2 did not connect to the others at host:4321"),
        ("joined", -signal.SIGKILL, "status -9, as happens when memory runs out"),
        ("joined", 1, "status 1"),
    ],
)
def test_what_a_process_tells_of_a_crash(news, status, message):
    assert message in processes._what_ended(news, status, ("host:4321", 2, 1))
