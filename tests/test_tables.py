"""Tables of files and labels: what is read, what is rejected, and splits that keep groups whole."""

import csv
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_inception_v4 import load_weights, transfer_model
from keras_inception_v4.cli import main
from keras_inception_v4.data.folders import read_labelled_folder
from keras_inception_v4.data.splits import split_fold, split_groups
from keras_inception_v4.data.tables import Columns, read_labelled_table, read_rows
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
    "which does not exist": {"file": "bee/none.png"},
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
    try:
        with pytest.raises(ValueError, match="1 rows cannot be used") as caught:
            read(table, photos)
        assert reason in str(caught.value)
        data = read(table, photos, skip_corrupt=True)

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
        ("file,file\na.png,b\n", "two columns of the same name"),
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
    with pytest.raises(ValueError, match=r"decimal numbers as labels \(0.0, 0.25, .*not classes"):
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
    with pytest.raises(ValueError, match="belong to one group"):
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


# Several classes a picture, numbers, and folds.


def shown_in(path):
    """Some classes for a picture: its folder's, and every other one is old."""
    own = path.parent.name
    return [own, "old"] if int(path.stem) % 2 else [own]


def values_of(data):
    names = np.array(data.class_names)
    return {path.name if path.parent is None else f"{path.parent.name}/{path.name}":
            sorted(names[row == 1]) for side in (data.train, data.validation)
            for path, row in zip(side.paths, side.labels, strict=True)}  # fmt: skip


@pytest.mark.parametrize("mark", ["|", ";", ", ", " | "])
def test_several_names_in_a_cell(photos, tmp_path, capsys, mark):
    rows = rows_of(photos, label=lambda path: mark.join(shown_in(path)))
    table = write(tmp_path / "a.csv", rows)
    if mark == ", ":  # a comma may belong to a name: somebody must say it
        with pytest.raises(ValueError, match=r"several labels for .*pass --task\s+multi-label"):
            read(table, photos)
    asked = {"task": "multi-label"} if mark == ", " else {}
    data = read_labelled_table(table, (20, 24), crop=1.0, images=photos, **asked)
    assert data.task == "multi-label"
    assert data.class_names == ["2", "ant", "bee", "old"]
    assert values_of(data)["bee/1.png"] == ["bee", "old"]
    assert values_of(data)["bee/2.png"] == ["bee"]
    assert "(multi-label): path from 'file'" in capsys.readouterr().err
    assert data.train.labels.shape[1] == 4
    listed = data.listing()["train"]
    assert set(listed) <= {row["file"] for row in rows}
    assert data.validation.labels.any(axis=0).all()  # every class can be measured


def test_commas_in_names(photos, tmp_path):
    """As ImageNet's: `projectile, missile` beside `missile`."""
    names = {"2": "missile", "ant": "projectile, missile", "bee": "a, missile"}
    rows = rows_of(photos, label=lambda path: names[path.parent.name])
    table = write(tmp_path / "a.csv", rows)
    with pytest.raises(ValueError, match="9 rows cannot be used"):
        read(table, photos)
    data = read(table, photos, task="single-label")
    assert data.class_names == ["a, missile", "missile", "projectile, missile"]
    known = ["a, missile", "missile", "projectile, missile", "wasp"]
    found = read_rows(table, images=photos, task="multi-label", names=known, verbose=False)
    assert found.targets.values.sum(axis=0).tolist() == [5, 6, 4, 0]


def test_one_stray_cell_changes_no_task(photos, tmp_path):
    rows = rows_of(photos)
    rows[3]["label"] = "ant|bee"
    table = write(tmp_path / "a.csv", rows)
    with pytest.raises(ValueError, match=r"1 rows cannot be used.*\n.*several labels for 2/3.png"):
        read(table, photos)
    rows[4]["label"], rows[5]["label"] = "ant|bee", ""
    table = write(tmp_path / "b.csv", rows)
    with pytest.raises(ValueError, match=r"no label for 2/5.png; if it shows no class, pass"):
        read(table, photos)
    asked = read(table, photos, task="multi-label")
    assert len(asked.train) + len(asked.validation) == 15


