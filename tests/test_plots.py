import numpy as np
import pytest
from PIL import Image

from keras_inception_v4 import plots


def dark_share(path):
    """Opens a picture; the share of its pixels that are not background."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[0] > 200
    assert pixels[0, 0] == 255
    return np.mean(pixels < 250)


def test_curves(tmp_path):
    path = tmp_path / "curves.png"
    history = {
        "loss": [2.0, 1.0, 0.5],
        "accuracy": [0.1, 0.5, 0.9],
        "val_loss": [2.1, 1.2, 0.7],
        "val_accuracy": [0.1, 0.4, 0.8],
    }
    plots.plot_curves({"from scratch": history}, path)
    with_held_out = dark_share(path)
    plots.plot_curves({"head": {"loss": [2.0, 1.0], "accuracy": [0.1, 0.5]}}, path)
    assert 0.005 < dark_share(path) < with_held_out


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_confusion_matrix(tmp_path, classes):
    path = tmp_path / "matrix.png"
    plots.plot_confusion_matrix(
        np.eye(classes, dtype=int) * 30, [f"class {i}" for i in range(classes)], path
    )
    assert dark_share(path) > 0.01


def test_feature_maps(tmp_path):
    path = tmp_path / "maps.png"
    maps = {"mixed_3a": np.eye(9)[..., None], "mixed_7d": np.ones((2, 2, 5))}
    plots.plot_feature_maps(np.zeros((20, 20, 3)), maps, path)
    with_both = dark_share(path)
    plots.plot_feature_maps(np.zeros((20, 20, 3)), {}, path)
    assert dark_share(path) != with_both


@pytest.mark.parametrize("groups", [["a", "a", "b", "b"], ["x"] * 4])
def test_embedding(tmp_path, groups):
    path = tmp_path / "embedding.png"
    plots.plot_embedding(np.random.default_rng(0).normal(size=(4, 7)), groups, path)
    assert dark_share(path) > 0.005


@pytest.mark.parametrize("features", [np.ones((5, 7)), np.zeros((2, 7)), np.eye(2)])
def test_embedding_of_images_that_are_alike(tmp_path, features):
    path = tmp_path / "embedding.png"
    plots.plot_embedding(features, ["x"] * len(features), path)
    assert dark_share(path) > 0.005


@pytest.mark.parametrize(
    "names",
    [
        ["$5_$10", "$20_$50"],
        ["a$", "$x^$ \\frac{"],
        [b"caf\xe9".decode("utf-8", "surrogateescape"), "b"],
        ["$\\nonsense$", "100 %"],
        ["[bold]x", ":cat:"],
    ],
)
def test_names_are_no_markup(tmp_path, names):
    plots.plot_confusion_matrix(np.eye(2, dtype=int), names, tmp_path / "matrix.png")
    plots.plot_embedding(np.eye(4), [*names, *names], tmp_path / "points.png")
    top = [(name, 0.5) for name in names]
    plots.plot_explanation(
        np.zeros((9, 9, 3)), np.zeros((9, 9, 3)), np.eye(3), top, names[0], tmp_path / "map.png"
    )
    for picture in ("matrix.png", "points.png", "map.png"):
        assert dark_share(tmp_path / picture) > 0.005


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"keras-inception-v4\[demo\]"):
        plots.plot_curves({"loss": [1]}, tmp_path / "x.png")
