import contextlib
import importlib.metadata
import io
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from tiny import tiny

from keras_inception_v4 import InceptionV4, __version__, starting
from keras_inception_v4.cli import main


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny(classes=4).save(path)
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.arange(90 * 80 * 3).reshape(90, 80, 3).astype("uint8")).save(path)
    return path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_module_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "keras_inception_v4", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == f"keras-inception-v4 {__version__}"
    assert f"tensorflow {importlib.metadata.version('tensorflow')}" in lines[2]
    assert lines[2].startswith("backends")


def test_versions_of_what_is_not_there(monkeypatch, capsys):
    monkeypatch.setattr(starting, "INSTALLED", {"backends": ("no-such-package",)})
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.splitlines()[1] == "backends: none"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("predict gone.png", "image file gone.png"),
        ("predict --model gone here.png", "model file gone"),
        ("embed gone --output x.npz", "folder gone"),
        ("explain gone.png --model here.png --output m.png", "image file gone.png"),
        ("evaluate gone.keras .", "model file gone.keras"),
        ("evaluate gone", "folder or table gone"),
        ("export gone.keras x.onnx --format onnx", "model file gone.keras"),
        ("convert gone.pth x.keras", "weight file, checkpoint prefix or folder gone.pth"),
        ("train gone --output run", "folder or table gone"),
    ],
)
def test_what_is_not_there_is_said_before_keras_is_imported(tmp_path, arguments, what):
    (tmp_path / "here.png").touch()
    code = (
        "import sys\n"
        "from keras_inception_v4.cli import main\n"
        f"status = main({arguments.split()!r})\n"
        "sys.exit(9 if 'keras' in sys.modules else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )  # fmt: skip
    message = f"error: There is no {what} in {tmp_path}. Check the path.\n"
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the greeting is TensorFlow's")
def test_tensorflow_does_not_greet(model_file, photo):
    environment = {name: v for name, v in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "keras_inception_v4", "predict", "--model", model_file, photo],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert "photo.png" in done.stdout


@pytest.mark.parametrize("missing", ["stderr", "room"])
def test_a_command_runs_without_stderr_or_room_to_hold_it_back(missing):
    """A closed file, or a temporary folder that is not there."""
    code = (
        "import os, sys, tempfile\n"
        "from keras_inception_v4 import starting\n"
        f"os.close(2) if {missing == 'stderr'} else setattr(tempfile, 'tempdir', '/not/there')\n"
        "with starting._without(starting.GREETING):\n"
        "    print('ran')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_what_is_no_greeting_is_kept(capfd):
    """Also what C++ writes to the file behind stderr."""
    with starting._without(starting.GREETING):
        os.write(2, b"I0000 00:00:1.2  31 cudart_stub.cc:31] Could not find cuda drivers\n")
        os.write(2, b"W0000 00:00:1.2  31 other.cc:31] something\n")
    with contextlib.suppress(ImportError), starting._without(starting.GREETING):
        os.write(2, b"cudart is broken\n")
        raise ImportError
    err = capfd.readouterr().err
    assert "Could not find" not in err
    assert "other.cc:31] something\ncudart is broken\n" in err


COMMANDS = ["audit", "train", "evaluate", "predict", "embed", "explain", "serve", "convert",
            "export", "summary"]  # fmt: skip

DEFAULTS = {
    "audit": ("--batch-size", 32),
    "train": ("--batch-size", 32),
    "evaluate": ("--batch-size", 32),
    "predict": ("--top", 3),
    "embed": ("--batch-size", 8),
    "explain": ("--top", 5),
    "serve": ("--port", 8000),
    "export": ("--precision", "float32"),
    "summary": ("--image-size", 299),
}


def help_of(capsys, *command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command(capsys):
    out = help_of(capsys)
    assert [line.split()[0] for line in out.split("commands:")[1].splitlines()[2:]
            if line.startswith("    ") and line[4] != " "] == COMMANDS  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(capsys, command):
    assert f"example:\n  keras-inception-v4 {command} " in help_of(capsys, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_groups_options_and_shows_defaults(capsys, command):
    out = help_of(capsys, command)
    free = out.split("options:")[1].split("\n\n")[0]
    assert free.count("\n  -") <= (3 if command == "train" else 1)
    assert "(default: None)" not in out
    if command in DEFAULTS:
        option, default = DEFAULTS[command]
        assert f"(default: {default})" in " ".join(out.rsplit(f"  {option} ")[-1].split())


def test_summary_is_the_table_of_the_paper(capsys, tmp_path):
    picture = tmp_path / "network.png"
    status, out, err = run(capsys, "summary", "--picture", picture)
    assert status == 0, err
    assert "12.28 G" in out
    assert "42,711,400" in out
    assert len([line for line in out.splitlines() if "mixed_" in line]) == 19
    with Image.open(picture) as opened:
        assert opened.format == "PNG"
    status, _, err = run(capsys, "summary", "--image-size", 60)
    assert (status, err) == (1, "error: Received size=60. It must be at least 75.\n")


def test_predict_prints_a_table(capsys, model_file, photo):
    status, out, err = run(capsys, "predict", "--model", model_file, "--top", 2, photo)
    assert status == 0, err
    assert "photo.png" in out
    assert "probability" in out
    rows = [line for line in out.splitlines() if "0." in line]
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "error: There is no image file"),
        (b"", "cannot be read as an image"),
        (b"\x89PNG\r\n\x1a\n....", "cannot be read as an image"),
    ],
)
def test_a_bad_image_is_one_line(capsys, model_file, tmp_path, content, message):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    status, _, err = run(capsys, "predict", "--model", model_file, path)
    assert status == 1
    assert message in err
    assert "bad.png" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"PK\x03\x04 half a zip"])
