import numpy as np
import pytest

from keras_inception_v4.evaluation import classification_report


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
