"""The train and evaluate commands over folders: results, errors, and killed processes."""

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from forked import Forked
from PIL import Image
from safetensors import safe_open
from thin import thin_network

from keras_inception_v4 import train
from keras_inception_v4.architecture import IMAGENET_CLASSES
from keras_inception_v4.cli import main
from keras_inception_v4.data.digits import digit_scans
from keras_inception_v4.data.sources import ImageFiles
from keras_inception_v4.files import read_json
from keras_inception_v4.preprocessing import imagenet_classes
from keras_inception_v4.runs.run import Parts, read_images
from keras_inception_v4.training.caching import Features

THIN = str(Path(__file__).with_name("thin.py"))  # the command on a thin network


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of 12 scans of each of 3 digits, a subfolder a class."""
    folder = tmp_path_factory.mktemp("scans") / "photos"
    images, labels = digit_scans()
    for digit, name in enumerate(("zero", "one", "two")):
        (folder / name).mkdir(parents=True)
        for index in np.flatnonzero(labels == digit)[:12]:
            Image.fromarray(images[index]).resize((40, 40)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def weights(shallow_file):
    return shallow_file


def command(scans, weights, output, *options):
    short = "--image-size 75 --crop 1 --augment symbols --head-epochs 3 --epochs 2 --batch-size 8"
    return ["train", str(scans), "--weights", str(weights), "--output", str(output),
            *short.split(), "--from-endpoint", "mixed_7d", *options]  # fmt: skip


@pytest.fixture(scope="module")
def run(scans, shallow_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "photos"
    with thin_network("shallow"):
        assert main(command(scans, shallow_file, folder, "--calibrate")) == 0
    return folder


@pytest.mark.backends
def test_a_run_has_both_phases_and_everything(run, scans, weights, capsys):
    report = read_json(run / "report.json")
    assert report["epochs"] == {"head": 3, "fine-tuning": 2}
    assert (report["training_images"], report["images"]) == (28, 8)
    assert report["accuracy"] == np.trace(report["confusion_matrix"]) / 8
    data = read_json(run / "data.json")
    assert {len(paths) for paths in data["train"].values()} <= {9, 10}
    lines = (run / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,phase,accuracy,loss,val_accuracy,val_loss"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["1", "head"], ["2", "head"], ["3", "head"], ["4", "fine-tuning"], ["5", "fine-tuning"],
    ]  # fmt: skip
    assert sorted(os.listdir(run / "examples")) == ["one.png", "two.png", "zero.png"]
    assert not (run / "checkpoints").exists()
    model = keras.saving.load_model(run / "model.keras")
    assert model.layers[1].name == "preprocessing"
    assert model.get_layer("mixed_7d").compute_dtype == "float32"
    for picture in ("curves.png", "confusion_matrix.png"):
        with Image.open(run / picture) as image:
            assert image.width > 400
    capsys.readouterr()
    again = command(scans, weights, run, "--calibrate")
    assert main(again) == 0
    assert "is complete; nothing was trained" in (out := capsys.readouterr().out)
    assert f"{report['temperature']:.3g}" in out.split("temperature")[1].splitlines()[0]
    assert main([*again, "--seed", "4"]) == 1
    assert "seed is 0 there and 4 here" in capsys.readouterr().err


@pytest.mark.backends
def test_evaluate_gives_the_run_s_accuracy(run, scans, tmp_path, capsys):
    listed = read_json(run / "data.json")["validation"]
    for name, paths in listed.items():
        for path in paths:
            (tmp_path / "held-out" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(scans / path, tmp_path / "held-out" / path)
    report, picture = tmp_path / "report.json", tmp_path / "matrix.png"
    assert main(["evaluate", str(run / "model.keras"), str(tmp_path / "held-out"),
                 "--report", str(report), "--picture", str(picture)]) == 0  # fmt: skip
    expected = read_json(run / "report.json")
    found = read_json(report)
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    assert found["calibration_error"] == pytest.approx(expected["calibration_error"], abs=1e-5)
    out = capsys.readouterr().out
    assert f"{found['accuracy']:.1%}" in out
    assert "recall" in out
    with Image.open(picture) as image:
        assert image.format == "PNG"
    (tmp_path / "held-out" / "nine").mkdir()
    assert main(["evaluate", str(run / "model.keras"), str(tmp_path / "held-out")]) == 1
    assert "1 subfolders" in (err := capsys.readouterr().err)
    assert "nine. Its classes are one, two, zero" in err


def test_predict_takes_folders_and_writes_formats(run, scans, capsys):
    arguments = ["predict", "--model", str(run / "model.keras"), "--top", "2", str(scans / "one")]
    assert main([*arguments, "--format", "json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 12
    assert all(len(answer["top"]) == 2 for answer in answers)
    assert {one["class"] for answer in answers for one in answer["top"]} <= {"zero", "one", "two"}
    assert main([*arguments, "--format", "csv"]) == 0
    header, *rows = capsys.readouterr().out.split()
    assert header == "image,rank,class,probability"
    assert len(rows) == 24
    assert rows[0].startswith(f"{answers[0]['image']},1,{answers[0]['top'][0]['class']},")
    assert main([*arguments, str(scans / "gone.png")]) == 1
    assert "There is no image file" in capsys.readouterr().err


@pytest.mark.usefixtures("shallow")
def test_a_run_folder_is_a_model(run, scans, tmp_path, capsys):
    image, model = str(next((scans / "one").iterdir())), str(run)
    places = {name: str(tmp_path / name) for name in ("x.npz", "map.png", "x.safetensors")}
    assert main(["predict", "--model", model, image, "--format", "csv"]) == 0
    by_folder = capsys.readouterr().out
    assert main(["predict", "--model", f"{model}/model.keras", image, "--format", "csv"]) == 0
    assert capsys.readouterr().out == by_folder
    assert "one" in by_folder
    for arguments in (
        ["evaluate", model, str(scans)],
        ["embed", str(scans), "--model", f"{model}/", "--output", places["x.npz"]],
        ["explain", image, "--model", model, "--output", places["map.png"]],
        ["convert", model, places["x.safetensors"]],
    ):
        assert main(arguments) == 0, capsys.readouterr().err
    capsys.readouterr()
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text("{}")
    assert main(["predict", "--model", str(unfinished), image]) == 1
    assert "has no model.keras yet. Rerun the command that began it" in capsys.readouterr().err
    assert main(["convert", str(unfinished), places["x.safetensors"]]) == 1
    assert "has no model.keras yet" in capsys.readouterr().err


@pytest.mark.usefixtures("shallow")
def test_imagenet_s_validation_set_by_synset(weights, tmp_path, capsys):
    """A stand-in for ILSVRC: three of the thousand synset folders, weights from a path."""
    rng = np.random.default_rng(0)
    chosen = [0, 500, 999]
    for index in chosen:
        folder = tmp_path / "ILSVRC" / imagenet_classes()[index][0]
        folder.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (350, 320, 3), "uint8")).save(folder / "1.JPEG")
    report = tmp_path / "report.json"
    assert main(["evaluate", "--weights", str(weights), str(tmp_path / "ILSVRC"),
                 "--report", str(report)]) == 0  # fmt: skip
    found = read_json(report)
    table = tmp_path / "ILSVRC" / "labels.csv"
    rows = [f"{imagenet_classes()[i][0]}/1.JPEG,{imagenet_classes()[i][0]}" for i in chosen]
    table.write_text("\n".join(["file,label", *rows]))
    assert main(["evaluate", "--weights", str(weights), str(table), "--report", str(report)]) == 0
    assert read_json(report) == found
    assert found["images"] == 3
    matrix = np.array(found["confusion_matrix"])
    assert matrix.shape == (IMAGENET_CLASSES, IMAGENET_CLASSES)
    assert np.flatnonzero(matrix.sum(axis=1)).tolist() == chosen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "-1"], "epochs=-1. It must be at least 0"),
        (["--head-epochs", "0"], "head_epochs=0"),
        (["--image-size", "50"], "at least 75"),
        (["--validation-split", "0.99"], "validation_split=0.99"),
        (["--weights", "gone.pth"], "weights='gone.pth'"),
        (["--from-endpoint", "block8"], "from_endpoint='block8'"),
        (["--crop", "2"], "crop=2.0"),
    ],
)
def test_wrong_arguments_write_nothing(scans, weights, tmp_path, capsys, options, message):
    assert main(command(scans, weights, tmp_path / "run", *options)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("shallow")
def test_a_model_that_is_not_ours(scans, tmp_path, capsys):
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.keras")
    assert main(command(scans, tmp_path / "other.keras", tmp_path / "run")) == 1
    err = capsys.readouterr().err
    assert "other.keras do not fit" in err
    assert "missing: conv2d_1a_3x3_conv/kernel" in err
    assert not (tmp_path / "run").exists()


def test_options_of_the_other_way_are_refused(scans, tmp_path, capsys):
    arguments = ["train", str(scans), "--weights", "none", "--output", str(tmp_path / "run")]
    assert main([*arguments, "--balanced"]) == 1
    assert "Received balanced with weights=None" in capsys.readouterr().err


BEGUN = ["config.json", "data.json"]
ENDED = ["model.keras", "class_names.json", "history.csv", "confusion_matrix.png", "examples",
         "saved_model", "MODEL_CARD.md", "report.json"]  # fmt: skip
PHASES = {
    "transfer": ["train.features", "validation.features.json", "head.safetensors",
                 "fine_tuning.safetensors"],
    "scratch": ["from_scratch.safetensors"],
}  # fmt: skip


def either_command(way, scans, weights, output):
    """The command of fine-tuning, or of training from scratch."""
    if way == "transfer":
        return command(scans, weights, output)
    short = "--image-size 75 --crop 1 --augment symbols --epochs 2 --batch-size 8 --weights none"
    return ["train", str(scans), "--output", str(output), *short.split()]


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("way", PHASES)
def test_a_disk_that_fills_at_each_step_in_turn(
    run, scans, weights, tmp_path, monkeypatch, capsys, way
):
    """The same command goes on once there is room, and loses nothing of what was finished."""
    output, real = tmp_path / "run", os.replace
    arguments = either_command(way, scans, weights, output)
    for name in [*BEGUN, *PHASES[way], *ENDED] if way == "transfer" else PHASES[way]:
        if name == "saved_model" and keras.backend.backend() != "tensorflow":
            continue

        def full(new, path, name=name):
            if Path(path).name == name:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            real(new, path)

        with monkeypatch.context() as disk:
            disk.setattr(os, "replace", full)
            assert main(arguments) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert not (output / "report.json").exists()
        assert not (output / name).exists()
        assert not [path for path in output.rglob(".*") if path.name.endswith(".unfinished")]
    assert main(arguments) == 0
    assert sorted(os.listdir(output)) == sorted(os.listdir(run))
    if way == "scratch":
        assert read_json(output / "report.json")["epochs"] == {"from scratch": 2}
        return
    ends = [(folder / "history.csv").read_text().splitlines() for folder in (run, output)]
    assert len(ends[0]) == len(ends[1])
    for one, other in zip(ends[0][1:], ends[1][1:], strict=True):
        losses = [float(line.split(",")[3]) for line in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("way", PHASES)
def test_a_run_that_meets_nan_goes_on_once_the_cause_is_gone(
    scans, weights, tmp_path, monkeypatch, capsys, way
):
    output, photos = tmp_path / "run", tmp_path / "photos"
    arguments = either_command(way, photos, weights, output)
    shutil.copytree(scans, photos)
    spoilt = photos / "one" / "a.tiff"
    Image.fromarray(np.full((40, 40), np.nan, "float32")).save(spoilt)
    assert main(arguments) == 1
    assert "a.tiff cannot be read as an image: 1,600 of 1,600 pixels" in capsys.readouterr().err
    assert not output.exists()
    spoilt.unlink()

    def nan(take):
        return lambda *arguments: take(*arguments) * np.float32(np.nan)

    transfer = {"features": set(), "head": {"train.features", "validation.features"},
                "fine-tuning": {"train.features", "head.safetensors"}}  # fmt: skip
    for phase, kept in (transfer if way == "transfer" else {"from scratch": set()}).items():
        kind = Features if phase == "head" else ImageFiles
        with monkeypatch.context() as cause:
            cause.setattr(kind, "take", nan(kind.take))
            assert main(arguments) == 1
        assert "not finite" in (err := capsys.readouterr().err), err
        assert not kept or kept <= set(os.listdir(output / "checkpoints"))
        assert not (output / "model.keras").exists()
    assert main(arguments) == 0
    epochs = {"head": 3, "fine-tuning": 2} if way == "transfer" else {"from scratch": 2}
    assert read_json(output / "report.json")["epochs"] == epochs


def events_of(file):
    """What TensorBoard reads: records of a length, its checksum, an event and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
