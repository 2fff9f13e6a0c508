"""Tables of files and labels: what is read, what is refused, and splits that keep groups whole."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_inception_v4.cli import main
from keras_inception_v4.data.folders import read_labelled_folder
from keras_inception_v4.data.splits import split_groups
from keras_inception_v4.data.tables import Columns, read_labelled_table
from keras_inception_v4.files import read_json
from keras_inception_v4.runs.settings import Settings

COUNTS = {"ant": 4, "bee": 5, "2": 6}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with a subfolder a class, one of which is called as a number."""
    folder = tmp_path_factory.mktemp("tables") / "photos"
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 255, (20, 24, 3), "uint8")
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def rows_of(photos, **more):
    return [
        {"file": path.relative_to(photos).as_posix(), "label": path.parent.name,
         **{name: value(path) for name, value in more.items()}}
        for path in sorted(photos.rglob("*.png"))
    ]  # fmt: skip


def write(path, rows, delimiter=","):
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def read(table, photos, **arguments):
    return read_labelled_table(table, (20, 24), crop=1.0, images=photos, verbose=False, **arguments)


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.parquet", None)],
)
def test_a_table_is_the_folder_that_it_tells_of(photos, tmp_path, name, delimiter):
    table = write(tmp_path / name, rows_of(photos), delimiter)
    found = read(table, photos, seed=3)
    folder = read_labelled_folder(photos, (20, 24), crop=1.0, seed=3, verbose=False)
    assert found.class_names == folder.class_names == sorted(COUNTS)
    for ours, theirs in ((found.train, folder.train), (found.validation, folder.validation)):
        assert ours.paths == theirs.paths
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert found.listing() == folder.listing()


def test_paths_are_the_table_s_own_folder_s(photos):
    table = write(photos / "labels.csv", rows_of(photos))
    found = read_labelled_table(table, (20, 24), crop=1.0, verbose=False)
    table.unlink()
    assert len(found.train) + len(found.validation) == 15


def test_parts_and_groups_are_as_the_table_says(photos, tmp_path, capsys):
    def part(path):
        return {"0": "Val", "1": "test"}.get(path.stem, "train")

    rows = rows_of(photos, Split=part, group=lambda path: f"{path.parent.name}{path.stem}")
    table = write(tmp_path / "a.csv", rows)
    data = read_labelled_table(table, (20, 24), crop=1.0, images=photos)
    assert [len(x) for x in (data.train, data.validation, data.test)] == [9, 3, 3]
    assert {path.stem for path in data.validation.paths} == {"0"}
    told = capsys.readouterr().err
    for text in ("path from 'file'", "label from 'label'", "split from 'Split'",
                 "group from 'group'", "train: 9 images", "3 classes (2, ant, bee)"):  # fmt: skip
        assert text in told
    rows[0]["group"] = rows[-1]["group"]
    with pytest.raises(ValueError, match=r"group 'bee4' in .* A\s+group belongs to one part"):
        read(write(tmp_path / "b.csv", rows), photos)


