"""The download path, with the real hub client against a loopback server."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hub import serving
from safetensors.numpy import load_file

from keras_inception_v4 import IMAGENET, InceptionV4
from keras_inception_v4.architecture import convolutions
from keras_inception_v4.weights.imagenet import FETCHERS

CONTENT = np.random.default_rng(0).bytes(3_000_000)
FETCH = """
import dataclasses, sys, time
from keras_inception_v4.weights.imagenet import IMAGENET, fetch
started = time.monotonic()
try:
    print("PATH", fetch(dataclasses.replace(IMAGENET, sha256=sys.argv[1])))
except (OSError, ValueError) as error:
    print("ERROR", type(error).__name__, error)
print("SECONDS", time.monotonic() - started)
"""


def start(endpoint, cache, sha256=None, prefix=(), **environment):
    sha256 = sha256 or hashlib.sha256(CONTENT).hexdigest()
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", FETCH, sha256],
        env={
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(cache),
            "NO_PROXY": "127.0.0.1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """What it printed: (`PATH` or `ERROR`, the rest, seconds of the fetch)."""
    out, err = process.communicate(timeout=120)
    lines = [line for line in out.splitlines() if line.startswith(("PATH", "ERROR", "SECONDS"))]
    assert len(lines) == 2, err
    kind, rest = lines[0].split(" ", 1)
    return kind, rest, float(lines[1].split()[1])


def fetch(*arguments, **options):
    return finish(start(*arguments, **options))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1000]


def test_first_fetch_then_from_the_cache_without_a_server(tmp_path):
    with serving(CONTENT) as hub:
        kind, path, _ = fetch(hub.url, tmp_path)
        assert kind == "PATH"
        assert Path(path).read_bytes() == CONTENT
        url = hub.url
        assert hub.downloads == [0]
    assert fetch(url, tmp_path)[:2] == ("PATH", path)
    assert fetch(url, tmp_path, HF_HUB_OFFLINE="1")[:2] == ("PATH", path)


def test_an_interrupted_transfer_goes_on(tmp_path):
    with serving(CONTENT, break_after=1_000_000) as hub:
        kind, path, _ = fetch(hub.url, tmp_path)
        assert kind == "PATH"
        assert len(hub.downloads) == 2
    assert Path(path).read_bytes() == CONTENT


def test_wrong_content_is_refused_and_removed(tmp_path):
    with serving(CONTENT[::-1]) as hub:
        kind, message, _ = fetch(hub.url, tmp_path)
    assert kind == "ERROR"
    assert message.startswith("ValueError")
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert "It was removed" in message
    assert files(tmp_path) == []
    with serving(CONTENT) as hub:
        assert fetch(hub.url, tmp_path)[0] == "PATH"


def assert_says_what_to_do(message):
    assert message.startswith("OSError")
    assert f"/{IMAGENET.repository}/resolve/{IMAGENET.revision}/{IMAGENET.file}" in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert "weights='path/to/model.safetensors'" in message


def test_404(tmp_path):
    with serving(None) as hub:
        kind, message, seconds = fetch(hub.url, tmp_path)
    assert kind == "ERROR"
    assert_says_what_to_do(message)
    assert "404" in message
    assert seconds < 10


@pytest.mark.parametrize("server", ["none", "silent", "offline"])
def test_no_network_is_one_error_within_ten_seconds(tmp_path, server):
    if server == "silent":
        with serving(CONTENT, silent=True) as hub:
            kind, message, seconds = fetch(hub.url, tmp_path)
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            offline = {"HF_HUB_OFFLINE": "1"} if server == "offline" else {}
            kind, message, seconds = fetch(url, tmp_path, **offline)
    assert kind == "ERROR"
    assert_says_what_to_do(message)
    assert seconds < 10
    assert files(tmp_path) == []


def read_only(folder):
    """A command prefix: a mount namespace of its own in which `folder` is read-only."""
    script = f'mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *user, "sh", "-c", script, "sh"]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare")
def test_a_read_only_cache(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    with serving(CONTENT) as hub:
        kind, message, _ = fetch(hub.url, cache, prefix=read_only(cache))
        assert kind == "ERROR"
        assert_says_what_to_do(message)
        assert "Read-only file system" in message
        kind, path, _ = fetch(hub.url, cache)
        assert kind == "PATH"
        assert fetch(hub.url, cache, prefix=read_only(cache))[:2] == ("PATH", path)


def test_two_processes_at_once(tmp_path):
    with serving(CONTENT, pause=2) as hub:
        both = [start(hub.url, tmp_path) for _ in range(2)]
        answers = [finish(process) for process in both]
        assert [kind for kind, _, _ in answers] == ["PATH", "PATH"]
        assert answers[0][1] == answers[1][1]
        assert len(hub.downloads) == 1
    assert Path(answers[0][1]).read_bytes() == CONTENT


# The record.


def test_the_record_is_what_the_model_is(full_network):
    network = full_network()
    assert network.count_params() == IMAGENET.weights
    assert network.output_shape == (None, IMAGENET.classes)
    assert network.input_shape[1:] == IMAGENET.input_size
    kernels = sum(
        u.op.height * u.op.width * u.channels * u.op.filters for u in convolutions(IMAGENET.variant)
    )
    assert IMAGENET.weights == kernels + 3 * 31_584 + 1537 * IMAGENET.classes
    assert IMAGENET.url.startswith("https://huggingface.co/timm/inception_v4.tf_in1k/resolve/24ed")


def test_the_file_of_that_layout_has_the_recorded_size(timm_file):
    size = timm_file.stat().st_size
    assert abs(size - IMAGENET.size) < 1_000_000  # recorded to the megabyte


# `weights="imagenet"` in the builder, with a file of timm's layout in the cache's place.


@pytest.fixture
def stand_in(kinds, kinds_file, monkeypatch):
    monkeypatch.setitem(FETCHERS, "imagenet", lambda: kinds_file)
    return load_file(kinds_file)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"include_top": False, "pooling": "max", "input_shape": (None, None, 3)},
        {"input_shape": (75, 80, 5)},
        {"include_top": False, "classes": 10},
    ],
)
def test_imagenet_weights_for_any_shape(stand_in, arguments):
    network = InceptionV4(**arguments)
    found = keras.ops.convert_to_numpy(network.get_layer("mixed_7d_branch_2_conv2d_0e_3x1_bn").beta)
    np.testing.assert_array_equal(found, stand_in["features.10.branch2_3b.bn.bias"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 10}, r"classes=10 with weights='imagenet'.*include_top=False"),
        ({"variant": "paper"}, r"variant='paper' with weights='imagenet'"),
    ],
)
def test_what_imagenet_weights_do_not_fit_is_said_before_a_download(
    monkeypatch, arguments, message
):
    monkeypatch.setitem(FETCHERS, "imagenet", lambda: pytest.fail("it must not download"))
    monkeypatch.setattr(keras.layers, "Conv2D", lambda *_, **__: pytest.fail("nor build a layer"))
    with pytest.raises(ValueError, match=message):
        InceptionV4(**arguments)
