"""Readers, errors, and the one function that assigns weights."""

import argparse
import io
import json
import os
import pickle
import tarfile

import keras
import numpy as np
import pytest
from checkpoints import (
    SLIM_SHAPES,
    TIMM_SHAPES,
    keras2_groups,
    slim_variables,
    thin_shapes,
    timm_state,
    write_keras2,
    write_safetensors,
    write_slim,
)
from thin import thin_network

from keras_inception_v4 import InceptionV4, load_weights
from keras_inception_v4.weights import names
from keras_inception_v4.weights.loading import adapt_channels, copy_weights

STATE = timm_state(thin_shapes(TIMM_SHAPES))
SLIM = slim_variables(thin_shapes(SLIM_SHAPES))


def torch():
    return pytest.importorskip("torch")


def build(**arguments):
    return InceptionV4(**{"weights": None, "input_shape": (75, 75, 3), **arguments})


@pytest.fixture(scope="module")
def model():
    """A model for all tests here whose loads must fail and leave it as it is."""
    keras.utils.set_random_seed(1)
    with thin_network("kinds"):
        return build()


@pytest.fixture(scope="module", params=["InceptionV3", "InceptionResNetV2"])
def other(request):
    """A kin of this network, cut where its own blocks have begun."""
    network = getattr(keras.applications, request.param)(weights=None, input_shape=(75, 75, 3))
    end = {"InceptionV3": "mixed2", "InceptionResNetV2": "block35_2_ac"}[request.param]
    return keras.Model(network.input, network.get_layer(end).output)


def values(model):
    return [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]


def refuses(model, source, *messages):
    before = values(model)
    with pytest.raises(ValueError, match="(?s)" + ".*".join(messages)):
        load_weights(model, source)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def assert_timm(model, state=STATE):
    """Every tensor is timm's: a same-shape swap would show."""
    table = names.timm_names()
    for layer in model.layers:
        for variable in layer.weights:
            expected = state[table[f"{layer.name}/{variable.name}"]]
            if expected.ndim == 4:
                expected = expected.transpose(2, 3, 1, 0)
            found = keras.ops.convert_to_numpy(variable)
            np.testing.assert_array_equal(found, expected.T if expected.ndim == 2 else expected)


def assert_slim(model, drop=0):
    table = names.slim_names()
    for layer in model.layers:
        for variable in layer.weights:
            expected = SLIM[table[f"{layer.name}/{variable.name}"]]
            if layer.name == "predictions":
                expected = expected[..., drop:]
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected)


class TestNames:
    def test_every_name_of_timm_is_met(self):
        ours = set(names.timm_names().values())
        theirs = {n for n in TIMM_SHAPES if not n.endswith(("bn.weight", "num_batches_tracked"))}
        assert ours == theirs

    def test_every_name_of_slim_is_met(self):
        theirs = {n for n in SLIM_SHAPES if "/AuxLogits/" not in n}
        assert set(names.slim_names().values()) == theirs

    def test_keras_2_is_numbered_in_the_table_s_order(self):
        table = names.keras2_names()
        assert table["conv2d_1a_3x3_conv/kernel"] == "conv2d_0/kernel"
        assert table["mixed_7d_branch_3_conv2d_0b_1x1_bn/beta"] == "batch_normalization_148/beta"

    @pytest.mark.parametrize("variant", ["released", "paper"])
    def test_the_model_has_exactly_these_tensors(self, full_network, variant):
        model = full_network(variant)
        found = [f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights]
        assert sorted(found) == sorted(names.network_tensors(variant))


class TestSourcesAtFullWidth:
    """What test_parity does not load: it judges timm's, slim's and Keras 2's by their numbers."""

    def test_pytorch_pickle(self, tmp_path):
        path, state = tmp_path / "inceptionv4-8e4777a0.pth", timm_state()
        torch().save({name: torch().from_numpy(tensor) for name, tensor in state.items()}, path)
        assert_timm(build(weights=path), state)


