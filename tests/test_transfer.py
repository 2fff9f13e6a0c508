"""Heads on cached features, fine-tuning, and what an interruption leaves."""

import keras
import numpy as np
import pytest
from conftest import ordered, three_digits
from tiny import tiny

from keras_inception_v4 import (
    ENDPOINTS,
    InceptionV4,
    embed,
    evaluate,
    fine_tune,
    train_head,
    transfer_model,
    unfreeze,
)
from keras_inception_v4.data.pipeline import Batches, batched
from keras_inception_v4.data.sources import Images
from keras_inception_v4.training.class_weights import class_weights


@pytest.fixture(scope="module")
def digits():
    """60 scans of 0, 1 and 2 as RGB images, with their labels."""
    return three_digits(20)


@pytest.fixture
def backbone(shallow, shallow_file):
    """Weights as a path, for what is built in the test; features differ widely."""
    return shallow_file


def build(weights=None, **arguments):
    keras.utils.set_random_seed(0)
    return transfer_model(
        3, weights=weights, **{"input_shape": ordered(75, 75, 3), "augment": False, **arguments}
    )


def values(model):
    return {
        f"{layer.name}/{weight.name}": keras.ops.convert_to_numpy(weight).copy()
        for layer in model.layers
        for weight in layer.weights
    }


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


HEAD = {"predictions/kernel", "predictions/bias"}


