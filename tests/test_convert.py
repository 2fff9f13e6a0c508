import shutil
from unittest import mock

import keras
import numpy as np
import pytest
from checkpoints import (
    SLIM_SHAPES,
    keras2_groups,
    slim_variables,
    thin_shapes,
    timm_state,
    write_keras2,
    write_safetensors,
    write_slim,
)

from keras_inception_v4 import InceptionV4, convert_weights
from keras_inception_v4.cli import main
from keras_inception_v4.weights import sources

SLIM = slim_variables(thin_shapes(SLIM_SHAPES))


def tensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


@pytest.mark.slow
def test_timm_to_keras_to_timm_is_bit_for_bit_at_full_width(timm_file, tmp_path):
    first = convert_weights(timm_file, tmp_path / "x.keras")
    assert (first.kind, first.tensors, first.weights) == ("safetensors", 598, 42_711_400)
    second = convert_weights(tmp_path / "x.keras", tmp_path / "x.weights.h5")
    assert (second.kind, second.tensors, second.weights) == ("keras", 598, 42_711_400)
    third = convert_weights(tmp_path / "x.weights.h5", tmp_path / "back.safetensors")
    assert (third.classes, third.channels, third.variant) == (1000, 3, "released")
    assert_same(tensors(tmp_path / "back.safetensors"), timm_state())


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("middle", ["x.keras", "x.weights.h5"])
def test_timm_to_keras_to_timm_is_bit_for_bit(kinds_file, tmp_path, middle):
    convert_weights(kinds_file, tmp_path / middle)
    back = convert_weights(tmp_path / middle, tmp_path / "back.safetensors")
    assert (back.classes, back.channels, back.variant) == (1000, 3, "released")
    assert_same(tensors(tmp_path / "back.safetensors"), tensors(kinds_file))


@pytest.mark.usefixtures("kinds")
def test_slim_keeps_its_1001_classes(tmp_path):
    write_slim(tmp_path / "inception_v4.ckpt", SLIM)
    done = convert_weights(tmp_path / "inception_v4.ckpt", tmp_path / "x.safetensors")
    assert (done.kind, done.classes) == ("slim", 1001)
    assert done.size == (tmp_path / "x.safetensors").stat().st_size
    np.testing.assert_array_equal(
        tensors(tmp_path / "x.safetensors")["last_linear.weight"],
        SLIM["InceptionV4/Logits/Logits/weights"].T,
    )


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("kind", ["safetensors", "archive", "slim", "keras2"])
def test_a_source_is_opened_once(kinds_file, tmp_path, capsys, kind):
    if kind == "safetensors":
        path = tmp_path / "wrapped.safetensors"
        write_safetensors(path, {f"module.{n}": t for n, t in tensors(kinds_file).items()})
    elif kind == "keras2":
        path = tmp_path / "x.h5"
        write_keras2(path, keras2_groups(SLIM))
    else:
        path = tmp_path / "ckpt" / "inception_v4.ckpt"
        path.parent.mkdir()
        write_slim(path, SLIM)
    if kind == "archive":
        path = shutil.make_archive(tmp_path / "slim", "gztar", path.parent)
    with (
        mock.patch.object(sources, "sniff", wraps=sources.sniff) as sniff,
        mock.patch.object(sources, "extract", wraps=sources.extract) as extract,
    ):
        assert convert_weights(path, tmp_path / "x.keras").kind == kind
    assert (sniff.call_count, extract.call_count) == (1, kind == "archive")
    assert capsys.readouterr().err.count("without their prefix") == (kind == "safetensors")


@pytest.mark.usefixtures("kinds")
def test_without_a_classifier(tmp_path):
    write_keras2(tmp_path / "notop.h5", keras2_groups(SLIM, top=False))
    done = convert_weights(tmp_path / "notop.h5", tmp_path / "x.weights.h5")
    assert done.classes is None
    again = convert_weights(tmp_path / "x.weights.h5", tmp_path / "y.safetensors")
    assert again.classes is None
    assert "last_linear.weight" not in tensors(tmp_path / "y.safetensors")


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_fine_tune_of_other_shape_and_variant_goes_through(tmp_path, suffix):
    keras.utils.set_random_seed(0)
    model = InceptionV4(
        weights=None, input_shape=(75, 75, 2), classes=7, variant="paper",
        include_preprocessing=True,
    )  # fmt: skip
    path = tmp_path / f"tuned{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    done = convert_weights(path, tmp_path / "x.safetensors")
    assert (done.classes, done.channels, done.variant) == (7, 2, "paper")
    again = InceptionV4(
        weights=tmp_path / "x.safetensors", input_shape=(75, 75, 2), classes=7, variant="paper"
    )
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.usefixtures("kinds")
def test_a_keras_file_keeps_its_model(tmp_path):
    model = InceptionV4(
        weights=None, input_shape=(75, 75, 3), classes=7, include_preprocessing=True
    )
    model.save(tmp_path / "raw.keras")
    convert_weights(tmp_path / "raw.keras", tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    assert again.layers[1].name == "preprocessing"


@pytest.mark.usefixtures("kinds")
def test_wrong_targets_and_sources(kinds_file, tmp_path):
    with pytest.raises(ValueError, match=r"x\.onnx.*\.weights\.h5, \.keras, \.safetensors"):
        convert_weights(kinds_file, tmp_path / "x.onnx")
    with pytest.raises(FileNotFoundError, match="no weight file"):
        convert_weights(tmp_path / "nothing", tmp_path / "x.keras")
    other = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3))
    other = keras.Model(other.input, other.get_layer("mixed2").output)
    for name in ("v3.keras", "v3.weights.h5", "v3.h5"):
        (other.save_weights if "weights" in name else other.save)(tmp_path / name)
        with pytest.raises(ValueError, match=name):
            convert_weights(tmp_path / name, tmp_path / "x.keras")
    assert not (tmp_path / "x.keras").exists()


@pytest.mark.usefixtures("kinds")
def test_the_command_prints_a_summary(kinds_file, tmp_path, capsys):
    assert main(["convert", str(kinds_file), str(tmp_path / "x.keras")]) == 0
    out = capsys.readouterr().out
    for text in ("(safetensors)", "194", "151,378", "1000", "released", " MB"):
        assert text in out
    assert main(["convert", str(tmp_path / "nothing.pth"), str(tmp_path / "y.keras")]) == 1
    assert "error: There is no weight file" in capsys.readouterr().err
