"""The model card of a run: the hub's client can read it, and it is true of the run."""

import math
import os

import numpy as np
import pytest
from huggingface_hub import ModelCard

from keras_inception_v4.data.sources import Images, LabelledData
from keras_inception_v4.runs.folder import RunFolder
from keras_inception_v4.runs.model_card import CARD, MOST, write_model_card
from keras_inception_v4.runs.settings import Settings
from keras_inception_v4.tasks import Measured, task_named

TARGETS = {
    "single-label": np.array([0, 1, 2, 1]),
    "multi-label": np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]]),
    "regression": np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 1.0], [2.0, 0.5, 0.0], [3.0, 1.0, 1.0]]),
}
ANSWERS = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])


def card_of(folder, task, *, names=("cat", "dog", "emu"), test=False, **settings):
    given = Settings(**{"data": "/secret/place/photos", "weights": None, **settings})
    decided = given.decided({}, lambda: "float32")
    images = Images(np.zeros((4, 8, 8, 3), "float32"), TARGETS[task])
    data = LabelledData(
        images, images, list(names), 0.875, [("a.png", "broken")], images if test else None, task
    )
    measured = task_named(task).measure(Measured(ANSWERS, TARGETS[task]), list(names[:3]))
    report = {**measured, "epochs": {"head": 5}, "weights": 1234, "seconds": 2.0}
    run = RunFolder(folder / "my_run", decided.as_json(), crop=0.875)
    run.begin({})
    write_model_card(run, decided, data, report)
    return (run.path / CARD).read_text(), ModelCard.load(run.path / CARD), measured


@pytest.mark.parametrize("task", TARGETS)
def test_the_hub_s_client_reads_what_was_measured(tmp_path, task):
    text, card, measured = card_of(tmp_path, task)
    told = {row.metric_name: row.metric_value for row in card.data.eval_results}
    expected = task_named(task).scalars(measured)
    assert told == {
        name: pytest.approx(value, rel=1e-5)
        for name, value in expected.items()
        if value is not None and math.isfinite(value)
    }
    assert {row.dataset_name for row in card.data.eval_results} == {"photos"}
    assert {row.dataset_split for row in card.data.eval_results} == {"validation"}
    assert card.data.model_name == "my_run"
    assert card.data.license == "unknown"
    assert card.data.library_name == "keras"
    of_classes = task != "regression"
    assert card.data.pipeline_tag == ("image-classification" if of_classes else None)
    assert "secret" not in text
    for heading in ("Use", "Intended use", "Data", "Training", "Measures", "Licence"):
        assert f"\n## {heading}\n" in text
    for name, value in task_named(task).rows(measured):
        assert f"| {name} | {value} |" in text
    assert "Left out (unusable or excluded): 1." in text
    assert "The same images may have guided" in text


def test_measures_of_test_images_say_so(tmp_path):
    text, card, _ = card_of(tmp_path, "single-label", test=True)
    assert {row.dataset_split for row in card.data.eval_results} == {"test"}
    assert "On 4 test images:" in text
    assert "guided" not in text


def test_where_it_started_is_named(tmp_path):
    text, card, _ = card_of(tmp_path, "single-label", weights="imagenet")
    assert card.data.base_model == "timm/inception_v4.tf_in1k"
    assert "Apache-2.0" in text.split("## Licence")[1]
    text, card, _ = card_of(tmp_path / "own", "single-label", weights="/secret/own.keras")
    assert card.data.base_model is None
    assert "| started from | own.keras |" in text


def test_names_are_words_not_markdown(tmp_path):
    names = ("a|b", "*c*\n# d", "<script>")
    text, card, _ = card_of(tmp_path, "single-label", names=names, data="/x/- [odd]: name")
    assert r"a\|b, \*c\* \# d, \<script\>" in text
    assert card.data.eval_results[0].dataset_name == "- [odd]: name"


def test_names_in_bytes_of_other_encodings_are_escaped(tmp_path):
    latin = os.fsdecode("é".encode("latin-1"))
    names = (latin, "b", "c")
    text, card, _ = card_of(tmp_path, "single-label", names=names, data=f"/x/{latin}")
    assert r"\\udce9, b, c" in text
    assert card.data.eval_results[0].dataset_name == r"\udce9"


def test_of_many_classes_the_first_are_listed(tmp_path):
    names = [f"class {index}" for index in range(MOST + 7)]
    text, _, _ = card_of(tmp_path, "single-label", names=names)
    assert "class 19 and 7 more (`class_names.json`)" in text
    assert "class 20" not in text


def test_its_code_runs(tmp_path, monkeypatch, capsys):
    import keras
    from PIL import Image

    text, _, _ = card_of(tmp_path, "single-label", image_size=75)
    monkeypatch.chdir(tmp_path)
    keras.Sequential([keras.layers.Input((75, 75, 3)), keras.layers.Flatten()]).save("model.keras")
    Image.new("RGB", (90, 90)).save("photo.jpg")
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert "[[0." in capsys.readouterr().out