class Pairs(keras.utils.PyDataset):
    """A user's own data set; counts how often each batch is asked for."""

    def __init__(self, images, labels, size=16):
        super().__init__()
        self.images, self.labels, self.size = images, labels, size
        self.asked = []

    def __len__(self):
        return -(-len(self.labels) // self.size)

    def __getitem__(self, index):
        self.asked.append(index)
        chosen = slice(index * self.size, (index + 1) * self.size)
        return self.images[chosen], self.labels[chosen]


class Seen(keras.callbacks.Callback):
    """Notes the epochs that it sees."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)


def own_loss(labels, answers):
    return keras.losses.sparse_categorical_crossentropy(labels, answers)


class Keyed(Pairs):
    """Batches that are no pairs."""

    def __getitem__(self, index):
        pixels, labels = super().__getitem__(index)
        return {"image": pixels, "label": labels}


def of_generator(pixels, labels, *specs, once=False):
    """A dataset of one batch, from a generator; of one that is exhausted after it, if `once`."""
    import tensorflow as tf

    only = iter([(pixels, labels)])
    specs = specs or (
        tf.TensorSpec((None, *pixels.shape[1:]), pixels.dtype), tf.TensorSpec((None,), labels.dtype)
    )  # fmt: skip
    return tf.data.Dataset.from_generator(
        lambda: only if once else iter([(pixels, labels)]), output_signature=specs
    )


class TestModel:
    def test_one_flat_graph_with_a_frozen_backbone(self, backbone, data_format):
        model = build(None, augment=True)
        names = [layer.name for layer in model.layers]
        assert names[1:6] == [
            "augment_mirror", "augment_shift", "augment_turn", "augment_zoom", "preprocessing",
        ]  # fmt: skip
        assert names[-3:] == ["avg_pool", "dropout", "predictions"]
        assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]
        assert [w.path.split("/")[-2:] for w in model.trainable_weights] == [
            ["predictions", "kernel"], ["predictions", "bias"],
        ]  # fmt: skip

    def test_the_backbone_comes_by_name_the_head_is_new(self, backbone):
        model = build(backbone)
        source = values(InceptionV4(weights=backbone))
        found = values(model)
        assert set(found) == set(source)
        assert changed({n: v for n, v in source.items() if n not in HEAD}, found) == set()
        assert found["predictions/kernel"].shape == (ENDPOINTS["mixed_7d"].channels, 3)

    @pytest.mark.backends
    @pytest.mark.usefixtures("shallow")
    @pytest.mark.parametrize("kind", ["photographs", "symbols"])
    def test_augmentation_is_active_in_training_only(self, digits, kind, data_format):
        model = build(augment=kind)
        pixels = digits[0][:4]
        if data_format == "channels_first":
            pixels = np.moveaxis(pixels, 3, 1)
        seen = keras.Model(model.inputs, model.get_layer("augment_zoom").output)
        still = keras.ops.convert_to_numpy(seen([pixels], training=False))
        np.testing.assert_array_equal(still, pixels)
        moved = keras.ops.convert_to_numpy(seen([pixels], training=True))
        again = keras.ops.convert_to_numpy(seen([pixels], training=True))
        assert np.abs(moved - pixels).max() > 10
        assert np.abs(moved - again).max() > 10

    @pytest.mark.usefixtures("shallow")
    @pytest.mark.usefixtures("shallow")
    def test_the_default_shape_follows_the_data_format(self, data_format):
        assert transfer_model(5, weights=None).input_shape == (None, *ordered(299, 299, 3))

    @pytest.mark.backends
    def test_batch_norm_momentum(self):
        name = "mixed_7d_branch_0_conv2d_0a_1x1_bn"
        assert build().get_layer(name).momentum == 0.99
        assert build(batch_norm_momentum=0.9).get_layer(name).momentum == 0.9
        with pytest.raises(ValueError, match="batch_norm_momentum"):
            build(batch_norm_momentum=1.0)

    @pytest.mark.usefixtures("shallow")
    def test_own_layers_augment(self):
        own = [keras.layers.GaussianNoise(0.5, name="grain")]
        assert [x.name for x in build(augment=own).layers][1:3] == ["grain", "preprocessing"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"augment": "cutmix"}, "'cutmix'.*photographs, symbols, none"),
            ({"weights": "cifar"}, "weights='cifar'"),
            ({"input_shape": (10, 10, 3)}, "at least 75"),
            ({"dropout_rate": 1}, "dropout_rate=1"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            build(**arguments)


class TestHead:
    @pytest.mark.slow
    def test_it_ends_where_the_slow_way_ends(self, backbone, digits, data_format):
        fast = build(backbone, dropout_rate=0)
        slow = build(backbone, dropout_rate=0)
        slow.set_weights(fast.get_weights())
        before = values(fast)
        history = train_head(fast, digits, digits, epochs=3, batch_size=16, verbose=0)
        assert changed(before, values(fast)) == HEAD

        slow.compile(
            keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"],
            jit_compile="auto" if keras.backend.backend() == "jax" else False,
        )  # fmt: skip
        pixels, labels = digits
        if data_format == "channels_first":
            pixels = np.moveaxis(pixels, 3, 1)
        losses = []
        numbers = batched(Images(np.zeros((60, 1, 1, 1)), np.arange(60)), 60, seed=0)
        for epoch in range(3):
            order = numbers[epoch][1]
            fitted = slow.fit(pixels[order], labels[order], batch_size=16, shuffle=False, verbose=0)
            losses += fitted.history["loss"]
        np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-3)
        for name in HEAD:
            np.testing.assert_allclose(values(fast)[name], values(slow)[name], atol=2e-4)
        assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]

    @pytest.mark.backends
    def test_each_image_passes_once_whatever_holds_it(self, digits, tmp_path):
        heads = []
        own = Pairs(*digits)
        tf = pytest.importorskip("tensorflow")
        unknown = tf.data.Dataset.from_generator(
            lambda: (pair for pair in zip(*digits, strict=True)),
            output_signature=(tf.TensorSpec((75, 75, 3)), tf.TensorSpec((), "int64")),
        ).batch(16)
        for data, options in (
            (digits, {}),
            (own, {}),
            (unknown, {}),
            (digits, {"memory_budget": 1000}),  # on disk
            (digits, {"folder": tmp_path / "kept"}),
        ):
            model = tiny()
            train_head(model, data, epochs=2, batch_size=16, verbose=0, **options)
            heads.append(values(model)["predictions/kernel"])
        for head in heads[1:]:
            np.testing.assert_allclose(head, heads[0], atol=1e-6)
        assert sorted(own.asked) == [0, 1, 2, 3]

    def test_features_that_an_interruption_left_are_not_computed_again(self, digits, tmp_path):
        class Breaks(Pairs):
            def __getitem__(self, index):
                if index == 4:
                    raise RuntimeError("killed")
                return super().__getitem__(index)

        model = tiny()
        with pytest.raises(RuntimeError, match="killed"):
            train_head(model, Breaks(*digits, size=10), batch_size=16, folder=tmp_path, verbose=0)
        partial = tmp_path / "train.features.partial"
        with partial.open("ab") as file:
            file.write(b"half a record")
        resumed = Pairs(*digits, size=10)  # a user's own batches need not be of batch_size
        train_head(model, resumed, epochs=2, batch_size=16, folder=tmp_path, verbose=0)
        assert sorted(resumed.asked) == list(range(6))
        undisturbed = tiny()
        train_head(undisturbed, digits, epochs=2, batch_size=16, verbose=0)
        for name in HEAD:
            np.testing.assert_allclose(values(model)[name], values(undisturbed)[name], atol=1e-6)
        with pytest.raises(ValueError, match="features of other images, another network"):
            train_head(model, digits, epochs=2, batch_size=20, folder=tmp_path, verbose=0)
        with pytest.raises(ValueError, match=r"a fit with other arguments: .*'epochs': 2"):
            train_head(model, resumed, epochs=3, batch_size=16, folder=tmp_path, verbose=0)
        conv = "mixed_7d_branch_0_conv2d_0a_1x1_conv"
        model.get_layer(conv).kernel.assign(0.5 * model.get_layer(conv).kernel)
        with pytest.raises(ValueError, match="features of other images, another network"):
            train_head(model, resumed, epochs=2, batch_size=16, folder=tmp_path, verbose=0)

    def test_arrays_go_on_after_the_last_whole_batch(self, digits, tmp_path, monkeypatch):
        class Source(Images):
            taken = 0

            def take(self, indices):
                Source.taken += len(indices)
                if Source.taken == 48:
                    raise RuntimeError("killed")
                return super().take(indices)

        model = tiny()
        with pytest.raises(RuntimeError, match="killed"):
            train_head(model, Source(*digits), batch_size=16, folder=tmp_path, verbose=0)
        with (tmp_path / "train.features.partial").open("ab") as file:
            file.write(b"half a record")

        class Rest(Images):
            taken = 0

            def take(self, indices):
                Rest.taken += len(indices)
                return super().take(indices)

        train_head(model, Rest(*digits), epochs=2, batch_size=16, folder=tmp_path, verbose=0)
        assert Rest.taken == 60 - 32
        undisturbed = tiny()
        train_head(undisturbed, digits, epochs=2, batch_size=16, verbose=0)
        for name in HEAD:
            np.testing.assert_allclose(values(model)[name], values(undisturbed)[name], atol=1e-6)

    def test_class_weights(self):
        labels = Batches((), np.array([0, 0, 0, 1]))
        assert class_weights("balanced", labels, 2) == {0: 4 / 6, 1: 2.0}
        assert class_weights({1: 5.0}, labels, 2) == {0: 1.0, 1: 5.0}
        assert class_weights([1, 2], labels, 2) == {0: 1.0, 1: 2.0}
        assert class_weights(np.array([0.5, 0]), labels, 2) == {0: 0.5, 1: 0.0}
        assert class_weights({np.int64(1): 3}, labels, 2) == {0: 1.0, 1: 3.0}
        names = ["cat", "dog"]
        assert class_weights({"dog": 3, 0: 2}, labels, 2, names) == {0: 2.0, 1: 3.0}

    @pytest.mark.parametrize(
        ("weight", "message"),
        [
            ("heavy", "class_weight='heavy'.*'balanced'"),
            ({"cat": 2.0}, r"for 'cat', which is no class. Allowed are the classes 0 to 1\."),
            ({"1": 2.0}, "for '1', which is no class"),
            ({1: 2.0, 2: 1.0}, "for 2, which is no class.*0 to 1"),
            ({-1: 2.0}, "for -1, which is no class"),
            ({True: 2.0}, "for True, which is no class"),
            ({0.5: 2.0}, "for 0.5, which is no class"),
            ({0: float("nan")}, "class_weight=nan for 0.*finite"),
            ({0: float("inf")}, "class_weight=inf for 0.*finite"),
            ({0: -1}, "class_weight=-1 for 0.*at least 0"),
            ({0: "2"}, "class_weight='2' for 0.*finite number"),
            ([1.0, 2.0, 3.0], r"shape \(3,\).*one weight for each of 2 classes"),
            ([[1.0, 2.0]], r"shape \(1, 2\)"),
            ([1.0, float("nan")], "class_weight=nan for 1"),
        ],
    )
    def test_class_weights_that_fit_nothing(self, weight, message):
        with pytest.raises(ValueError, match=message):
            class_weights(weight, Batches((), np.array([0, 0, 0, 1])), 2)

    def test_names_of_classes_are_those_of_the_data(self, digits):
        class Named(Pairs):
            class_names = ("zero", "one", "two")

        weights = {"zero": 0.0, "one": 0.0}
        options = {"epochs": 4, "learning_rate": 0.03, "class_weight": weights, "verbose": 0}
        model = tiny()
        train_head(model, Named(*digits), **options)
        assert evaluate(model, digits, verbose=False)["per_class"]["2"]["recall"] == 1
        with pytest.raises(ValueError, match=r"for 'three', which is no class.*zero, one, two"):
            train_head(tiny(), Named(*digits), class_weight={"three": 1.0})

    @pytest.mark.backends
    @pytest.mark.parametrize("phase", [train_head, fine_tune])
    def test_classes_of_no_weight_are_not_learned(self, digits, phase):
        model = unfreeze(tiny(), "mixed_7d")
        options = {"epochs": 4, "batch_size": 16, "learning_rate": 0.03, "verbose": 0}
        phase(model, digits, class_weight={0: 0.0, 1: 0.0, 2: 1.0}, **options)
        assert evaluate(model, digits, verbose=False)["per_class"]["2"]["recall"] == 1
        assert evaluate(model, digits, verbose=False)["accuracy"] == pytest.approx(1 / 3)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("photos", "data of type str.*must be arrays"),
            ((np.zeros((2, 75, 75, 3)), np.array([0, 3])), "labels from 0 to 3.*0 to 2"),
            ((np.zeros((2, 75, 75, 3)), np.eye(2)), r"integer per image, or one-hot \(images, 3\)"),
            ((np.zeros((2, 75, 75, 3)), np.array([0, 1, 2])), r"labels of shape \(3,\)"),
            ((np.zeros((75, 75, 3)), np.array([0])), r"images of shape \(75, 75, 3\)"),
            ((np.zeros((0, 75, 75, 3)), np.zeros(0, int)), "no images"),
            ((np.full((2, 75, 75, 3), np.nan), np.array([0, 1])), "33,750 of 33,750 pixels of the"),
            ((np.full((2, 75, 75, 3), np.inf), np.array([0, 1])), "are not finite"),
            ((np.zeros((2, 75, 75, 3)), np.array([0, 0.5])), "must be one integer per image"),
        ],
    )
    def test_wrong_data(self, data, message):
        with pytest.raises(ValueError, match=message):
            train_head(tiny(), data)

    def test_wrong_data_sets(self, digits):
        tf = pytest.importorskip("tensorflow")
        pixels, labels = digits
        whole = tf.data.Dataset.from_tensor_slices((pixels, labels))
        with pytest.raises(ValueError, match=r"shape \(75, 75, 3\).*must be in batches"):
            train_head(tiny(), whole)
        with pytest.raises(ValueError, match="without end"):
            train_head(tiny(), whole.batch(16).repeat())
        unknown = of_generator(pixels[0], labels[0], tf.TensorSpec(None), tf.TensorSpec(None))
        with pytest.raises(ValueError, match="must be in batches"):
            train_head(tiny(), unknown)
        with pytest.raises(ValueError, match=r"ended after 0 of 1 batches.*exhausted"):
            train_head(tiny(), of_generator(pixels, labels, once=True))
        with pytest.raises(ValueError, match="the dataset is empty"):
            train_head(tiny(), whole.batch(16).take(0))
        with pytest.raises(ValueError, match="the dataset is empty"):
            train_head(tiny(), whole.filter(lambda x, y: False).batch(16))
        with pytest.raises(ValueError, match=r"keys \['image', 'label'\].*images and labels"):
            train_head(tiny(), whole.map(lambda x, y: {"image": x, "label": y}).batch(16))
        with pytest.raises(ValueError, match=r"batches of keys \['image', 'label'\]"):
            train_head(tiny(), Keyed(pixels, labels))
        with pytest.raises(ValueError, match="data of type dict"):
            train_head(tiny(), {"image": pixels, "label": labels})
        with pytest.raises(ValueError, match="a generator, which gives its images only once"):
            train_head(tiny(), (pair for pair in [(pixels, labels)]))
        with pytest.raises(ValueError, match="not one-hot"):
            train_head(tiny(), tf.data.Dataset.from_tensors((pixels, 0.5 * np.eye(3)[labels])))
        with pytest.raises(ValueError, match="labels from 4 to 4"):
            fine_tune(unfreeze(tiny(), "mixed_7d"), Pairs(pixels[40:], 2 * labels[40:]))

    @pytest.mark.parametrize("kind", ["arrays", "PyDataset", "tf.data", "tf.data, scaling model"])
    def test_scaled_pixels_are_warned_of(self, digits, kind):
        pixels, labels = digits[0][:16] / 255, digits[1][:16]
        data = (pixels, labels)
        if kind == "PyDataset":
            data = Pairs(pixels, labels)
        elif kind.startswith("tf.data"):
            tf = pytest.importorskip("tensorflow")
            data = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(16)
        with pytest.warns(UserWarning, match="raw pixels, 0 to 255, are expected") as told:
            train_head(tiny(raw="scaling" in kind), data, epochs=1, verbose=0)
        assert len([one for one in told if "raw pixels" in str(one.message)]) == 1

    @pytest.mark.usefixtures("shallow")
    def test_wrong_models(self, digits):
        bare = InceptionV4(weights=None, include_top=False, input_shape=ordered(75, 75, 3))
        with pytest.raises(ValueError, match="not a global average pool"):
            train_head(bare, digits)
        with pytest.raises(ValueError, match=r"epochs=0"):
            train_head(bare, digits, epochs=0)


class Spoilt(Pairs):
    """Spoils its pixels from some batch on, as an overflow of a user's own code would."""

    def __init__(self, images, labels, first, value=np.nan):
        super().__init__(images, labels)
        self.first, self.value = first, value

    def __getitem__(self, index):
        pixels, labels = super().__getitem__(index)
        return (pixels + self.value if len(self.asked) > self.first else pixels), labels


class TestNotFinite:
    def test_whole_number_floats_are_labels(self, digits):
        pixels, labels = digits
        heads = []
        for kind in ("int64", "float32"):
            model = tiny()
            train_head(model, (pixels, labels.astype(kind)), epochs=1, verbose=0)
            heads.append(values(model)["predictions/kernel"])
        np.testing.assert_array_equal(*heads)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("phase", [train_head, fine_tune])
    def test_a_batch_of_a_data_set_is_named(self, digits, phase, value):
        model = unfreeze(tiny(), "mixed_7d")
        with pytest.raises(ValueError, match=r"^.*of batch .* not finite"):
            phase(model, Spoilt(*digits, 1, value), epochs=2, verbose=0)

    def test_spoilt_weights_are_refused(self, digits):
        model = tiny()
        kernel = model.get_layer("mixed_7d_branch_0_conv2d_0a_1x1_conv").kernel
        kernel.assign(np.full(kernel.shape, np.nan))
        message = r"weights of 'tiny' in 'mixed_7d.*_conv' are not finite"
        for work in (
            lambda: train_head(model, digits, verbose=0),
            lambda: embed(model, digits[0], verbose=False),
            lambda: evaluate(model, digits, verbose=False),
        ):
            with pytest.raises(ValueError, match=message):
                work()

    @pytest.mark.backends
    @pytest.mark.parametrize("phase", [train_head, fine_tune])
    def test_a_diverged_loss_ends_with_the_last_sound_weights(self, digits, tmp_path, phase):
        """A rate that overflows; with a sound one the same folder would go on."""
        model = unfreeze(tiny(), "mixed_7d")
        before = values(model)
        options = {"epochs": 9, "learning_rate": 1e38, "folder": tmp_path, "verbose": 0}
        if phase is fine_tune:
            options |= {"warmup": 0, "label_smoothing": 0}
        with pytest.raises(ValueError, match=r"loss.* of epoch \d is not finite.*learning rate"):
            phase(model, digits, **options)
        assert all(np.isfinite(value).all() for value in values(model).values())
        assert changed(before, values(model)) <= HEAD | {
            "mixed_7d_branch_0_conv2d_0a_1x1_conv/kernel"
        }

    def test_a_folder_goes_on_once_the_cause_is_gone(self, digits, tmp_path):
        def tune(data, folder):
            model = unfreeze(tiny(), "mixed_7d")
            fine_tune(model, data, digits, epochs=3, folder=folder, verbose=0)
            return values(model)

        with pytest.raises(ValueError, match="not finite"):
            tune(Spoilt(*digits, 6), tmp_path / "run")
        resumed, undisturbed = (
            tune(Pairs(*digits), tmp_path / name) for name in ("run", "undisturbed")
        )
        for name, value in undisturbed.items():
            np.testing.assert_allclose(resumed[name], value, atol=1e-4, err_msg=name)


class TestFineTuning:
    def test_unfreeze(self):
        model = unfreeze(build(), "mixed_7c")
        assert {w.path.split("/")[-2].split("_branch")[0] for w in model.trainable_weights} == {
            "mixed_7c", "mixed_7d", "predictions",
        }  # fmt: skip
        assert not [w for w in model.trainable_weights if "_bn/" in w.path]
        unfreeze(model, "conv2d_1a_3x3", batch_norm=True)
        assert len(model.trainable_weights) == 2 * 149 + 2
        unfreeze(model, "mixed_7d")
        assert not model.get_layer("mixed_7c_branch_0_conv2d_0a_1x1_conv").trainable
        with pytest.raises(ValueError, match=r"from_endpoint='block8'.*mixed_7d"):
            unfreeze(model, "block8")
        with pytest.raises(ValueError, match="has no layer 'mixed_7a'"):
            unfreeze(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))

    @pytest.mark.backends
    @pytest.mark.parametrize("precision", ["auto", "float32", "mixed_bfloat16", "mixed_float16"])
    def test_only_what_is_unfrozen_moves(self, digits, precision):
        model = unfreeze(tiny("symbols"), "mixed_7d")
        before = values(model)
        # Float16 is emulated by some processors, a minute for all of them.
        data = tuple(x[::10] if precision == "mixed_float16" else x for x in digits)
        history = fine_tune(
            model, data, data, epochs=2, batch_size=32, precision=precision, verbose=0
        )
        moved = changed(before, values(model))
        # No moving statistics, no beta.
        assert moved == {"mixed_7d_branch_0_conv2d_0a_1x1_conv/kernel"} | HEAD
        assert model.get_layer("mixed_7d").compute_dtype == "float32"
        assert not model.compiled
        assert len(history.history["val_loss"]) == 2
        assert np.all(np.isfinite(history.history["loss"]))

    @pytest.mark.backends
    def test_the_network_below_stays_bit_for_bit(self, backbone, digits):
        model = unfreeze(build(backbone, augment="symbols"), "mixed_7d")
        before = values(model)
        pixels, labels = digits
        fine_tune(
            model, (pixels[::4], labels[::4]), epochs=1, precision="mixed_bfloat16", verbose=0
        )
        moved = changed(before, values(model))
        assert moved == HEAD | {
            n for n in before if n.startswith("mixed_7d") and n.endswith("kernel")
        }

    @pytest.mark.backends
    def test_batch_norm_follows_the_data_when_asked(self, digits):
        model = unfreeze(tiny(), "mixed_7d", batch_norm=True)
        before = values(model)
        fine_tune(model, digits, epochs=1, verbose=0)
        moved = changed(before, values(model))
        assert "mixed_7d_branch_0_conv2d_0a_1x1_bn/moving_mean" in moved

    @pytest.mark.backends
    def test_the_best_epoch_is_kept_and_patience_stops(self, digits):
        model = unfreeze(tiny(dropout_rate=0, channels=1536), "mixed_7d")
        history = fine_tune(
            model, digits, digits, epochs=6, learning_rate=0.3, warmup=0, patience=1, verbose=0
        ).history
        best = int(np.argmin(history["val_loss"]))
        assert len(history["val_loss"]) == best + 2 < 6
        twin = keras.Model(model.inputs, model.output)
        twin.compile(
            loss=lambda y, p: keras.losses.categorical_crossentropy(
                keras.ops.one_hot(keras.ops.reshape(y, (-1,)), 3), p, label_smoothing=0.1
            )
        )
        pixels = digits[0]
        if keras.config.image_data_format() == "channels_first":
            pixels = np.moveaxis(pixels, 3, 1)
        found = twin.evaluate(pixels, digits[1], verbose=0)
        np.testing.assert_allclose(found, history["val_loss"][best], rtol=1e-3)

    @pytest.mark.backends
    @pytest.mark.parametrize("kind", ["arrays", "PyDataset", "tf.data"])
    def test_any_data(self, digits, kind, data_format):
        data = digits
        if kind == "PyDataset":
            data = Pairs(*digits)
        elif kind == "tf.data":
            tf = pytest.importorskip("tensorflow")
            data = tf.data.Dataset.from_tensor_slices(digits).batch(16)
        model = unfreeze(tiny(), "mixed_7d")
        history = fine_tune(
            model, data, validation_data=data, epochs=1, class_weight="balanced", verbose=0
        )
        assert np.isfinite(history.history["val_loss"][0])

    @pytest.mark.backends
    def test_an_interrupted_epoch_starts_anew_with_the_same_numbers(self, digits, tmp_path):
        """Dropout and augmentation included: their generators are restored."""

        def tune(data, folder=None):
            model = unfreeze(tiny("symbols", 0.5), "mixed_7d")
            history = fine_tune(
                model, data, digits, epochs=3, folder=folder, learning_rate=3e-3, verbose=0
            )
            return model, history.history

        class Breaks(Pairs):
            def __getitem__(self, index):
                if len(self.asked) >= 10:  # in the third epoch
                    raise RuntimeError("killed")
                return super().__getitem__(index)

        expected, undisturbed = tune(Pairs(*digits))
        with pytest.raises(RuntimeError, match=r"^killed"):
            tune(Breaks(*digits), tmp_path)
        assert (tmp_path / "fine_tuning.safetensors").exists()
        resumed, history = tune(Pairs(*digits), tmp_path)
        for name, numbers in undisturbed.items():
            np.testing.assert_allclose(history[name], numbers, rtol=1e-4, err_msg=name)
        for name, value in values(expected).items():
            np.testing.assert_allclose(values(resumed)[name], value, atol=1e-4, err_msg=name)
        again, repeated = tune(Pairs(*digits), tmp_path)  # it is done
        assert repeated == history
        assert changed(values(resumed), values(again)) == set()

    def test_a_damaged_checkpoint_is_named(self, digits, tmp_path):
        path = tmp_path / "fine_tuning.safetensors"
        path.write_bytes(b"damaged")
        model = unfreeze(tiny(), "mixed_7d")
        with pytest.raises(ValueError, match=r"fine_tuning\.safetensors cannot be read.*Delete"):
            fine_tune(model, digits, folder=tmp_path, verbose=0)

    def test_a_checkpoint_of_another_model_is_refused(self, digits, tmp_path):
        model = unfreeze(tiny(), "mixed_7d")
        fine_tune(model, digits, epochs=1, folder=tmp_path, verbose=0)
        unfreeze(model, "mixed_7d", batch_norm=True)
        with pytest.raises(ValueError, match="checkpoint of another model"):
            fine_tune(model, digits, epochs=1, folder=tmp_path, verbose=0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"epochs": 0}, "epochs=0"),
            ({"warmup": 1}, "warmup=1"),
            ({"label_smoothing": -1}, "label_smoothing=-1"),
            ({"precision": "int8"}, "precision='int8'"),
            ({"patience": 2}, "patience needs held-out images"),
            (
                {"optimizer": keras.optimizers.SGD(), "learning_rate": 1e-3},
                "optimizer with learning_rate or warmup",
            ),
            ({"optimizer": keras.optimizers.SGD(), "warmup": 0.5}, "optimizer with"),
            ({"loss": "mse", "label_smoothing": 0.0}, "loss with label_smoothing"),
            ({"validation": (), "validation_data": ()}, "validation and validation_data"),
        ],
    )
    def test_wrong_arguments(self, digits, arguments, message):
        with pytest.raises(ValueError, match=message):
            fine_tune(tiny(), digits, **arguments)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"optimizer": lambda: keras.optimizers.SGD(1e-2)}, "SGD"),
            ({"optimizer": lambda: keras.optimizers.RMSprop(1e-4)}, "RMSprop"),
            ({"optimizer": lambda: keras.optimizers.SGD(2e-2, momentum=0.9)}, "momentum"),
            ({"loss": lambda: "sparse_categorical_crossentropy"}, "sparse_categorical"),
            ({"loss": lambda: keras.losses.SparseCategoricalCrossentropy()}, "SparseCategorical"),
            ({"loss": lambda: own_loss}, "own_loss"),
        ],
    )
    def test_an_own_optimizer_or_loss(self, digits, tmp_path, change, message):
        def tune(callback, **change):
            made = {name: make() for name, make in change.items()}
            model = unfreeze(tiny(), "mixed_7d")
            history = fine_tune(
                model, digits, epochs=2, folder=tmp_path, callbacks=[callback], verbose=0, **made
            )
            return history.history["loss"], made

        class Stops(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise RuntimeError("the user's")

        with pytest.raises(RuntimeError, match="the user's"):
            tune(Stops(), **change)
        seen = Seen()
        with pytest.raises(ValueError, match=f"other arguments.*{message}"):
            tune(seen)
        losses, made = tune(seen, **change)
        assert np.isfinite(losses).all()
        assert seen.epochs == [1]
        for name, value in made.items():
            assert getattr(seen.model, name) is value

    def test_a_lambda_is_no_loss_to_resume_with(self, digits, tmp_path):
        model = unfreeze(tiny(), "mixed_7d")
        fine_tune(model, digits, epochs=1, loss=lambda *pair: own_loss(*pair), verbose=0)
        with pytest.raises(ValueError, match=r"a lambda as loss.*Define a named function"):
            fine_tune(model, digits, loss=lambda *pair: own_loss(*pair), folder=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_used_optimizer_is_refused(self, digits):
        optimizer = keras.optimizers.SGD()
        fine_tune(unfreeze(tiny(), "mixed_7d"), digits, epochs=1, optimizer=optimizer, verbose=0)
        with pytest.raises(ValueError, match=r"has trained another model.*from_config"):
            fine_tune(unfreeze(tiny(), "mixed_7d"), digits, epochs=1, optimizer=optimizer)

    @pytest.mark.parametrize("where", ["on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
    @pytest.mark.parametrize("phase", [train_head, fine_tune])
    def test_a_callback_that_raises_leaves_a_phase_that_goes_on(
        self, digits, tmp_path, phase, where
    ):
        class Raises(keras.callbacks.Callback):
            epochs = 0

            def on_train_batch_end(self, batch, logs=None):
                self.at("on_train_batch_end")

            def on_epoch_begin(self, epoch, logs=None):
                self.epochs = epoch
                self.at("on_epoch_begin")

            def on_epoch_end(self, epoch, logs=None):
                self.at("on_epoch_end")

            def at(self, place):
                if place == where and self.epochs == 1:
                    raise RuntimeError("the user's own")

        def run(folder, callbacks=()):
            model = unfreeze(tiny("symbols", 0.5), "mixed_7d")
            history = phase(
                model, digits, digits, epochs=3, folder=folder, callbacks=callbacks, verbose=0
            )
            return history.history, values(model)

        expected, weights = run(None)
        with pytest.raises(RuntimeError, match="the user's own"):
            run(tmp_path, [Raises()])
        seen = Seen()
        resumed, found = run(tmp_path, [seen])
        assert seen.epochs == ([2] if where == "on_epoch_end" else [1, 2])
        for name, numbers in expected.items():
            np.testing.assert_allclose(resumed[name], numbers, rtol=1e-4, err_msg=name)
        for name, value in weights.items():
            np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's own passes")
    @pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
    def test_graphs_are_optimized_again_after_a_phase(self, digits, precision):
        import tensorflow as tf

        name, during = "disable_meta_optimizer", []

        class Looks(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                during.append(tf.config.optimizer.get_experimental_options()[name])
                raise RuntimeError("the user's own")

        with pytest.raises(RuntimeError, match="the user's own"):
            fine_tune(
                unfreeze(tiny(), "mixed_7d"), digits, epochs=1, precision=precision,
                callbacks=[Looks()], verbose=0,
            )  # fmt: skip
        assert during == [precision == "float32"]
        assert not tf.config.optimizer.get_experimental_options()[name]

    def test_nothing_trainable(self, digits):
        model = tiny()
        model.trainable = False
        with pytest.raises(ValueError, match="Call unfreeze"):
            fine_tune(model, digits)
