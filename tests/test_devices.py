"""Many devices and many processes train as one: the command on JAX, on processors of this machine.

Each epoch is one step, so that the history is the loss curve of 20 steps. `parallel.py` says on
which network.
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
from keras_inception_v4.files import read_json
from keras_inception_v4.training import devices

STEPS = 20


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder with 10 training and 6 held-out scans of two digits."""
    pytest.importorskip("jax", reason="many devices need JAX")
    folder = tmp_path_factory.mktemp("scans") / "photos"
    images, labels = digit_scans()
    for digit, name in enumerate(("zero", "one")):
        for index, which in enumerate(np.flatnonzero(labels == digit)[:8]):
            path = folder / ("train" if index < 5 else "validation") / name / f"{which}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[which]).resize((120, 120)).save(path)
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start(scans, output, *options, epochs=STEPS, devices=1):
    command = [sys.executable, str(Path(__file__).with_name("parallel.py")), "train", str(scans),
               "--weights", "none", "--recipe", "paper", "--image-size", "107", "--batch-size", "8",
               "--epochs", str(epochs), "--augment", "symbols",
               "--precision", "float32", "--output", str(output), *options]  # fmt: skip
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
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


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 0])
def test_one_of_two_is_killed(scans, tmp_path, killed):
    run = tmp_path / "run"
    processes = start_two(scans, run, epochs=6)
    checkpoint = run / "checkpoints" / "from_scratch.safetensors"
    deadline = time.monotonic() + 900
    while not checkpoint.exists():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes[killed].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    out, err = processes[1 - killed].communicate(timeout=120)
    assert time.monotonic() - killed_at < 120
    assert processes[1 - killed].returncode == 1, (out, err)
    assert "error: Another process of this run has ended" in err, err[-3000:]
    assert "they go on after the last finished epoch" in err
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
    told = devices._told(error)
    assert type(told) is kind
    assert re.search(message, str(told))


@pytest.mark.parametrize(
    ("news", "status", "message"),
    [
        ("joined", -signal.SIGABRT, "Another process of this run has ended"),
        ("joined", -signal.SIGSEGV, "Another process of this run has ended"),
        ("started", -signal.SIGABRT, "Process 1 of 2 did not meet the others at host:4321"),
        ("joined", -signal.SIGKILL, "status -9, as when memory runs out"),
        ("joined", 1, "status 1"),
    ],
)
def test_what_a_process_tells_of_a_crash(news, status, message):
    assert message in devices._what_ended(news, status, ("host:4321", 2, 1))
