import os

import pytest

from keras_inception_v4.files import check_name, printable, read_json, replacing, write_json


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as new:
        assert new.suffix == ".txt"
        new.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
        (path / "inside").write_text("old")
    else:
        path.write_text("old")

    def fail():
        with replacing(path) as new:
            new.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert os.listdir(tmp_path) == ["thing"]
    assert (path / "inside" if kind == "folder" else path).read_text() == "old"


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "folder"
    for text in ("old", "new"):
        with replacing(path) as new:
            new.mkdir()
            (new / text).write_text(text)
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["folder"]


def test_json(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, "b"]})
    assert read_json(path) == {"a": [1, "b"]}
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match=r"x\.json is not valid JSON"):
        read_json(path)


@pytest.mark.parametrize(
    "content", [{"loss": float("nan")}, [float("inf")], {"a": {"b": [-float("inf")]}}, float("nan")]
)
def test_json_has_no_nan(tmp_path, content):
    write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(ValueError, match=r"x\.json cannot be written as JSON: .* not JSON"):
        write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == {"old": 1}


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "é" * 140, "x" * 300, "日" * 90 + ".json"])
def test_a_name_too_long_for_the_disk_is_said_before_the_work(tmp_path, name):
    if len(name.encode()) <= 255:
        check_name(tmp_path / "not yet there" / name)
        with replacing(tmp_path / name) as new:
            new.write_text("whole")
        assert os.listdir(tmp_path) == [name]
        return
    with pytest.raises(OSError, match=r"The file name has \d+ bytes, and the disk allows 255"):
        check_name(tmp_path / "not yet there" / name)


@pytest.mark.parametrize(
    ("name", "encoding", "expected"),
    [
        ("café", "utf-8", "café"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "utf-8", "caf\\udce9"),
        ("cat 🐈", "cp1252", "cat \\U0001f408"),
        ("日本", "ascii", "\\u65e5\\u672c"),
    ],
)
def test_what_an_encoding_does_not_have_is_escaped(name, encoding, expected):
    assert printable(name, encoding) == expected


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_interruption_in_the_swap_leaves_the_old(tmp_path, monkeypatch, kind):
    path = tmp_path / "thing"
    (path if kind == "folder" else tmp_path / "x").mkdir()
    inside = path / "a" if kind == "folder" else path
    inside.write_text("old")
    replace = os.replace

    def interrupted(source, target):
        if str(target) == str(path) and "old-" not in str(source):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:  # noqa: PT012
        if kind == "folder":
            new.mkdir()
        (new / "a" if kind == "folder" else new).write_text("new")
    assert inside.read_text() == "old"
    assert not [entry for entry in os.listdir(tmp_path) if entry.startswith(".")]