@pytest.mark.usefixtures("kinds")
class TestSources:
    def test_safetensors(self, tmp_path):
        write_safetensors(tmp_path / "model.safetensors", STATE)
        assert_timm(build(weights=str(tmp_path / "model.safetensors")))

    def test_num_batches_tracked_may_be_absent_and_the_suffix_may_lie(self, tmp_path):
        state = {n: t for n, t in STATE.items() if not n.endswith("num_batches_tracked")}
        write_safetensors(tmp_path / "model.h5", state)
        assert_timm(build(weights=tmp_path / "model.h5"))

    @pytest.mark.parametrize("legacy", [False, True])
    def test_pytorch_pickle(self, tmp_path, legacy):
        path = tmp_path / "inceptionv4-8e4777a0.pth"
        state = {name: torch().from_numpy(tensor) for name, tensor in STATE.items()}
        torch().save(state, path, _use_new_zipfile_serialization=not legacy)
        assert_timm(build(weights=path))

    def test_state_dict_of_a_training_checkpoint(self, tmp_path):
        state = {name: torch().from_numpy(tensor) for name, tensor in STATE.items()}
        torch().save({"epoch": 3, "state_dict": state}, tmp_path / "pytorch_model.bin")
        assert_timm(build(weights=tmp_path / "pytorch_model.bin"))

    @pytest.mark.parametrize(
        ("entry", "taken", "names"),
        [
            (None, "state_dict_ema", ["state_dict", "state_dict_ema"]),
            ("state_dict", "state_dict", ["state_dict", "state_dict_ema"]),
            (None, "model", ["model", "optimizer"]),
            (None, "model_state_dict", ["model_state_dict"]),
            (None, "model_ema", ["model", "model_ema"]),
            ("mine", "mine", ["mine", "state_dict"]),
        ],
    )
    def test_entries_of_a_training_checkpoint(self, tmp_path, capsys, entry, taken, names):
        """As timm's train.py writes them: averaged weights first, with settings beside them."""

        def state_dict(scale):
            return {
                name: torch().nn.Parameter(scale * torch().from_numpy(tensor).float())
                for name, tensor in STATE.items()
            }

        content = {"epoch": 3, "metric": np.float64(80.1), "args": argparse.Namespace(lr=0.1)}
        for name in names:
            scale = 1 if name == taken else 2
            content[name] = {"lr": 0.1} if name == "optimizer" else state_dict(scale)
        torch().save(content, tmp_path / "last.pth.tar")
        model = build()
        load_weights(model, tmp_path / "last.pth.tar", entry=entry)
        assert_timm(model)
        said = f"taking '{taken}' of" in capsys.readouterr().err
        assert said == (len(names) > 1 and "optimizer" not in names)

    @pytest.mark.parametrize(
        "prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module.model."]
    )
    def test_prefixes_of_wrappers(self, tmp_path, capsys, prefix):
        path = tmp_path / "model.safetensors"
        write_safetensors(path, {prefix + name: tensor for name, tensor in STATE.items()})
        assert_timm(build(weights=path))
        assert f"without their prefix {prefix!r}" in capsys.readouterr().err

    @pytest.mark.parametrize("source", ["index", "folder"])
    def test_shards_with_an_index(self, tmp_path, source):
        names = sorted(STATE)
        index = {}
        for number, chosen in enumerate((names[::2], names[1::2]), start=1):
            file = f"model-0000{number}-of-00002.safetensors"
            write_safetensors(tmp_path / file, {name: STATE[name] for name in chosen})
            index |= dict.fromkeys(chosen, file)
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": index}))
        assert_timm(build(weights=path if source == "index" else tmp_path))
        (tmp_path / file).unlink()
        with pytest.raises(FileNotFoundError, match=r"names model-00002-of-00002.safetensors"):
            build(weights=path)

    def test_half_precision(self, tmp_path):
        state = {name: torch().from_numpy(tensor).half() for name, tensor in STATE.items()}
        torch().save(state, tmp_path / "half.pth")
        model = build(weights=tmp_path / "half.pth")
        found = keras.ops.convert_to_numpy(model.get_layer("predictions").bias)
        np.testing.assert_array_equal(
            found, STATE["last_linear.bias"].astype("float16").astype("float32")
        )

    @pytest.mark.parametrize("version", [1, 2])
    def test_slim_prefix_folder_and_archive(self, tmp_path, version):
        prefix = tmp_path / "ckpt" / "inception_v4.ckpt"
        prefix.parent.mkdir()
        training = {
            "global_step": np.array(3, "int64"),
            "beta1_power": np.array(0.9, "float32"),
            "InceptionV4/Conv2d_1a_3x3/weights/RMSProp": np.zeros((3, 3, 3, 2), "float32"),
            "InceptionV4/Logits/Logits/biases/ExponentialMovingAverage": np.zeros(1001, "float32"),
        }
        write_slim(prefix, {**SLIM, **training}, version)
        model = build(weights=prefix)
        assert_slim(model, drop=1)
        assert_slim(build(weights=prefix.parent, classes=1001))
        archive = tmp_path / "inception_v4_2016_09_09.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as file:
            file.add(prefix.parent, arcname=".")
        model.set_weights([np.zeros(weight.shape) for weight in model.weights])
        load_weights(model, archive)
        assert_slim(model, drop=1)

    @pytest.mark.parametrize("first", [0, 1, 150])
    def test_keras_2(self, tmp_path, first):
        write_keras2(tmp_path / "weights.h5", keras2_groups(SLIM, first))
        assert_slim(build(weights=tmp_path / "weights.h5"), drop=1)

    @pytest.mark.parametrize("suffix", ["weights.h5", "keras", "h5"])
    def test_keras_s_own(self, tmp_path, suffix):
        keras.utils.set_random_seed(2)
        saved = build(include_preprocessing=True)
        path = tmp_path / f"model.{suffix}"
        saved.save_weights(path) if suffix == "weights.h5" else saved.save(path)
        loaded = build()
        load_weights(loaded, path)
        for a, b in zip(values(saved), values(loaded), strict=True):
            np.testing.assert_array_equal(a, b)
        backbone = build(include_top=False, weights=path)
        assert len(backbone.weights) == len(saved.weights) - 2
        for a, b in zip(values(saved), values(backbone), strict=False):
            np.testing.assert_array_equal(a, b)

    def test_a_scale_is_folded_exactly(self, tmp_path):
        rng = np.random.default_rng(0)
        state = {
            n: rng.uniform(0.5, 2, t.shape).astype("float32") if n.endswith("bn.weight") else t
            for n, t in STATE.items()
        }
        write_safetensors(tmp_path / "scaled.safetensors", state)
        model = build(weights=tmp_path / "scaled.safetensors")
        unit = model.get_layer("conv2d_1a_3x3").output
        probe = keras.Model(model.input, unit)
        x = rng.uniform(-1, 1, (1, 75, 75, 3)).astype("float32")
        found = keras.ops.convert_to_numpy(probe(x)).astype("float64")
        kernel = state["features.0.conv.weight"].transpose(2, 3, 1, 0).astype("float64")
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
        y = np.einsum("nhwcij,ijcf->nhwf", windows, kernel)
        bn = {k: state[f"features.0.bn.{k}"].astype("float64") for k in
              ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        y = (y - bn["running_mean"]) / np.sqrt(bn["running_var"] + 0.001)
        expected = np.maximum(y * bn["weight"] + bn["bias"], 0)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_a_model_with_layers_of_its_own_keeps_them(self, tmp_path):
        write_safetensors(tmp_path / "model.safetensors", STATE)
        inputs = keras.Input((80, 80, 8))
        x = keras.layers.Conv2D(3, 1, name="squeeze")(inputs)
        model = InceptionV4(weights=None, input_tensor=x)
        before = keras.ops.convert_to_numpy(model.get_layer("squeeze").kernel)
        load_weights(model, tmp_path / "model.safetensors")
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(model.get_layer("squeeze").kernel), before
        )
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(model.get_layer("predictions").bias),
            STATE["last_linear.bias"],
        )

    def test_models_beside_it_change_nothing(self, tmp_path):
        write_safetensors(tmp_path / "model.safetensors", STATE)
        keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Conv2D(2, 3), keras.layers.ReLU()])
        assert_timm(build(weights=tmp_path / "model.safetensors"))
        second = build(weights=tmp_path / "model.safetensors", include_top=False)
        assert_timm(second)