def test_groups_are_whole(photos, tmp_path):
    rows = rows_of(photos, patient=lambda path: int(path.stem) // 2)
    table = write(tmp_path / "a.parquet", rows)
    data = read(table, photos, columns=Columns(group="patient"), validation_split=0.3, seed=1)
    sides = [{int(path.stem) // 2 for path in x.paths} for x in (data.train, data.validation)]
    assert not sides[0] & sides[1]
    assert set(data.validation.labels) == {0, 1, 2}


def test_a_class_without_held_out_images_is_named(photos, tmp_path, capsys):
    rows = rows_of(photos, group=lambda path: "all ants" if path.parent.name == "ant" else path)
    read_labelled_table(
        write(tmp_path / "a.csv", rows), (20, 24), crop=1.0, images=photos, verbose=True
    )
    assert "validation has no images of ant" in capsys.readouterr().err


BAD = {
    "has no path": {"file": ""},
    "which is not there": {"file": "bee/none.png"},
    "which is outside": {"file": "../secret.png"},
    "names /etc/passwd, which is outside": {"file": "/etc/passwd"},
    "has no label for bee/1.png": {"file": "bee/1.png", "label": " "},
    "has several labels for bee/1.png: 'bee|ant'": {"file": "bee/1.png", "label": "bee|ant"},
    "has several labels for bee/1.png: 'bee;ant'": {"file": "bee/1.png", "label": "bee;ant"},
    "has several labels for bee/1.png: 'bee, ant'": {"file": "bee/1.png", "label": "bee, ant"},
    "has the split 'holdback', which is none of": {"file": "bee/1.png", "split": "holdback"},
    "has no group for bee/1.png": {"file": "bee/1.png", "group": ""},
    "names ant/0.png, as row": {"file": "ant/0.png", "label": "bee"},
    "cannot be read as an image": {"file": "broken.png"},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_row_that_cannot_be_used_is_listed_or_left_out(photos, tmp_path, reason):
    (photos / "broken.png").write_bytes(b"no image")
    rows = rows_of(photos, split=lambda path: "val" if path.stem == "0" else "train",
                   group=lambda path: path.stem)  # fmt: skip
    rows = [row for row in rows if row["file"] not in ("bee/1.png", "broken.png")]
    rows.append(
        {"file": "bee/1.png", "label": "bee", "split": "train", "group": "x", **BAD[reason]}
    )
    table = write(tmp_path / "a.csv", rows)
    asked = {"task": "single-label"} if "several labels" in reason else {}
    try:
        with pytest.raises(ValueError, match="1 rows cannot be used") as caught:
            read(table, photos, **asked)
        assert reason in str(caught.value)
        data = read(table, photos, skip_corrupt=True, **asked)
        assert len(data.left_out) == 1
        assert len(data.train) + len(data.validation) == 14
    finally:
        (photos / "broken.png").unlink()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("file,label\n", "has no rows"),
        ("file,label\na.png\n", "cannot be read as a table"),
        ("file,file\na.png,b\n", "two columns of one name"),
        ("file,name\na.png,b\n", r"no column for the label.*label, labels, class, target.*--label"),
        ("where,label\na.png,b\n", r"no column for the path.*--path-column"),
        (
            "file,path,label\na,b,c\n",
            r"columns file, path, each of which may be the path",
        ),
        (b"file,label\n\xff\xfe.png,b\n", "cannot be read as a table"),
    ],
)
def test_a_table_that_cannot_be_read(photos, tmp_path, text, message):
    table = tmp_path / "a.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        read(table, photos)


def test_a_name_may_have_a_comma(photos, tmp_path):
    rows = [{**row, "label": row["label"].replace("ant", "Ant, red")} for row in rows_of(photos)]
    assert read(write(tmp_path / "a.csv", rows), photos).class_names == ["2", "Ant, red", "bee"]


def test_a_damaged_parquet_file(photos, tmp_path):
    table = write(tmp_path / "a.parquet", rows_of(photos))
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read as a table"):
        read(table, photos)


def test_other_mistakes(photos, tmp_path):
    table = write(tmp_path / "a.csv", rows_of(photos))
    with pytest.raises(ValueError, match=r"no column 'kind' of single values. It has file, label"):
        read(table, photos, columns=Columns(label="kind"))
    with pytest.raises(FileNotFoundError, match="no table"):
        read(tmp_path / "none.csv", photos)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read(table, tmp_path / "gone")
    with pytest.raises(ValueError, match="1 classes with images"):
        read(write(tmp_path / "b.csv", [r for r in rows_of(photos) if r["label"] == "ant"]), photos)
    few = [r for r in rows_of(photos) if r["label"] != "ant" or r["file"] == "ant/0.png"]
    with pytest.raises(ValueError, match="one image of ant"):
        read(write(tmp_path / "c.csv", few), photos)
    rows = rows_of(photos, split=lambda p: "val" if p.parent.name == "ant" else "train")
    with pytest.raises(ValueError, match="no training images of ant"):
        read(write(tmp_path / "d.csv", rows), photos)
    rows = rows_of(photos)
    for index, row in enumerate(rows):
        row["label"] = f"{index / 4}"
    with pytest.raises(ValueError, match=r"numbers as labels \(0.0, 0.25, .*no classes"):
        read(write(tmp_path / "e.csv", rows), photos)
    rows = [{**row, "label": [row["label"]]} for row in rows_of(photos)]
    with pytest.raises(ValueError, match=r"no column for the label: none of file is called"):
        read(write(tmp_path / "f.parquet", rows), photos)
    with pytest.raises(ValueError, match="nested with a table"):
        Settings(data="a.csv", nested=True)
    with pytest.raises(ValueError, match=r"label_column with data='photos', which is no table"):
        Settings(data="photos", label_column="kind")


def test_without_pyarrow_the_error_names_the_extra(photos, tmp_path, monkeypatch):
    table = write(tmp_path / "a.csv", rows_of(photos))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"keras-inception-v4\[tables\]"):
        read(table, photos)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_group_is_on_two_sides(data):
    """200 random tables; a class of two groups has held-out images, but for a good reason."""
    count = data.draw(st.integers(2, 12), label="groups")
    classes = data.draw(st.integers(2, 4), label="classes")
    of_group = st.lists(st.integers(0, classes - 1), min_size=1, max_size=6)
    content = data.draw(st.lists(of_group, min_size=count, max_size=count))
    labels = np.array([label for group in content for label in group])
    labels = np.unique(labels, return_inverse=True)[1]
    groups = np.array([name for name, group in enumerate(content) for _ in group])
    only = [
        {group for group in set(groups) if label in labels[groups == group]}
        for label in range(labels.max() + 1)
    ]
    tied = {next(iter(of)) for of in only if len(of) == 1}  # groups with a class's only images
    if tied == set(groups):
        with pytest.raises(ValueError, match="None of the"):
            split_groups(labels, groups, 0.2, 0)
        return
    train, held_out = split_groups(labels, groups, 0.2, 0)
    assert sorted([*train, *held_out]) == list(range(len(labels)))
    assert not set(groups[train]) & set(groups[held_out])
    assert set(labels[train]) == set(labels)
    for label, of in enumerate(only):
        if len(of - tied) and label not in labels[held_out]:
            kept = [group for group in of - tied if group in groups[train]]
            for group in kept:  # each of them would take another class's last training images
                rest = labels[train][groups[train] != group]
                assert set(rest) != set(labels)


def test_groups_that_cannot_be_split():
    with pytest.raises(ValueError, match="of one group"):
        split_groups([0, 1, 0], [5, 5, 5], 0.2, 0)
    with pytest.raises(ValueError, match=r"validation_split=0.9.*at\s+most 0.5"):
        split_groups([0, 1, 0], [5, 6, 5], 0.9, 0)


@pytest.mark.usefixtures("shallow")
def test_the_command_takes_a_table(photos, tmp_path, shallow_file, capsys):
    """The same report as from the folder, to the last digit, since both read the same images."""
    reports = []
    options = ["--weights", str(shallow_file), "--image-size", "75", "--head-epochs", "2",
               "--epochs", "0", "--batch-size", "4"]  # fmt: skip
    table = write(tmp_path / "labels.csv", rows_of(photos))
    for data, name, more in (
        (photos, "folder", []),
        (table, "table", ["--images", str(photos), "--label-column", "label"]),
    ):
        assert main(["train", str(data), "--output", str(tmp_path / name), *options, *more]) == 0
        reports.append(read_json(tmp_path / name / "report.json"))
        reports[-1].pop("seconds")
    assert reports[0] == reports[1]
    recorded = read_json(tmp_path / "table" / "config.json")["arguments"]
    assert recorded["label_column"] == "label"
    assert "group_column" not in recorded
    assert "path from 'file'" in capsys.readouterr().err
