"""The table of predictions for every image: it adds up to the totals and is written to a file."""

import csv
import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score
from test_tasks import model_of
from tiny import CHANNELS, tiny

from keras_inception_v4 import evaluate
from keras_inception_v4.cli import main
from keras_inception_v4.evaluation import columns_of
from keras_inception_v4.files import read_json
from keras_inception_v4.inference.answer_table import write_answers
from keras_inception_v4.tasks import TASKS, Measured

NAMES = ["ant", "bee", "cat"]
# Few values, so that there are ties.
LEVELS = st.integers(0, 8)


def measured(task, levels, truths, weights=None):
    """A report and its columns, of answers in steps of an eighth."""
    answers = np.array(levels, "float32").reshape(-1, 3) / 8
    task = TASKS[task]
    found = Measured(answers, task.check_targets(np.array(truths), 3), weights)
    return task.measure(found, NAMES), columns_of(task, found, NAMES)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_answers_of_one_class_add_up(data):
    count = data.draw(st.integers(1, 12))
    levels = data.draw(st.lists(LEVELS, min_size=3 * count, max_size=3 * count))
    labels = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    weights = data.draw(st.one_of(st.none(), st.lists(
        st.integers(1, 5), min_size=count, max_size=count)))  # fmt: skip
    report, columns = measured("single-label", levels, labels, weights)
    assert {len(values) for values in columns.values()} == {report["images"]} == {count}
    assert columns.get("weight") == weights
    right = np.array(columns["correct"])
    assert report["accuracy"] == np.average(right, weights=weights)
    assert report["top_5_accuracy"] == np.average(
        np.array(columns["rank"]) <= 5, weights=weights
    )  # fmt: skip
    assert report["confusion_matrix"] == confusion_matrix(
        columns["label"], columns["predicted"], labels=NAMES, sample_weight=weights
    ).tolist()  # fmt: skip
    assert np.array_equal(right, np.array(columns["label"]) == np.array(columns["predicted"]))
    assert np.array_equal(right, np.array(columns["rank"]) == 1)
    margins = np.array(columns["margin"])
    assert right[margins > 0].all()
    assert not right[margins < 0].any()
    for name, predicted, classes, values, loss in zip(
        *(columns[key] for key in ("label", "predicted", "classes", "probabilities", "loss")),
        strict=True,
    ):
        assert predicted == classes[0]
        assert values == sorted(values, reverse=True)
        expected = max(values[classes.index(name)], 1e-7)
        assert loss == pytest.approx(-np.log(expected), rel=1e-6)
    json.dumps(columns, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_answers_of_several_classes_add_up(data):
    count = data.draw(st.integers(1, 12))
    size = 3 * count
    levels = data.draw(st.lists(LEVELS, min_size=size, max_size=size))
    truths = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    truths = np.reshape(truths, (count, 3))
    report, columns = measured("multi-label", levels, truths)
    right, margins = np.array(columns["correct"]), np.array(columns["margin"])
    assert report["exact_match"] == np.mean(right)
    assert right[margins > 0].all()
    assert not right[margins < 0].any()
    flags = [[[name in row for name in NAMES] for row in columns[key]]
             for key in ("label", "predicted")]  # fmt: skip
    assert np.array_equal(flags[0], truths == 1)
    assert report["micro_f1"] == f1_score(*flags, average="micro", zero_division=0)
    assert report["macro_f1"] == f1_score(*flags, average="macro", zero_division=0)
    for row, classes, values, loss in zip(
        truths, columns["classes"], columns["probabilities"], columns["loss"], strict=True
    ):
        assert values == sorted(values, reverse=True)
        own = [value if row[NAMES.index(name)] else 1 - value
               for name, value in zip(classes, values, strict=True)]  # fmt: skip
        assert loss == pytest.approx(-np.mean(np.log(np.maximum(own, 1e-7))), rel=1e-6)
    json.dumps(columns, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(LEVELS, LEVELS, LEVELS, LEVELS, LEVELS, LEVELS), min_size=2, max_size=9))
def test_answers_in_quantities_add_up(rows):
    levels, truths = np.array(rows)[:, :3], np.array(rows, "float32")[:, 3:]
    report, columns = measured("regression", levels, truths)
    errors = np.array(columns["error"])
    np.testing.assert_array_equal(columns["predicted"], np.array(columns["label"]) + errors)
    for index, row in enumerate(report["per_target"].values()):
        assert row["mean_absolute_error"] == pytest.approx(np.mean(np.abs(errors[:, index])))
        assert row["root_mean_squared_error"] ** 2 == pytest.approx(np.mean(errors[:, index] ** 2))
    assert np.isfinite(columns["loss"]).all()


