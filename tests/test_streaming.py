"""Any number of files to Parquet: in parts, each file once, resumed, and what is left out."""

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from forked import Forked
from PIL import Image
from pyarrow import parquet
from tiny import CHANNELS, tiny

from keras_inception_v4 import embed
from keras_inception_v4.cli import main
from keras_inception_v4.files import read_json
from keras_inception_v4.inference.classification import predict_files, stream_predictions
from keras_inception_v4.inference.embedding import stream_embeddings
from keras_inception_v4.inference.streaming import stream

BAD = ("07.png", "sub/33.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """25 pictures, some below a subfolder, of which two are none."""
    folder = tmp_path_factory.mktemp("streaming") / "pictures"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(25):
        name = f"{index:02}.png" if index < 15 else f"sub/{index + 15}.png"
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), "uint8")).save(folder / name)
    for name in BAD:
        (folder / name).write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("streaming") / "model.keras"
    tiny().save(path)
    return path


def rows(folder):
    parts = sorted(folder.glob("part-*.parquet"))
    return [row for part in parts for row in parquet.read_table(part).to_pylist()]


def left_out(file):
    return {Path(row["path"]).name: row["reason"] for row in parquet.read_table(file).to_pylist()}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_embeddings_are_those_of_embed(pictures, model, tmp_path, dtype):
    done = stream_embeddings(model, pictures, tmp_path / "out", dtype=dtype, batch_size=4, part=6)
    assert done == (23, 2)
    found = rows(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 5
    sound = sorted(p for p in pictures.rglob("*.png") if p.stem not in ("07", "33"))
    assert [row["path"] for row in found] == list(map(str, sound))
    assert left_out(tmp_path / "out" / "left_out.parquet").keys() == {"07.png", "33.png"}
    kind = parquet.read_schema(tmp_path / "out" / "part-00000.parquet").field("features").type
    assert (kind.list_size, str(kind.value_type)) == (
        CHANNELS, {"float32": "float", "float16": "halffloat"}[dtype],
    )  # fmt: skip
    from keras_inception_v4.weights.loading import read_model

    expected = embed(read_model(model), sound, 4, verbose=0)
    allowed = 1e-5 if dtype == "float32" else 2e-3
    np.testing.assert_allclose([row["features"] for row in found], expected, atol=allowed,
                               rtol=allowed)  # fmt: skip


def test_predictions_are_those_of_predict(pictures, model, tmp_path):
    images = [pictures / "sub", pictures / "01.png"]
    done = stream_predictions(model, images, tmp_path / "a.parquet", part=4, batch_size=3)
    assert done == (10, 1)
    assert sorted(os.listdir(tmp_path)) == ["a.left_out.parquet", "a.parquet"]
    found = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert found[-1]["path"].endswith("01.png")
    expected = predict_files(model, [row["path"] for row in found], verbose=0)
    for row, (path, top) in zip(found, expected, strict=True):
        assert row["path"] == path
        assert row["classes"] == [name for name, _ in top]
        np.testing.assert_allclose(row["probabilities"], [p for _, p in top], rtol=1e-5)
    again = stream_predictions(model, images, tmp_path / "a.parquet", part=4, batch_size=3)
    assert again == done  # a finished file is left alone
    with pytest.raises(ValueError, match="holds answers for other files than are there now"):
        stream_predictions(model, images[:1], tmp_path / "a.parquet", part=4, batch_size=3)
    with pytest.raises(ValueError, match=r"exists. Name another file"):
        stream_predictions(model, images, tmp_path / "a.parquet", part=4, top=1)
    (tmp_path / "b.parquet").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"exists. Name another file"):
        stream_predictions(model, images, tmp_path / "b.parquet")


def test_the_same_call_goes_on_after_the_last_whole_part(pictures, model, tmp_path, monkeypatch):
    stream_embeddings(model, pictures, tmp_path / "whole", part=5, batch_size=4)
    real, written = os.replace, []

    def full(new, path):
        if Path(path).name == "part-00003.parquet" and not written:
            written.append(path)
            raise OSError(28, "No space left on device", str(path))
        real(new, path)

    monkeypatch.setattr(os, "replace", full)
    output = tmp_path / "resumed"
    with pytest.raises(OSError, match="No space left"):
        stream_embeddings(model, pictures, output, part=5, batch_size=4)
    before = {file: file.stat().st_mtime_ns for file in output.glob("part-*.parquet")}
    assert len(before) == 3
    assert [path.name for path in output.rglob(".*")] == [".left_out"]
    assert stream_embeddings(model, pictures, output, part=5, batch_size=4) == (23, 2)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert rows(output) == rows(tmp_path / "whole")
    assert left_out(output / "left_out.parquet").keys() == {"07.png", "33.png"}
    assert stream_embeddings(model, pictures, output, part=5, batch_size=4) == (23, 2)
    assert len(left_out(output / "left_out.parquet")) == 2
    assert sorted(os.listdir(output)) == [
        ".left_out", "left_out.parquet", *(f"part-0000{i}.parquet" for i in range(5)), "run.json",
    ]  # fmt: skip


def test_other_work_or_files_are_refused_by_name(pictures, model, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    output = tmp_path / "out"
    stream_embeddings(model, folder, output, part=5)
    with pytest.raises(ValueError, match="another call: dtype is 'float32' there and 'float16' he"):
        stream_embeddings(model, folder, output, part=5, dtype="float16")
    tiny(classes=4).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="another call: model is"):
        stream_embeddings(tmp_path / "other.keras", folder, output, part=5)
    with pytest.raises(ValueError, match="work is 'embed' there and 'predict' here"):
        stream_predictions(model, [folder], output, part=5)
    (folder / "08.png").rename(folder / "99.png")
    with pytest.raises(ValueError, match=r"part-00001.parquet holds answers for other files"):
        stream_embeddings(model, folder, output, part=5)
    (folder / "99.png").rename(folder / "08.png")
    for name in ("sub/35.png", "sub/36.png", "sub/37.png", "sub/38.png", "sub/39.png"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="for more files than are there now"):
        stream_embeddings(model, folder, output, part=5)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    with pytest.raises(ValueError, match="holds something else"):
        stream_embeddings(model, folder, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no files to process"):
        stream_embeddings(model, tmp_path / "empty", tmp_path / "none")


def test_what_came_to_nothing_is_no_other_call(pictures, model, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments in ({"dtype": "float16"}, {}):
        with pytest.raises(ValueError, match="no files to process"):
            stream_embeddings(model, tmp_path / "empty", tmp_path / "out", **arguments)
    assert stream_embeddings(model, pictures, tmp_path / "out") == (23, 2)


def test_a_crop_of_another_run_and_other_names_are_refused(pictures, tmp_path):
    def record(crop, names):
        (tmp_path / "run" / "config.json").write_text(f'{{"crop": {crop}, "arguments": {{}}}}')
        (tmp_path / "run" / "class_names.json").write_text(names)

    (tmp_path / "run").mkdir()
    tiny().save(tmp_path / "run" / "model.keras")
    record(0.8, '["a", "b", "c"]')
    stream_predictions(tmp_path / "run", [pictures], tmp_path / "out")
    record(0.9, '["a", "b", "c"]')
    with pytest.raises(ValueError, match=r"another call: crop is 0\.8 there and 0\.9 here"):
        stream_predictions(tmp_path / "run", [pictures], tmp_path / "out")
    record(0.8, '["a", "b", "d"]')
    with pytest.raises(ValueError, match="another call: class_names is"):
        stream_predictions(tmp_path / "run", [pictures], tmp_path / "out")


def test_a_bad_file_that_was_mended_is_left_out_no_longer(pictures, model, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    assert stream_embeddings(model, folder, tmp_path / "out", part=5) == (23, 2)
    shutil.copyfile(folder / "08.png", folder / "07.png")
    (tmp_path / "out" / "part-00001.parquet").unlink()
    assert stream_embeddings(model, folder, tmp_path / "out", part=5) == (24, 1)
    assert left_out(tmp_path / "out" / "left_out.parquet").keys() == {"33.png"}
    with pytest.raises(ValueError, match="without strict and leaves out 1 files"):
        stream_embeddings(model, folder, tmp_path / "out", part=5, strict=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, file names are Unicode")
def test_a_bad_file_with_bytes_of_other_times_in_its_name(model, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    assert stream_embeddings(model, folder, tmp_path / "out") == (0, 1)
    (row,) = parquet.read_table(tmp_path / "out" / "left_out.parquet").to_pylist()
    assert row["path"].endswith("caf\\xe9.png")
    assert "cannot be read as an image" in row["reason"]


def test_what_passes_ends_the_work_and_leaves_nothing_out(pictures, model, tmp_path, monkeypatch):
    real = Image.open

    def busy(path, *arguments):
        if Path(path).name == "08.png":
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *arguments)

    with monkeypatch.context() as system:
        system.setattr(Image, "open", busy)
        with pytest.raises(OSError, match="Too many open files"):
            stream_embeddings(model, pictures, tmp_path / "out", part=5)
    assert stream_embeddings(model, pictures, tmp_path / "out", part=5) == (23, 2)


def test_an_engine_that_loses_rows_is_found_out(pictures, tmp_path):
    def loses(groups, batch_size):
        for group in groups:
            names = [name for piece in group for name in piece.names()][1:]
            yield pyarrow.table({"path": names, "n": [1] * len(names), "reason": [""] * len(names)})

    with pytest.raises(RuntimeError, match="1 parts were not finished by the engine"):
        stream([pictures], {}, loses, tmp_path / "out", batch_size=2, verbose=0)


def test_an_output_among_the_pictures_is_refused(pictures, model):
    for output in (pictures / "out", pictures / "sub" / "a.parquet", pictures):
        for place in (pictures, f"file://{pictures}"):
            with pytest.raises(ValueError, match="its own files would be read as pictures"):
                stream_embeddings(model, place, output)
    assert not (pictures / "out").exists()


def test_a_damaged_part_is_named(pictures, model, tmp_path):
    stream_embeddings(model, pictures, tmp_path / "out", part=10)
    part = tmp_path / "out" / "part-00001.parquet"
    whole = rows(tmp_path / "out")
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"part-00001.parquet is damaged .*Delete it"):
        stream_embeddings(model, pictures, tmp_path / "out", part=10)
    part.unlink()
    assert stream_embeddings(model, pictures, tmp_path / "out", part=10) == (23, 2)
    assert rows(tmp_path / "out") == whole


def test_interrupted_while_parts_are_joined_nothing_is_lost(pictures, model, tmp_path, monkeypatch):
    real, failed = os.replace, []

    def full(new, path):
        if Path(path).name == "a.parquet" and not failed:
            failed.append(path)
            raise OSError(28, "No space left on device", str(path))
        real(new, path)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        stream_embeddings(model, pictures, tmp_path / "a.parquet", part=10)
    assert stream_embeddings(model, pictures, tmp_path / "a.parquet", part=10) == (23, 2)
    assert parquet.read_metadata(tmp_path / "a.parquet").num_rows == 23
    assert left_out(tmp_path / "a.left_out.parquet").keys() == {"07.png", "33.png"}
    assert sorted(os.listdir(tmp_path)) == ["a.left_out.parquet", "a.parquet"]


def test_strict_stops_at_the_first(pictures, model, tmp_path):
    with pytest.raises(ValueError, match=r"07.png cannot be read as an image"):
        stream_embeddings(model, pictures, tmp_path / "out", part=5, batch_size=2, strict=True)
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 1


def test_a_part_of_bad_files_alone_and_links_to_nothing(model, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    (folder / "b.png").symlink_to(folder / "gone")
    assert stream_embeddings(model, folder, tmp_path / "out") == (0, 2)
    table = parquet.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.num_rows == 0
    assert table.schema.field("features").type.list_size == CHANNELS
    reasons = left_out(tmp_path / "out" / "left_out.parquet")
    assert "There is no image file" in reasons["b.png"]


def test_the_commands(pictures, model, tmp_path, capsys):
    assert main(["embed", str(pictures), "--model", str(model), "--output", str(tmp_path / "e"),
                 "--dtype", "float16"]) == 0  # fmt: skip
    assert "23 images embedded; 2 files left out." in capsys.readouterr().out
    command = ["predict", "--model", str(model), str(pictures), "--output", str(tmp_path / "p")]
    assert main(command) == 0
    assert "predictions of 23 files, 2 left out." in capsys.readouterr().out
    assert read_json(tmp_path / "p" / "run.json")["work"] == "predict"
    assert main([*command[:-1], str(tmp_path / "q.parquet"), "--strict"]) == 1
    assert "cannot be read as an image" in capsys.readouterr().err
    assert main(["embed", str(pictures), "--model", str(model), "--output", str(tmp_path / "x"),
                 "--picture", "a.png"]) == 1  # fmt: skip
    assert "Received picture with Parquet. It is for an .npz file" in capsys.readouterr().err
    assert main(["embed", str(pictures), "--model", str(model), "--output", "s3://a/b"]) == 1
    assert "must be on this machine's disks" in capsys.readouterr().err
    for more in (["--skip-corrupt"], ["--format", "csv"]):
        assert main([*command, *more]) == 1
        assert f"Received {more[0]} with --output" in capsys.readouterr().err
    assert main(["embed", str(pictures), "--model", str(model), "--output",
                 str(tmp_path / "x.npz"), "--strict"]) == 1  # fmt: skip
    assert "Received strict with an .npz file. It is for Parquet" in capsys.readouterr().err
    assert main(["embed", str(pictures), "--model", str(model), "--output",
                 str(tmp_path / "x.npz"), "--dtype", "float16"]) == 1  # fmt: skip
    assert "dtype='float16' with an .npz file. It is for Parquet" in capsys.readouterr().err


def test_without_pyarrow_the_error_names_the_extra(pictures, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"keras-inception-v4\[tables\]"):
        stream_embeddings(model, pictures, tmp_path / "out")


def embed_in_small_parts(model, folder, output):
    stream_embeddings(model, folder, output, part=40)


@pytest.mark.slow
def test_killed_thrice_it_ends_with_the_same_rows(pictures, model, tmp_path):
    """SIGKILL after the first, second and third part."""
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(300):
        source = sorted(pictures.glob("*.png"))[index % 15]
        shutil.copyfile(source, folder / f"{index:04}.png")

    def start(output):
        return Forked(embed_in_small_parts, model, folder, output)

    def finish(output):
        process = start(output)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err

    finish(tmp_path / "whole")
    output = tmp_path / "killed"
    for number in range(3):
        process = start(output)
        deadline = time.monotonic() + 240
        while not (output / f"part-{number:05}.parquet").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(output)
    found, expected = rows(output), rows(tmp_path / "whole")
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    assert len({row["path"] for row in found}) == len(found) == 280
    assert found == expected
    assert len(left_out(output / "left_out.parquet")) == 20
