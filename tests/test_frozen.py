"""Fine-tuning on cached outputs of the frozen blocks, and updates of several steps."""

import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ordered, three_digits
from tiny import tiny

from keras_inception_v4 import fine_tune, transfer_model, unfreeze
from keras_inception_v4.files import read_json
from keras_inception_v4.model import classifier
from keras_inception_v4.runs.settings import Settings
from keras_inception_v4.training import caching, frozen
from keras_inception_v4.training.augmentation import augmentation_layers
from keras_inception_v4.training.frozen import frozen_endpoint
from keras_inception_v4.training.recipes import RECIPES, Schedule


@pytest.fixture(scope="module")
def digits():
    """48 scans of 0, 1 and 2 as RGB images, with their labels."""
    return three_digits(16)


def two_blocks(augment, dropout_rate, size=75):
    """A model of the package's form with two convolutions, quick to trace."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(ordered(size, size, 3))
    for layer in augmentation_layers(augment):
        x = layer(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(x)
    for name in ("mixed_6h", "mixed_7a"):
        x = keras.layers.Conv2D(32, 9, strides=5, name=f"{name}_conv")(x)
        x = keras.layers.ReLU(name=name)(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(
        inputs, classifier(x, 3, dropout_rate=dropout_rate, activation="softmax"), name="digits"
    )


@pytest.fixture
def tune(digits):
    """Fine-tunes a new model on the digits; returns it and its history."""

    def run(*, augment="none", dropout_rate=0.2, data=None, from_endpoint="mixed_7a", **options):
        model = unfreeze(two_blocks(augment, dropout_rate), from_endpoint)
        given = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3, "verbose": 0, **options}
        return model, fine_tune(model, data or digits, digits, **given).history

    return run


def features_in(folder):
    return sorted(path.name for path in folder.glob("*.features"))


BOTH = ["fine_tuning.0.features", "fine_tuning.validation.features"]


@pytest.mark.backends
def test_it_ends_where_passing_every_image_each_epoch_ends(
    shallow_file, shallow, tmp_path, data_format, digits
):
    weights = np.linspace(0.5, 1.5, 48).astype("float32")

    def tune(**options):
        keras.utils.set_random_seed(0)
        model = transfer_model(
            3, weights=shallow_file, input_shape=ordered(75, 75, 3), augment=False, dropout_rate=0
        )
        unfreeze(model, "mixed_7a")
        data = (*digits, weights)
        history = fine_tune(
            model, data, digits, epochs=3, batch_size=16, learning_rate=1e-3, verbose=0,
            class_weight={0: 2.0}, **options,
        )  # fmt: skip
        return model, history.history

    expected, slow = tune(cache_augmented=0, folder=tmp_path / "slow")
    found, fast = tune(folder=tmp_path / "fast")
    assert features_in(tmp_path / "slow") == []
    assert features_in(tmp_path / "fast") == BOTH
    assert frozen_endpoint(found) == "mixed_6h"
    for name, values in slow.items():
        np.testing.assert_allclose(fast[name], values, rtol=1e-4, err_msg=name)
    for one, other in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.backends
def test_versions_are_drawn_once_and_take_turns(tune, tmp_path):
    """At a rate of nearly 0, so that the loss tells what an epoch saw."""
    options = {"augment": "symbols", "dropout_rate": 0, "cache_augmented": 2, "epochs": 4,
               "learning_rate": 1e-12}  # fmt: skip
    _, history = tune(folder=tmp_path / "a", **options)
    one, two, *again = history["loss"]
    assert again == pytest.approx([one, two], rel=1e-5)
    assert abs(one - two) > 1e-4 * one
    tune(folder=tmp_path / "b", **options)
    names = features_in(tmp_path / "a")
    assert names == ["fine_tuning.0.features", "fine_tuning.1.features", BOTH[1]]
    first, second, held_out = ((tmp_path / "a" / name).read_bytes() for name in names)
    assert len({first, second, held_out}) == 3
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


class Stops(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("stopped")


@pytest.mark.backends
def test_it_goes_on_without_computing_them_again(tune, tmp_path, monkeypatch):
    options = {"augment": "symbols", "cache_augmented": 2}
    expected, undisturbed = tune(folder=tmp_path / "whole", **options)
    with pytest.raises(RuntimeError, match="stopped"):
        tune(folder=tmp_path / "run", callbacks=[Stops()], **options)
    monkeypatch.setattr(caching, "embedded", None)
    found, resumed = tune(folder=tmp_path / "run", **options)
    for name, values in undisturbed.items():
        np.testing.assert_allclose(resumed[name], values, rtol=1e-4, err_msg=name)
    for one, other in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    with pytest.raises(ValueError, match=r"other arguments: .*'cached': 2"):
        tune(folder=tmp_path / "run", augment="symbols", cache_augmented=0)


def test_what_began_without_goes_on_without(tune, tmp_path):
    with pytest.raises(RuntimeError, match="stopped"):
        tune(folder=tmp_path, callbacks=[Stops()])
    _, history = tune(folder=tmp_path)
    assert features_in(tmp_path) == []
    assert len(history["loss"]) == 3


class Batched(keras.utils.PyDataset):
    def __init__(self, pixels, labels):
        super().__init__()
        self.pixels, self.labels = pixels, labels

    def __len__(self):
        return 6

    def __getitem__(self, index):
        chosen = slice(8 * index, 8 * index + 8)
        return self.pixels[chosen], self.labels[chosen]


@pytest.mark.parametrize(
    "options",
    [{"augment": "symbols"}, {"epochs": 1}, {"callbacks": [keras.callbacks.Callback()]}, "stream"],
)
def test_nothing_is_kept_unasked_where_it_might_change_the_result(tune, digits, tmp_path, options):
    if options == "stream":  # it may draw
        options = {"data": Batched(*digits)}
    tune(folder=tmp_path, **{"epochs": 2, **options})
    assert features_in(tmp_path) == []


def test_batches_of_a_user_are_kept_when_asked(tune, digits, tmp_path):
    """At a rate of nearly 0, so that the order of the images is no matter."""
    options = {"data": Batched(*digits), "dropout_rate": 0, "learning_rate": 1e-12, "epochs": 2}
    _, expected = tune(cache_augmented=0, **options)
    _, found = tune(cache_augmented=2, folder=tmp_path, **options)
    assert features_in(tmp_path)[:2] == ["fine_tuning.0.features", "fine_tuning.1.features"]
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-5)


def test_what_has_no_room(tune, tmp_path, monkeypatch, capsys):
    def nothing_free(place):
        return SimpleNamespace(free=1_000_000)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", nothing_free)
        with pytest.raises(OSError, match="blocks up to mixed_6h, for 3 versions of each"):
            tune(folder=tmp_path, augment="symbols", cache_augmented=3)
        tune(folder=tmp_path, epochs=2, verbose=2)
    told = capsys.readouterr().err
    assert "more than 80% of the 1 MB free" in told
    assert "computed again in each epoch" in told
    assert features_in(tmp_path) == []


def test_much_is_kept_on_disk_in_half_the_bytes(tune, tmp_path, monkeypatch, capsys):
    _, exact = tune(folder=tmp_path / "small")
    monkeypatch.setattr(frozen, "MEMORY_BUDGET", 10_000)
    _, rounded = tune(folder=tmp_path / "large", verbose=2)
    assert f"kept in {tmp_path / 'large'}." in capsys.readouterr().err
    small, large = ((tmp_path / name / BOTH[0]).stat().st_size for name in ("small", "large"))
    assert large / small == pytest.approx(0.5, abs=0.01)
    assert read_json(tmp_path / "large" / f"{BOTH[0]}.json")["dtype"] == "float16"
    assert exact["loss"][2] < 0.98 * exact["loss"][0]
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=1e-3)
    _, temporary = tune()
    assert temporary["loss"] == pytest.approx(rounded["loss"], rel=1e-5)


class Looks(keras.callbacks.Callback):
    """Notes which layers are trained, and in what they compute."""

    def on_train_begin(self, logs=None):
        self.dtypes = {layer.name: layer.compute_dtype for layer in self.model.layers}


def test_in_mixed_precision_what_moves_is_mixed_and_what_is_kept_is_float32(tune, tmp_path):
    looks, losses = Looks(), {}
    for precision in ("float32", "mixed_bfloat16"):
        _, history = tune(
            precision=precision, dropout_rate=0, cache_augmented=1, callbacks=[looks],
            folder=tmp_path / precision,
        )  # fmt: skip
        losses[precision] = history["loss"]
    assert looks.dtypes["mixed_7a_conv"] == "bfloat16"
    assert looks.dtypes["predictions"] == "float32"
    assert "mixed_6h_conv" not in looks.dtypes
    kept = [(tmp_path / precision / BOTH[0]).read_bytes() for precision in losses]
    assert kept[0] == kept[1]
    assert losses["float32"][2] < 0.8 * losses["float32"][0]
    assert losses["mixed_bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


def test_images_of_any_size_are_not_kept(digits, tmp_path):
    model = unfreeze(two_blocks("none", 0, size=None), "mixed_7a")
    fine_tune(model, digits, epochs=2, folder=tmp_path, verbose=0)
    assert features_in(tmp_path) == []
    with pytest.raises(ValueError, match=r"cache_augmented=1, .* takes images of any size"):
        fine_tune(model, digits, epochs=2, cache_augmented=1, verbose=0)


def test_where_everything_moves_nothing_can_be_kept(tune):
    with pytest.raises(ValueError, match="cache_augmented=2, but nothing can be cached"):
        tune(from_endpoint="mixed_6h", cache_augmented=2)
    model, _ = tune(from_endpoint="mixed_6h", epochs=2)
    assert frozen_endpoint(model) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_augmented": -1}, "cache_augmented=-1"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"accumulate": 2, "optimizer": keras.optimizers.SGD()}, "gradient_accumulation_steps"),
    ],
)
def test_wrong_arguments(digits, options, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(unfreeze(tiny(), "mixed_7d"), digits, **options)


@pytest.mark.backends
def test_four_steps_of_a_quarter_make_the_updates_of_the_whole(digits):
    """Twenty-one updates, each on the same images; batch norm is frozen."""
    model = unfreeze(tiny(dropout_rate=0), "mixed_7d")
    start = model.get_weights()
    ends, histories = [], []
    for batch_size, accumulate in ((16, 1), (4, 4)):
        model.set_weights(start)
        histories.append(
            fine_tune(
                model, digits, epochs=7, batch_size=batch_size, accumulate=accumulate,
                learning_rate=1e-2, verbose=0,
            ).history["loss"]
        )  # fmt: skip
        ends.append(model.get_weights())
    moved = max(np.abs(end - begin).max() for end, begin in zip(ends[0], start, strict=True))
    assert moved > 0.02  # two hundred times what they may differ by
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    for whole, quarters in zip(*ends, strict=True):
        np.testing.assert_allclose(quarters, whole, atol=1e-4)


@pytest.mark.parametrize("recipe", ["adam", "paper", "paper-small"])
def test_recipes_accumulate_by_updates(recipe):
    """Rates at each update, and the average of the weights, are those of the larger batch."""
    whole = RECIPES[recipe].optimizer(Schedule(4, 50, 32))
    parts = RECIPES[recipe].optimizer(Schedule(4, 200, 8, accumulate=4))
    assert parts.gradient_accumulation_steps == 4
    for optimizer in (whole, parts):
        optimizer.build([keras.Variable([1.0])])
    rates = [[], []]
    for optimizer, seen, steps in ((whole, rates[0], 1), (parts, rates[1], 4)):
        for step in range(199 * steps + 1):
            if step % steps == 0:
                optimizer._iterations.assign(step + steps - 1)
                seen.append(float(optimizer.learning_rate))
    assert len(set(rates[0])) > 5
    np.testing.assert_allclose(rates[1], rates[0], rtol=1e-5)
    if whole.use_ema:
        assert parts.ema_momentum**4 == pytest.approx(whole.ema_momentum)


def test_a_fit_that_would_never_update_is_refused(digits):
    with pytest.raises(ValueError, match="5 steps per update and 4 steps in all"):
        fine_tune(unfreeze(tiny(), "mixed_7d"), digits, epochs=2, batch_size=24, accumulate=5)


def test_updates_across_epochs_are_counted():
    """Five steps an epoch, four an update: five updates in four epochs, not four."""
    optimizer = RECIPES["adam"].optimizer(Schedule(4, 5, 8, accumulate=4))
    optimizer.build([keras.Variable([1.0])])
    rates = []
    for update in range(6):
        optimizer._iterations.assign(4 * update + 3)
        rates.append(float(optimizer.learning_rate))
    assert rates[4] > 0
    assert rates[5] == 0


def test_settings():
    with pytest.raises(ValueError, match="cache_augmented with weights=None"):
        Settings(weights=None, cache_augmented=2)
    with pytest.raises(ValueError, match="accumulate=0"):
        Settings(accumulate=0)
    recorded = Settings(weights=None).as_json()
    assert not {"accumulate", "cache_augmented"} & recorded.keys()
    assert Settings(accumulate=4).as_json()["accumulate"] == 4
    assert Settings(cache_augmented=0).as_json()["cache_augmented"] == 0