def test_a_bad_model_is_one_line(capsys, tmp_path, photo, content):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    status, _, err = run(capsys, "predict", "--model", path, photo)
    assert status == 1
    assert "model.keras" in err
    assert "Traceback" not in err
    assert ("There is no model file" if content is None else "cannot be loaded") in err


def test_train_refuses_a_folder_of_something_else(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    status, _, err = run(capsys, "train", "digits", "--weights", "none", "--output", tmp_path)
    assert status == 1
    assert "is not empty and holds no run" in err


@pytest.mark.parametrize(
    "name", ["IMG[edited].png", ":cat:.png", "set[/i].png", "[link=x]y[/link].png", "$5 & <b>.png"]
)
@pytest.mark.parametrize("format", ["table", "csv", "json"])
def test_names_are_printed_as_they_are(capsys, model_file, photo, tmp_path, name, format):
    named = tmp_path / name
    named.parent.mkdir(parents=True, exist_ok=True)
    photo.rename(named)
    status, out, err = run(capsys, "predict", "--model", model_file, "--format", format, named)
    assert status == 0, err
    assert name in out


@pytest.mark.parametrize("name", ["cat 🐈.png", "日本.png", b"caf\xe9.png", "é🙂.png"])
@pytest.mark.parametrize("format", ["table", "csv"])
def test_what_a_terminal_does_not_have_is_escaped(
    model_file, photo, tmp_path, monkeypatch, name, format
):
    named = tmp_path / os.fsdecode(name)
    photo.rename(named)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["predict", "--model", str(model_file), "--format", format, str(named)]) == 0
    stream.flush()
    out = stream.buffer.getvalue().decode("cp1252")
    assert named.name.encode("cp1252", "backslashreplace").decode("cp1252") in out
    assert "0." in out


@pytest.mark.usefixtures("shallow")
def test_predict_needs_a_classifier(capsys, tmp_path, photo):
    path = tmp_path / "backbone.keras"
    InceptionV4(weights=None, include_top=False, pooling="avg").save(path)
    status, _, err = run(capsys, "predict", "--model", path, photo)
    assert status == 1
    assert "has no classifier: its output shape is" in err
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    status, _, err = run(capsys, "predict", "--model", tmp_path / "other.keras", photo)
    assert status == 1
    assert "not images (batch, height, width, channels)" in err