def test_a_cell_that_is_no_flag_does_not_lose_its_column(photos, tmp_path):
    rows = rows_of(photos, ant=lambda p: int(p.parent.name == "ant"), old=lambda p: int(p.stem) % 2)
    for row in rows:
        del row["label"]
    rows[2]["old"] = ""
    with pytest.raises(ValueError, match=r"has '' as old for 2/2.png, which is neither 0 nor 1"):
        read(write(tmp_path / "a.csv", rows), photos)
    rows[2]["old"] = 1
    spaced = [{key if key == "file" else f" {key}": v for key, v in row.items()} for row in rows]
    data = read(write(tmp_path / "b.csv", spaced), photos, columns=Columns(label="old,ant"))
    assert data.class_names == ["old", "ant"]


def test_columns_are_those_of_the_model(photos, tmp_path):
    rows = rows_of(photos, w=lambda p: int(p.stem), h=lambda p: 100 + int(p.stem))
    table = write(tmp_path / "a.csv", rows)
    found = read_rows(table, images=photos, task="regression", names=["h", "w"], verbose=False,
                      columns=Columns(label="w,h"))  # fmt: skip
    assert found.targets.names == ["h", "w"]
    assert found.targets.values[0].tolist() == [100, 0]
    flags = rows_of(photos, ant=lambda p: 1, bee=lambda p: 0)
    with pytest.raises(ValueError, match="no column for the model's classes wasp"):
        read_rows(
            write(tmp_path / "b.csv", flags), images=photos, task="multi-label", verbose=False,
            names=["ant", "bee", "wasp"], columns=Columns(label="ant,bee"),
        )  # fmt: skip


def test_a_class_has_a_column(photos, tmp_path):
    rows = rows_of(photos, ant=lambda p: int(p.parent.name == "ant"), old=lambda p: int(p.stem) % 2)
    for row in rows:
        del row["label"]
    data = read(write(tmp_path / "a.csv", rows), photos)
    assert (data.task, data.class_names) == ("multi-label", ["ant", "old"])
    assert values_of(data)["bee/2.png"] == []
    assert values_of(data)["ant/1.png"] == ["ant", "old"]
    named = read(write(tmp_path / "b.parquet", rows), photos, columns=Columns(label="old, ant"))
    assert named.class_names == ["old", "ant"]
    rows[0]["ant"] = 2
    with pytest.raises(ValueError, match=r"has '2' as ant for 2/0.png, which is neither 0 nor 1"):
        read(write(tmp_path / "c.csv", rows), photos, columns=Columns(label="old,ant"))
    with pytest.raises(ValueError, match=r"2 columns of labels. One class per image needs one"):
        read(write(tmp_path / "c.csv", rows), photos, columns=Columns(label="old,ant"),
             task="single-label")  # fmt: skip


def test_numbers_are_asked_for_by_name(photos, tmp_path):
    rows = rows_of(photos, age=lambda path: 0.5 + int(path.stem), size=lambda path: 7)
    table = write(tmp_path / "a.csv", rows)
    data = read(table, photos, task="regression", columns=Columns(label="age"))
    assert (data.task, data.class_names) == ("regression", ["age"])
    for side in (data.train, data.validation):
        for path, (age,) in zip(side.paths, side.labels, strict=True):
            assert age == 0.5 + int(path.stem)
    both = read(table, photos, task="regression", columns=Columns(label="age,size"))
    assert both.class_names == ["age", "size"]
    assert both.train.labels.shape[1] == 2
    for cell, reason in (("old", "not a number"), ("nan", "not finite"), ("1e999", "not finite"),
                         ("", "not a number")):  # fmt: skip
        rows[2]["age"] = cell
        with pytest.raises(ValueError, match=f"as age for 2/2.png, which is {reason}"):
            read(write(tmp_path / "b.csv", rows), photos, task="regression",
                 columns=Columns(label="age"))  # fmt: skip