class TestChannels:
    def test_one_is_the_sum(self):
        kernel = np.arange(24, dtype="float32").reshape(2, 2, 3, 2)
        np.testing.assert_array_equal(adapt_channels(kernel, 1)[:, :, 0], kernel.sum(axis=2))

    @pytest.mark.parametrize("channels", [2, 3, 4, 7])
    def test_more_repeat_in_turn(self, channels):
        kernel = np.arange(24, dtype="float32").reshape(2, 2, 3, 2)
        found = adapt_channels(kernel, channels)
        assert found.dtype == np.float32
        for channel in range(channels):
            np.testing.assert_allclose(
                found[:, :, channel], kernel[:, :, channel % 3] * 3 / channels, rtol=1e-6
            )


@pytest.mark.usefixtures("kinds")
class TestRefusals:
    def test_one_missing_one_extra_one_transposed(self, model, tmp_path):
        path = tmp_path / "x.safetensors"
        missing = {n: t for n, t in STATE.items() if n != "features.6.branch1.0.bn.running_mean"}
        write_safetensors(path, missing)
        refuses(model, path, "1 missing: mixed_5e_branch_1_conv2d_0a_1x1_bn/moving_mean")
        write_safetensors(path, {**STATE, "features.22.bias": np.zeros(3, "float32")})
        refuses(model, path, r"1 unused: features\.22\.bias")
        name = "features.4.branch1.1.conv.weight"
        write_safetensors(path, {**STATE, name: STATE[name].transpose(0, 1, 3, 2)})
        refuses(model, path, r"1 mis-shaped: mixed_4a_branch_1_conv2d_0b_1x7_conv/kernel is "
                r"\(7, 1, 4, 4\), must be \(1, 7, 4, 4\)")  # fmt: skip

    def test_the_lists_show_ten_and_count_all(self, model, tmp_path):
        half = dict(list(STATE.items())[:145])
        write_safetensors(tmp_path / "half.safetensors", half)
        with pytest.raises(ValueError, match=r"\d\d missing: ") as caught:
            load_weights(model, tmp_path / "half.safetensors")
        line = next(x for x in str(caught.value).splitlines() if " missing: " in x)
        count = int(line.split()[0])
        assert len(line.split(": ")[1].split(", ...")[0].split(", ")) == 10
        assert line.endswith(f"({count - 10} more)")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, model, tmp_path, value):
        name = "features.10.branch2_3b.bn.running_var"
        broken = STATE[name].copy()
        broken[3] = value
        write_safetensors(tmp_path / "x.safetensors", {**STATE, name: broken})
        refuses(model, tmp_path / "x.safetensors", "1 not finite",
                "mixed_7d_branch_2_conv2d_0e_3x1_bn/moving_variance")  # fmt: skip

    def test_a_head_of_another_size_names_include_top(self, tmp_path):
        write_safetensors(tmp_path / "x.safetensors", STATE)
        refuses(build(classes=10), tmp_path / "x.safetensors", "2 mis-shaped: predictions/kernel",
                "include_top=False")  # fmt: skip
        with pytest.raises(ValueError, match="include_top=False"):
            build(classes=10, weights=tmp_path / "x.safetensors")

    def test_a_file_without_head_for_a_model_with_one(self, model, tmp_path):
        write_keras2(tmp_path / "notop.h5", keras2_groups(SLIM, top=False))
        refuses(model, tmp_path / "notop.h5", "2 missing: predictions/kernel", "include_top=False")

    def test_the_paper_s_order_refuses_released_weights(self, tmp_path):
        write_safetensors(tmp_path / "x.safetensors", STATE)
        refuses(build(variant="paper"), tmp_path / "x.safetensors", "mis-shaped")

    @pytest.mark.parametrize("suffix", ["weights.h5", "keras", "h5"])
    def test_other_networks(self, model, tmp_path, other, suffix):
        path = tmp_path / f"other.{suffix}"
        other.save_weights(path) if suffix == "weights.h5" else other.save(path)
        refuses(model, path, rf"other\.{suffix}")

    def test_keras_weights_with_one_tensor_more_or_less(self, model, tmp_path):
        path = tmp_path / "x.weights.h5"
        inputs = keras.Input((75, 75, 3))
        x = keras.layers.Conv2D(3, 1, use_bias=False, name="extra")(inputs)
        InceptionV4(weights=None, input_tensor=x).save_weights(path)
        refuses(model, path, r"x\.weights\.h5")
        x = model.get_layer("avg_pool").output
        keras.Model(model.input, x).save_weights(path)
        refuses(model, path, r"x\.weights\.h5")
        two_heads = keras.layers.Dense(3)(model.output)
        keras.Model(model.input, two_heads).save_weights(path)
        count = len(model.weights)
        refuses(model, path, f"it holds {count + 2} tensors, the model {count}")

    def test_keras_files_with_nan(self, model, tmp_path):
        broken = build()
        bias = broken.get_layer("predictions").bias
        bias.assign(np.full(1000, np.nan))
        broken.save(tmp_path / "x.keras")
        refuses(model, tmp_path / "x.keras", "1 not finite .*predictions/bias")

    @pytest.mark.parametrize(
        "suffix",
        [".safetensors", ".pth", ".bin", ".ckpt", ".tar.gz", ".h5", ".weights.h5", ".keras"],
    )
    @pytest.mark.parametrize("content", [b"", np.random.default_rng(0).bytes(5000)])
    def test_random_bytes_and_empty_files(self, model, tmp_path, suffix, content):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(content)
        refuses(model, path, "empty, damaged or not in a supported format")

    @pytest.mark.parametrize(
        "kind", ["safetensors", "pth", "slim", "tar.gz", "keras2", "weights.h5", "keras"]
    )
    def test_truncated_at_any_tenth(self, model, tmp_path, kind):
        path = cut = tmp_path / f"x.{kind}"
        if kind == "safetensors":
            write_safetensors(path, STATE)
        elif kind == "pth":
            torch().save({n: torch().from_numpy(t) for n, t in STATE.items()}, path)
        elif kind in ("slim", "tar.gz"):
            prefix = tmp_path / "folder" / "inception_v4.ckpt"
            prefix.parent.mkdir()
            write_slim(prefix, SLIM)
            path, cut = prefix, prefix.with_name("inception_v4.ckpt.data-00000-of-00001")
            if kind == "tar.gz":
                path = cut = tmp_path / "x.tar.gz"
                with tarfile.open(path, "w:gz", compresslevel=0) as file:
                    file.add(prefix.parent, arcname=".")
        elif kind == "keras2":
            write_keras2(path, keras2_groups(SLIM))
        else:
            model.save(path) if kind == "keras" else model.save_weights(path)
        size = cut.stat().st_size
        for tenth in range(9, -1, -1):
            os.truncate(cut, size * tenth // 10)
            refuses(model, path, ".")

    def test_a_pickle_that_would_execute_code(self, model, tmp_path):
        torch()
        proof = tmp_path / "executed"

        class Bomb:
            def __reduce__(self):
                return (os.mkdir, (str(proof),))

        (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"features.0.conv.weight": Bomb()}, 2))
        refuses(model, tmp_path / "bomb.pth", r"bomb\.pth cannot be read as weights")
        torch().save({"features.0.conv.weight": Bomb()}, tmp_path / "bomb.bin")
        refuses(model, tmp_path / "bomb.bin", r"bomb\.bin cannot be read as weights")
        assert not proof.exists()

    def test_a_pickle_without_pytorch_names_it(self, model, tmp_path, monkeypatch):
        (tmp_path / "x.pth").write_bytes(pickle.dumps({}, 2))
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        with pytest.raises(ImportError, match="pip install torch"):
            load_weights(model, tmp_path / "x.pth")

    @pytest.mark.parametrize("member", ["../escaped.index", "/tmp/escaped-absolute.index"])
    def test_an_archive_that_leaves_its_folder(self, model, tmp_path, member):
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
            info = tarfile.TarInfo(member)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        refuses(model, tmp_path / "x.tar.gz", r"x\.tar\.gz cannot be read as weights")
        assert not (tmp_path.parent / "escaped.index").exists()
        assert not os.path.exists("/tmp/escaped-absolute.index")

    def test_a_folder_with_none_or_two_checkpoints(self, model, tmp_path):
        refuses(model, tmp_path, "holds 0 TensorFlow checkpoints")
        (tmp_path / "a.index").touch()
        (tmp_path / "b.index").touch()
        message = r"^[^(]*holds 2 TensorFlow checkpoints: a b\. Name the prefix of one\.$"
        refuses(model, tmp_path, message)

    @pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x.h5", "x.ckpt"])
    def test_a_git_lfs_pointer_is_named(self, model, tmp_path, name):
        (tmp_path / name).write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 171000000\n"
        )
        refuses(model, tmp_path / name, "is a Git LFS pointer.*git lfs pull")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"epoch": 3, "args": argparse.Namespace()}, "no state dict .*it holds epoch, args"),
            ({"state_dict": {}}, "no state dict .*it holds state_dict"),
            ([1, 2], "no state dict .*it holds no dict"),
            ({"weights": {"a": 1}}, "no state dict .*it holds weights"),
        ],
    )
    def test_a_pickle_without_a_state_dict_says_what_it_holds(
        self, model, tmp_path, content, message
    ):
        torch().save(content, tmp_path / "x.pth")
        refuses(model, tmp_path / "x.pth", message)

    def test_an_entry_that_is_not_there(self, model, tmp_path):
        torch().save({"state_dict": {"a": torch().zeros(1)}}, tmp_path / "x.pth")
        with pytest.raises(ValueError, match="under ema; it holds state_dict"):
            load_weights(model, tmp_path / "x.pth", entry="ema")
        write_safetensors(tmp_path / "x.safetensors", STATE)
        with pytest.raises(ValueError, match=r"entry='ema'.*Only PyTorch pickles have entries"):
            load_weights(model, tmp_path / "x.safetensors", entry="ema")

    def test_nothing_there(self, model, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no weight file.*nothing\.safetensors"):
            load_weights(model, tmp_path / "nothing.safetensors")
        with pytest.raises(ValueError, match=r"weights='.*nothing'.*'imagenet'"):
            build(weights=str(tmp_path / "nothing"))


@pytest.mark.usefixtures("kinds")
def test_copy_weights_refuses_what_does_not_fit():
    source, target = build(classes=3), build(classes=4)
    before = values(target)
    with pytest.raises(ValueError, match="2 mis-shaped"):
        copy_weights(source, target)
    for old, new in zip(before, values(target), strict=True):
        np.testing.assert_array_equal(old, new)