def test_one_timeline_of_both_phases_goes_on_after_a_stop(scans, weights, tmp_path):
    class Stops(keras.callbacks.Callback):
        """Ends the run in the second epoch of fine-tuning."""

        seen = 0

        def on_epoch_end(self, epoch, logs=None):
            self.seen += 1
            if self.seen == 4:
                raise RuntimeError("stopped")

    arguments = {
        "weights": weights, "image_size": 75, "crop": 1.0, "augment": "symbols", "head_epochs": 3,
        "epochs": 2, "batch_size": 8, "from_endpoint": "mixed_7d", "verbose": 0,
    }  # fmt: skip
    output = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stopped"):
        train(scans, output, tensorboard=True, callbacks=[Stops()], **arguments)
    assert main([*command(scans, weights, output), "--tensorboard"]) == 0
    points = {}
    for file in sorted((output / "tensorboard").iterdir()):
        for event in events_of(file):
            for value in event.summary.value:
                points.setdefault(value.tag, {})[event.step] = value.simple_value
    lines = [line.split(",") for line in (output / "history.csv").read_text().splitlines()]
    assert points.keys() == {*lines[0][2:], "learning_rate"}
    for column, name in enumerate(lines[0][2:], start=2):
        written = points[name]
        assert list(written) == [1, 2, 3, 4, 5]
        expected = [float(line[column]) for line in lines[1:]]
        np.testing.assert_allclose(list(written.values()), expected, rtol=1e-4)