def test_what_several_names_must_not_be(photos, tmp_path):
    rows = rows_of(photos)
    rows[0]["label"], rows[1]["label"], rows[2]["label"] = "2|ant", "2|ant", "2, ant"
    with pytest.raises(ValueError, match=r"labels with '\|' and with ',' between names"):
        read(write(tmp_path / "a.csv", rows), photos)
    rows[2]["label"] = "2;ant"
    with pytest.raises(ValueError, match=r"labels with '\|' and with ';' between names"):
        read(write(tmp_path / "a.csv", rows), photos)
    names = ["ant", "bee", "2"]
    rows[1]["label"] = rows[2]["label"] = "2|wasp"
    with pytest.raises(ValueError, match=r"1 labels that are not classes of the model: wasp"):
        read_rows(write(tmp_path / "b.csv", rows), images=photos, names=names, verbose=False,
                  task="multi-label")  # fmt: skip
    with pytest.raises(ValueError, match=r"columns of targets \(label\), and the model predicts 2"):
        read_rows(write(tmp_path / "b.csv", rows), images=photos, names=["a", "b"], verbose=False,
                  task="regression")  # fmt: skip
    with pytest.raises(ValueError, match=r"loss='huber'. It is for task='regression'"):
        Settings(data="a.csv", loss="huber")
    with pytest.raises(ValueError, match="fold=3 with folds=2"):
        Settings(data="a.csv", folds=2, fold=3)
    with pytest.raises(ValueError, match=r"folds=1. It must be at least 2"):
        Settings(data="a.csv", folds=1)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_groups_of_several_classes_are_on_one_side(data):
    """200 random tables: every class of two groups has training and held-out pictures."""
    count = data.draw(st.integers(2, 10), label="groups")
    classes = data.draw(st.integers(1, 4), label="classes")
    row = st.lists(st.booleans(), min_size=classes, max_size=classes)
    content = data.draw(st.lists(st.lists(row, min_size=1, max_size=4), min_size=count,
                                 max_size=count))  # fmt: skip
    labels = np.array([row for group in content for row in group]).astype("float32")
    groups = np.array([name for name, group in enumerate(content) for _ in group])
    holders = [set(groups[labels[:, c] == 1]) for c in range(classes)]
    tied = {next(iter(of)) for of in holders if len(of) == 1}
    if tied == set(groups):
        with pytest.raises(ValueError, match="None of the"):
            split_groups(labels, groups, 0.2, 0)
        return
    train, held_out = split_groups(labels, groups, 0.2, 0)
    assert sorted([*train, *held_out]) == list(range(len(labels)))
    assert not set(groups[train]) & set(groups[held_out])
    assert len(held_out)
    for column, of in zip(labels.T, holders, strict=True):
        assert not of or column[train].any()
        if len(of - tied) and not column[held_out].any():
            for group in of - tied:  # each of them would take a class's last training pictures
                rest = labels[train][groups[train] != group]
                assert any(len(other) and not rest[:, c].any() for c, other in enumerate(holders))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_folds_hold_out_everything_once(data):
    count = data.draw(st.integers(6, 30))
    folds = data.draw(st.integers(2, 3))
    kind = data.draw(st.sampled_from(["one", "several", "numbers"]))
    grouped = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = {
        "one": np.arange(count) // 2 % 2,
        "several": np.ones((count, 2)),
        "numbers": np.empty((count, 0)),
    }[kind]
    groups = rng.permutation(np.arange(count) % (count // 2)) if grouped else None
    if grouped and kind == "one":
        groups = np.arange(count) % (count // 2)  # of both classes
    seen = []
    for fold in range(1, folds + 1):
        train, held_out = split_fold(labels, groups, (fold, folds), 3)
        assert sorted([*train, *held_out]) == list(range(count))
        if grouped:
            assert not set(groups[train]) & set(groups[held_out])
        seen += held_out.tolist()
    assert sorted(seen) == list(range(count))


def test_folds_that_cannot_be(photos, tmp_path):
    with pytest.raises(ValueError, match="folds=5 for 4 images"):
        split_fold(np.arange(4) % 2, None, (1, 5), 0)
    with pytest.raises(ValueError, match=r"Fold \d of 2 would hold out all images of a class"):
        split_fold(np.array([0, 0, 0, 1]), np.array([1, 2, 3, 4]), (1, 2), 0)
    with pytest.raises(ValueError, match="folds=3, and no class has that many images"):
        split_fold(np.array([0, 0, 1, 1]), None, (1, 3), 0)
    rows = rows_of(photos, split=lambda path: "val" if path.stem == "0" else "train")
    with pytest.raises(ValueError, match="has held-out images of its own"):
        read(write(tmp_path / "a.csv", rows), photos, fold=(1, 2))


OPTIONS = ["--image-size", "75", "--head-epochs", "3", "--batch-size", "4", "--epochs", "0"]


@pytest.mark.usefixtures("shallow")
def test_folds_by_the_command(photos, tmp_path, shallow_file, capsys):
    command = ["train", str(photos), "--output", str(tmp_path / "runs"), *OPTIONS,
               "--weights", str(shallow_file), "--folds", "2"]  # fmt: skip
    assert main([*command, "--fold", "2", "--output", str(tmp_path / "runs" / "fold_2")]) == 0
    once = (tmp_path / "runs" / "fold_2" / "report.json").read_text()
    assert main(command) == 0
    assert (tmp_path / "runs" / "fold_2" / "report.json").read_text() == once  # not trained again
    printed = capsys.readouterr().out
    for word in ("mean", "spread", "fold 1", "fold 2", "accuracy"):
        assert word in printed
    summary = read_json(tmp_path / "runs" / "folds.json")
    accuracies = [report["accuracy"] for report in summary["folds"]]
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert summary["spread"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    held = [read_json(tmp_path / "runs" / f"fold_{i}" / "data.json")["validation"] for i in (1, 2)]
    files = [{name for names in side.values() for name in names} for side in held]
    assert not files[0] & files[1]
    assert len(files[0] | files[1]) == 15
    assert main([*command[:2], "--output", str(tmp_path / "runs" / "fold_1"), *command[4:]]) == 1
    assert "holds a run. Name another folder for the folds" in capsys.readouterr().err


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_the_way_of_other_tasks(photos, tmp_path, shallow_file, capsys, task):
    """Train, predict, evaluate, explain, export and convert, by the commands."""
    rows = rows_of(photos, label=lambda path: "|".join(shown_in(path)),
                   age=lambda path: 30 + int(path.stem))  # fmt: skip
    table = str(write(tmp_path / "labels.csv", rows))
    run = str(tmp_path / "run")
    more = ["--task", "regression", "--label-column", "age"] if task == "regression" else []
    assert main(["train", table, "--output", run, *OPTIONS, "--validation-split", "0.4",
                 "--images", str(photos), "--weights", str(shallow_file), *more]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    regression = task == "regression"
    assert ("held-out R2" if regression else "held-out mean average precision") in printed
    report = read_json(tmp_path / "run" / "report.json")
    assert report["task"] == task
    picture = "scatter.png" if regression else "average_precision.png"
    with Image.open(tmp_path / "run" / picture) as image:
        assert image.size[0] > 200
    names = read_json(tmp_path / "run" / "class_names.json")
    assert names == (["age"] if regression else ["2", "ant", "bee", "old"])
    assert (tmp_path / "run" / "thresholds.json").exists() != regression

    where = ["--images", str(photos)]
    assert main(["evaluate", run, table, *where, "--report", str(tmp_path / "found.json"),
                 "--picture", str(tmp_path / "found.png")]) == 0  # fmt: skip
    assert ("age" if regression else "average precision") in capsys.readouterr().out
    found = read_json(tmp_path / "found.json")
    assert found["images"] == 15
    assert ("per_target" if regression else "per_class") in found

    photo = str(photos / "bee" / "1.png")
    assert main(["predict", "--model", run, photo, "--format", "json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    if regression:
        (target,) = answer["targets"]
        assert target["target"] == "age"
        assert 25 < target["value"] < 45
    else:
        thresholds = read_json(tmp_path / "run" / "thresholds.json")
        assert all(found["probability"] >= thresholds[found["class"]] for found in answer["top"])
        assert main(["predict", "--model", run, photo, "--threshold", "0", "--format", "json",
                     "--top", "9"]) == 0  # fmt: skip
        (everything,) = json.loads(capsys.readouterr().out)
        assert len(everything["top"]) == 4
        for threshold in ("1.5", "-0.1", "nan", "high"):
            assert main(["predict", "--model", run, photo, f"--threshold={threshold}"]) == 1
            assert "It must be from 0 to 1, or 'best'" in capsys.readouterr().err
    for command in (["predict", "--model", run, photo], ["evaluate", run, table, *where]):
        status = main([*command, "--threshold", "best"])
        assert status == int(regression)
        if regression:
            assert "for several classes an image" in capsys.readouterr().err
    assert main(["evaluate", run, str(photos)]) == 1
    assert f"the model's task is {task}. Give a table" in capsys.readouterr().err

    assert main(["explain", "--model", run, photo, "--output", str(tmp_path / "map.png")]) == 0
    assert ("age" if regression else "old") in capsys.readouterr().out
    assert main(["convert", run, str(tmp_path / "timm.safetensors")]) == 0
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    again = transfer_model(len(names), task=task, weights=tmp_path / "timm.safetensors",
                           input_shape=model.input_shape[1:], augment=False)  # fmt: skip
    load_weights(again, tmp_path / "timm.safetensors")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:]))
    np.testing.assert_allclose(
        again.predict_on_batch(pixels), model.predict_on_batch(pixels), rtol=1e-5, atol=1e-5
    )