def test_evaluate_returns_them_when_asked():
    pixels = np.random.default_rng(1).uniform(0, 255, (5, 75, 75, 3)).astype("float32")
    labels, weights = np.array([0, 1, 2, 0, 1]), np.array([1, 2, 0.5, 1, 1])
    plain = evaluate(tiny(), (pixels, labels, weights), verbose=False)
    assert "answers" not in plain
    found = evaluate(tiny(), (pixels, labels, weights), verbose=False, answers=True)
    columns = found.pop("answers")
    assert found == plain
    assert columns["label"] == ["0", "1", "2", "0", "1"]
    assert columns["weight"] == weights.tolist()
    assert np.average(columns["correct"], weights=weights) == plain["accuracy"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Nine pictures that differ, in three folders, and a model that answers them in its own way."""
    folder = tmp_path_factory.mktemp("answers")
    rng = np.random.default_rng(0)
    for index in range(9):
        path = folder / "photos" / NAMES[index // 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = rng.integers(0, 256, 3) * np.ones((80, 80, 1))
        Image.fromarray(color.astype("uint8")).save(path)
    for task, size in (("single-label", 75), ("multi-label", 30)):
        model = tiny() if task == "single-label" else model_of(task)
        model.get_layer("predictions").kernel.assign(3 * rng.normal(size=(CHANNELS, 3)))
        (folder / task).mkdir()
        model.save(folder / task / "model.keras")
        (folder / task / "class_names.json").write_text(json.dumps(NAMES))
        (folder / task / "config.json").write_text('{"crop": 1.0, "arguments": {}}')
        assert model.input_shape[1] == size
    return folder


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_command_writes_a_row_an_image(photos, tmp_path, capsys, suffix):
    path = tmp_path / f"answers{suffix}"
    assert main(["evaluate", str(photos / "single-label"), str(photos / "photos"), "--answers",
                 str(path), "--report", str(tmp_path / "report.json")]) == 0  # fmt: skip
    report = read_json(tmp_path / "report.json")
    assert "answers" not in report
    if suffix == ".csv":
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        correct = [row["correct"] == "True" for row in rows]
        classes = [row["classes"].split("|") for row in rows]
    else:
        rows = parquet.read_table(path).to_pylist()
        correct, classes = [row["correct"] for row in rows], [row["classes"] for row in rows]
    assert [row["path"] for row in rows] == sorted(map(str, photos.glob("photos/*/*.png")))
    assert [row["label"] for row in rows] == [name for name in NAMES for _ in range(3)]
    assert np.mean(correct) == report["accuracy"]
    assert all(set(names) == set(NAMES) for names in classes)
    assert [names[0] for names in classes] == [row["predicted"] for row in rows]


def test_several_classes_of_a_table(photos, tmp_path, capsys):
    rows = ["file,label"]
    for index, path in enumerate(sorted(photos.glob("photos/*/*.png"))):
        rows.append(f"{path.relative_to(photos)},{['', 'ant', 'ant|cat'][index % 3]}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    path = tmp_path / "answers.parquet"
    command = ["evaluate", str(photos / "multi-label"), str(tmp_path / "table.csv"), "--images",
               str(photos), "--answers", str(path), "--threshold", "1"]  # fmt: skip
    assert main(command) == 0, capsys.readouterr().err
    table = parquet.read_table(path)
    assert table["label"].to_pylist() == [[], ["ant"], ["ant", "cat"]] * 3
    assert table["predicted"].to_pylist() == [[]] * 9
    assert str(table.schema.field("predicted").type).endswith("string>")


def test_another_kind_of_file_is_refused_before_work(photos, tmp_path, capsys):
    command = ["evaluate", str(photos / "single-label"), str(photos / "photos"), "--answers"]
    assert main([*command, str(tmp_path / "answers.xlsx")]) == 1
    assert "It must end in .parquet or .csv" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_names_that_are_no_text_are_escaped(tmp_path, suffix):
    """Of folders whose names are bytes of another time."""
    path, name = tmp_path / f"answers{suffix}", b"caf\xe9".decode("utf-8", "surrogateescape")
    write_answers(path, [f"{name}/0.png"], {"label": [name], "classes": [[name, "tea"]]})
    if suffix == ".parquet":
        (row,) = parquet.read_table(path).to_pylist()
        assert row["classes"] == ["caf\\udce9", "tea"]
    else:
        (row,) = csv.DictReader(path.read_text().splitlines())
        assert row["classes"] == "caf\\udce9|tea"
    assert row["path"] == "caf\\udce9/0.png"
    assert row["label"] == "caf\\udce9"