FOREIGN = [b"caf\xe9", b"$5_$10", b"[red]x", b":cat: a_b^c"]


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, file names are Unicode")
def test_names_of_other_times_and_markup(scans, weights, tmp_path, capsys):
    """Class and file names in Latin-1 bytes and in the markup of what prints and draws them."""
    photos, names = tmp_path / "photos", [os.fsdecode(name) for name in FOREIGN]
    sources = sorted(path for path in scans.rglob("*.png"))
    for index, name in enumerate(names):
        (photos / name).mkdir(parents=True)
        for place, source in enumerate(sources[index * 8 : index * 8 + 6]):
            shutil.copy(source, photos / name / f"{place} {names[place % 4]}.png")
    output, model = tmp_path / "run", str(tmp_path / "run")
    assert main([*command(photos, weights, output), "--epochs", "0"]) == 0
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "was not drawn" not in err
    assert read_json(output / "class_names.json") == sorted(names)
    assert {path.stem for path in (output / "examples").iterdir()} == set(names)
    image = str(photos / names[0] / f"0 {names[0]}.png")
    for arguments in (
        ["predict", "--model", model, image],
        ["predict", "--model", model, str(photos), "--format", "csv"],
        ["evaluate", model, str(photos), "--report", str(tmp_path / "report.json")],
        ["embed", str(photos), "--model", model, "--output", str(tmp_path / "x.npz"),
         "--picture", str(tmp_path / "x.png")],
        ["explain", image, "--model", model, "--output", str(tmp_path / "map.png")],
    ):  # fmt: skip
        assert main(arguments) == 0, capsys.readouterr().err
    with np.load(tmp_path / "x.npz") as file:
        assert len(file["paths"]) == 24
    assert set(read_json(tmp_path / "report.json")["per_class"]) == set(names)


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
def test_changed_images_are_noticed(scans, weights, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    shutil.copytree(scans, tmp_path / "photos")
    process = start(command(tmp_path / "photos", weights, tmp_path / "run"))
    wait_for(tmp_path / "run" / "data.json", process)
    process.kill()
    process.communicate()
    (tmp_path / "photos" / "one" / "new.png").write_bytes(
        next((scans / "one").iterdir()).read_bytes()
    )
    assert main(command(tmp_path / "photos", weights, tmp_path / "run")) == 1
    assert "images have changed" in capsys.readouterr().err


def start(arguments):
    return Forked(main, arguments, depth="shallow")


def scan_slowly(arguments, sign):
    """The command with a scan so slow that it can be killed; a file tells that it goes on."""

    def slow(settings, **options):
        sign.touch()
        time.sleep(60)
        return read_images(settings, **options)

    return main(arguments, parts=Parts(slow))


def wait_for(path, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def namespace(mount, folder):
    """A command prefix: a mount namespace of its own, prepared by a script; lists it after."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = f'{mount} && "$@"; status=$?; find {folder}; exit $status'
    return ["unshare", "--mount", *user, "sh", "-c", script, "sh"]


class TestOutput:
    """Classes, so that workers share what takes minutes."""

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare")
    @pytest.mark.parametrize(
        ("options", "message"),
        [("ro", "Read-only file system"), ("size=600k", "No space left on device")],
    )
    def test_a_read_only_or_full_output(self, scans, weights, tmp_path, options, message):
        output = tmp_path / "disk"
        output.mkdir()
        mount = f"mount -t tmpfs -o {options} none {output}"
        done = subprocess.run(
            [*namespace(mount, output), sys.executable, THIN,
             *command(scans, weights, output / "run")],
            capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        out, err = done.stdout, done.stderr
        assert done.returncode == 1
        assert message in err
        assert err.splitlines()[-1].startswith("error: ")
        left = out.splitlines()[out.splitlines().index(str(output)) :]
        assert not [path for path in left if "/." in path]  # the temporary names
        assert (str(output / "run" / "data.json") in left) == (options != "ro")
        assert "Traceback" not in err


def as_data(scans, folder, task):
    """The scans as a folder, or as a table of another task; and the options that it needs."""
    if task == "single-label":
        return scans, []
    rows = ["file,label,ink"]
    for path in sorted(scans.rglob("*.png")):
        several = f"{path.parent.name}|odd" if int(path.stem) % 2 else path.parent.name
        rows.append(f"{path.relative_to(scans)},{several},{np.mean(Image.open(path)):.4f}")
    (folder / "table.csv").write_text("\n".join(rows))
    more = ["--task", task, "--label-column", "ink"] if task == "regression" else []
    return folder / "table.csv", ["--images", str(scans), *more]


MEASURES = {
    "single-label": ("accuracy", "top_5_accuracy", "calibration_error", "confusion_matrix"),
    "regression": ("r2", "per_target"),
}


class TestKilledAnywhere:
    """A process that is killed and started again."""

    @pytest.mark.slow
    @pytest.mark.parametrize("task", ["single-label", "regression"])  # the latter has standardizing
    def test_killed_anywhere_it_ends_on_the_same_numbers(self, scans, weights, tmp_path, task):
        """SIGKILL in the scan, in the head phase and in a fine-tuning epoch; deterministic."""
        data, more = as_data(scans, tmp_path, task)
        more = [*more, "--deterministic"]

        def finish(output):
            process = start(command(data, weights, output, *more))
            _, err = process.communicate(timeout=500)
            assert process.returncode == 0, err
            return read_json(output / "report.json")

        undisturbed = finish(tmp_path / "undisturbed")
        output = tmp_path / "killed"
        kills = 0
        if task == "single-label":
            sign = tmp_path / "scan"
            arguments = command(data, weights, output, *more)
            process = Forked(scan_slowly, arguments, sign, depth="shallow")
            wait_for(sign, process)
            process.kill()
            process.communicate()
            assert not output.exists()
        waits = (
            lambda process: wait_for(output / "checkpoints/train.features.partial", process),
            lambda process: wait_for(output / "checkpoints/head.safetensors", process),
            lambda process: (
                wait_for(output / "checkpoints/fine_tuning.safetensors", process),
                time.sleep(0.3),  # into the next epoch
            ),
        )
        # What the tasks differ in, targets and head, has moved in fine-tuning.
        for wait in waits if task == "single-label" else waits[-1:]:
            process = start(command(data, weights, output, *more))
            wait(process)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert not (output / "report.json").exists()
            kills += 1
        assert kills == (3 if task == "single-label" else 1)
        resumed = finish(output)
        for name in MEASURES[task]:
            assert resumed[name] == undisturbed[name]
        histories = [
            (folder / "history.csv").read_text() for folder in (tmp_path / "undisturbed", output)
        ]
        assert histories[0] == histories[1]


def recorded(path):
    """Finished epochs, and steps of the next one, that a checkpoint tells of."""
    with safe_open(path, framework="numpy") as file:
        state = json.loads(file.metadata()["state"])
    return state["epochs"], state["step"]


class TestKilledInsideAnEpoch:
    """Likewise, between two steps."""

    @pytest.mark.slow
    def test_killed_inside_an_epoch_it_goes_on_at_the_recorded_step(self, scans, tmp_path):
        """From scratch, with augmentation, averages and dropout; deterministic, to the last digit.

        `test_recipes` resumes every recipe inside an epoch, in one process.
        """

        def arguments(output):
            options = (
                "--weights none --recipe paper-small --image-size 107 --crop 1 --epochs 3 "
                "--batch-size 4 --deterministic --checkpoint-every 2"
            )
            return ["train", str(scans), "--output", str(output), *options.split()]

        def finish(output):
            _, err = (process := start(arguments(output))).communicate(timeout=500)
            assert process.returncode == 0, err
            return (output / "history.csv").read_text()

        undisturbed = finish(tmp_path / "undisturbed")
        output = tmp_path / "killed"
        file, reached = output / "checkpoints/from_scratch.safetensors", (0, 0)
        for epoch in range(2):
            process = start(arguments(output))
            wait_for(file, process)
            while recorded(file) <= max(reached, (epoch, 0)) or not recorded(file)[1]:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            reached = recorded(file)
            assert reached[1] > 0
        assert finish(output) == undisturbed
