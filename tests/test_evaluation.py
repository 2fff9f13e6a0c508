import numpy as np
import pytest
from tiny import CHANNELS, tiny

from keras_inception_v4 import evaluate
from keras_inception_v4.tasks.single_label import calibration_error, classification_report


def test_a_report_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = [0, 0, 1, 1, 1, 0]
    report = classification_report(np.eye(3)[predicted], labels, ["a", "b", "c"])
    assert report["images"] == 6
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["confusion_matrix"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert report["per_class"]["a"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "images": 3,
    }
    assert report["per_class"]["c"] == {"precision": 0, "recall": 0, "images": 1}


def test_top_5_by_hand():
    probabilities = np.array([[0.3, 0.2, 0.15, 0.14, 0.11, 0.1]] * 3)
    report = classification_report(probabilities, np.array([0, 4, 5]), list("abcdef"))
    assert report["accuracy"] == pytest.approx(1 / 3)
    assert report["top_5_accuracy"] == pytest.approx(2 / 3)


def test_calibration_by_hand():
    # Four answers of 90 %, three of them right; two of 60 %, both right.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 1])
    expected = (4 * abs(0.75 - 0.9) + 2 * abs(1 - 0.6)) / 6
    assert calibration_error(probabilities, labels) == pytest.approx(expected)
    sure = np.eye(2)[labels]
    assert calibration_error(sure, labels) == 0
    assert calibration_error(sure, 1 - labels) == 1


@pytest.mark.backends
@pytest.mark.parametrize("activation", ["softmax", None])
def test_a_model_s_answers(data_format, activation):
    model = tiny(raw=False, activation=activation)
    model.get_layer("predictions").kernel.assign(
        10 * np.random.default_rng(0).normal(size=(CHANNELS, 3))
    )
    pixels = np.random.default_rng(1).uniform(0, 255, (5, 75, 75, 3)).astype("float32")
    x = pixels / 127.5 - 1
    if data_format == "channels_first":
        x = np.moveaxis(x, 3, 1)
    answers = np.asarray(model.predict_on_batch(x))
    if activation is None:
        answers = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    labels = np.array([0, 1, 2, 0, 1])
    found = evaluate(model, (pixels, labels), batch_size=2, verbose=False)
    expected = classification_report(answers, labels, ["0", "1", "2"])
    assert found["calibration_error"] == pytest.approx(expected["calibration_error"], abs=1e-5)
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        evaluate(model, (pixels, np.array([0, 1, 2, 3, 1])))
