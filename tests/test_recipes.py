"""The paper's recipe: its constants, its training step, errors, and resumed runs."""

import csv
from functools import partial
from typing import ClassVar

import keras
import numpy as np
import pytest
from conftest import ordered
from tiny import tiny

from keras_inception_v4 import train
from keras_inception_v4.architecture import DIGITS_CROP
from keras_inception_v4.data.digits import digit_scans
from keras_inception_v4.data.pipeline import batched
from keras_inception_v4.data.sources import Images, LabelledData
from keras_inception_v4.files import read_json
from keras_inception_v4.runs.run import Parts, Watching, read_images, run_settings
from keras_inception_v4.runs.settings import Settings
from keras_inception_v4.tasks import TASKS
from keras_inception_v4.training.fitting import fit
from keras_inception_v4.training.recipes import RECIPES, Schedule, WarmupStaircase, decay_kernels
from keras_inception_v4.training.scratch import scratch_model, train_from_scratch


def rate_of(recipe, schedule):
    config = recipe.optimizer(schedule).get_config()["learning_rate"]["config"]
    return WarmupStaircase(**config)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.1), (4, 0.5), (9, 1.0), (19, 1.0), (20, 0.94), (39, 0.94), (40, 0.8836),
        (200, 0.94**10),
    ],
)  # fmt: skip
def test_the_rate_rises_then_falls_in_steps(step, rate):
    schedule = WarmupStaircase(1.0, 10, 0.94, 20)
    assert float(schedule(step)) == pytest.approx(rate, rel=1e-5)
    again = WarmupStaircase.from_config(schedule.get_config())
    assert float(again(step)) == float(schedule(step))


def test_the_paper_s_constants():
    recipe = RECIPES["paper"]
    optimizer = recipe.optimizer(Schedule(epochs=100, steps=1000, batch_size=256))
    assert isinstance(optimizer, keras.optimizers.RMSprop)
    expected = {
        "rho": 0.9, "epsilon": 1.0, "momentum": 0.9, "global_clipnorm": 2.0, "use_ema": True,
        "ema_momentum": 0.9999,
    }  # fmt: skip
    assert {name: optimizer.get_config()[name] for name in expected} == expected
    rate = rate_of(recipe, Schedule(100, 1000, 256))
    assert float(rate(0)) == pytest.approx(0.045 * 8 / 5000, rel=1e-5)
    assert float(rate(5000)) == pytest.approx(0.045 * 8 * 0.94**2, rel=1e-5)
    assert (recipe.batch_norm_momentum, recipe.label_smoothing) == (0.9997, 0.1)
    assert (recipe.weight_decay, recipe.auxiliary_weight) == (4e-5, 0.4)


def test_a_short_run_goes_as_far_down_as_a_hundred_epochs():
    paper = rate_of(RECIPES["paper"], Schedule(100, 1000, 32))
    small = rate_of(RECIPES["paper-small"], Schedule(10, 1000, 32))
    ends = float(small(9_999)) / small.peak, float(paper(99_999)) / paper.peak
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)
    assert ends[1] == pytest.approx(0.94**49, rel=1e-4)


@pytest.mark.backends
def test_rms_prop_by_hand():
    """Two steps of the authors' optimizer, from an empty history, with epsilon inside the root."""
    optimizer = RECIPES["paper"].optimizer(Schedule(1, 1, 32))
    variable = keras.Variable(np.array([1.0, -2.0], "float32"))
    gradients = [np.array([0.3, -0.1]), np.array([-0.2, 0.4])]
    value, square, momentum = np.array([1.0, -2.0]), 0.0, 0.0
    for step, gradient in enumerate(gradients):
        rate = 0.045 * min(1, (step + 1) / 5) * 0.94 ** (step // 2)
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + rate * gradient / np.sqrt(square + 1.0)
        value = value - momentum
        optimizer.apply([keras.ops.convert_to_tensor(gradient.astype("float32"))], [variable])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), value, rtol=1e-5)


@pytest.mark.backends
def test_kernels_and_nothing_else_are_decayed():
    model = tiny()
    decay_kernels(model, 4e-5)
    kernels = [layer.get_weights()[0] for layer in model.layers if hasattr(layer, "kernel")]
    assert len(kernels) == 2
    expected = 4e-5 * sum(np.sum(np.square(kernel)) / 2 for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.backends
def test_held_out_images_are_measured_with_the_averages_which_remain():
    """The rate ruins the weights from the second step on; their averages stay at the first."""
    model = tiny(dropout_rate=0.0, channels=1536)
    before = model.get_layer("predictions").get_weights()[0]
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (8, *model.input_shape[1:])).astype("float32")
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1e-6, 100.0])
    optimizer = keras.optimizers.SGD(rate, use_ema=True, ema_momentum=0.999999)

    data = batched(Images(np.tile(x, (3, 1, 1, 1)), np.arange(24) % 8 % 3), 8)
    history = fit(
        model, data, data, epochs=2, optimizer=optimizer, verbose=0,
        loss=TASKS["single-label"].loss(3, smoothing=0.1),
    ).history  # fmt: skip
    after = model.get_layer("predictions").get_weights()[0]
    assert np.isfinite(history["loss"]).all()
    assert np.abs(after - before).max() < 0.02
    assert history["val_loss"][1] < history["loss"][1] / 2


class Network:
    """`tiny` in the place of the whole network, with an auxiliary head of the same kind."""

    built: ClassVar[list[dict]] = []

    @classmethod
    def scratch_model(cls, classes, image_size, *, task="single-label", **arguments):
        assert task == "single-label"
        cls.built.append(arguments)
        return tiny(classes=classes, size=image_size)

    @staticmethod
    def with_auxiliary_head(model, classes):
        features = model.get_layer("avg_pool").output
        auxiliary = keras.layers.Dense(classes, "softmax", name="auxiliary")(features)
        return keras.Model(model.inputs, {"predictions": model.output, "auxiliary": auxiliary})


@pytest.fixture
def short():
    """`train_from_scratch` on the small network."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (26, 20, 20, 3)).astype("float32")
    data = LabelledData(
        Images(pixels[:20], np.arange(20) % 3), Images(pixels[20:], np.arange(6) % 3),
        list("abc"), DIGITS_CROP, [],
    )  # fmt: skip

    def run(recipe, data=data, **arguments):
        keras.utils.set_random_seed(0)
        model = tiny(size=20)
        history = train_from_scratch(
            model, data, recipe=RECIPES[recipe], verbose=0,
            build=Network.scratch_model, add_head=Network.with_auxiliary_head,
            **{"epochs": 3, "batch_size": 8, "seed": 0, "precision": "float32",
               "augment": "photographs", **arguments},
        )  # fmt: skip
        return model, history

    return run


def test_the_network_is_the_recipe_s(short):
    for recipe, momentum, augment in (("paper", 0.9997, "none"), ("adam", 0.9, "photographs")):
        short(recipe, epochs=1)
        assert Network.built[-1] == {"batch_norm_momentum": momentum, "augment": augment}


@pytest.mark.backends
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_averages_in_mixed_precision(short, precision):
    model, history = short("paper-small", precision=precision)
    assert np.isfinite(history["val_loss"]).all()
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_an_error_in_the_first_batch_is_told(short):
    class Damaged(Images):
        def picture(self, index):
            raise ValueError("photo.jpg cannot be read")

    images = Damaged(np.zeros((9, 20, 20, 3), "float32"), np.arange(9) % 3)
    with pytest.raises(ValueError, match=r"^photo.jpg cannot be read"):
        short("paper", LabelledData(images, images, list("abc"), DIGITS_CROP, []))


@pytest.mark.backends
def test_the_loss_has_all_its_parts(short):
    _, history = short("paper")
    assert set(history) == {
        f"{part}{name}"
        for part in ("", "val_")
        for name in ("accuracy", "loss", "predictions_loss", "auxiliary_loss")
    }
    for part in ("", "val_"):
        total = np.array(history[f"{part}loss"])
        heads = np.array(history[f"{part}predictions_loss"]) + 0.4 * np.array(
            history[f"{part}auxiliary_loss"]
        )
        assert (total > heads).all()  # and the decay of the kernels
        np.testing.assert_allclose(total - heads, (total - heads)[0], rtol=0.05)


class KilledError(Exception):
    pass


class Killed(keras.callbacks.Callback):
    """Ends a fit at the beginning of an epoch, or after a step of it."""

    def __init__(self, epoch, step=None):
        super().__init__()
        self.at, self.epoch = (epoch, step), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self._end_at(None)

    def on_train_batch_end(self, batch, logs=None):
        self._end_at(batch)

    def _end_at(self, step):
        if self.at == (self.epoch, step):
            raise KilledError


@pytest.mark.backends
@pytest.mark.parametrize(
    ("recipe", "every", "ends"),
    [
        ("paper-small", None, [(1, None)]),
        ("paper-small", 1, [(0, 0), (2, 2), (2, 0)]),
        ("adam", 2, [(0, 1), (0, 0), (2, 1)]),
    ],
)
def test_a_resumed_run_goes_on_with_crops_averages_and_rate(short, tmp_path, recipe, every, ends):
    """Killed at (epoch, step), counted from where it was resumed; augmentation included."""
    arguments = {"checkpoint_every": every, "batch_size": 4}
    model, history = short(recipe, checkpoint=tmp_path / "whole.safetensors", **arguments)
    arguments["checkpoint"] = tmp_path / "killed.safetensors"
    for end in ends:
        with pytest.raises(KilledError):
            short(recipe, callbacks=[Killed(*end)], **arguments)
    resumed, again = short(recipe, **arguments)
    assert len(again["loss"]) == 3
    for name in history:
        np.testing.assert_allclose(again[name], history[name], rtol=1e-4)
    for old, new in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    fresh = tiny(size=20)  # from the same seed
    moved = [
        np.abs(a - b).max() for a, b in zip(fresh.get_weights(), model.get_weights(), strict=True)
    ]
    assert max(moved) > 1e-4


@pytest.mark.backends
def test_a_step_that_was_recorded_is_not_made_again(short, tmp_path):
    steps = []

    class Steps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)

    arguments = {"checkpoint": tmp_path / "run.safetensors", "checkpoint_every": 2, "epochs": 1}
    with pytest.raises(KilledError):
        short("adam", batch_size=4, callbacks=[Killed(0, 2)], **arguments)
    short("adam", batch_size=4, callbacks=[Steps()], **arguments)
    assert steps == [0, 1, 2]  # the last three of five


def test_every_step_has_the_stated_batch(short):
    with pytest.raises(ValueError, match=r"batch_size=32 and 20 training images.*lower batch_size"):
        short("paper", batch_size=32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "papre"}, "recipe='papre'.*adam, paper, paper-small"),
        ({"recipe": "paper", "image_size": 106}, "image_size=106.*at least 107"),
        ({"recipe": "paper", "weights": "imagenet"}, "from scratch: weights=None"),
        ({"processes": 2}, "coordinator=None and processes=2"),
        ({"coordinator": "localhost:1", "processes": 1}, "processes=1"),
        ({"coordinator": "localhost", "processes": 2}, "HOST:PORT"),
        ({"processes": 2, "process_id": 2, "coordinator": "a:1"}, "process_id=2"),
    ],
)
def test_a_wrong_argument_writes_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        train("digits", tmp_path / "run", **{"weights": None, **arguments})
    assert not (tmp_path / "run").exists()


def test_many_processes_need_jax(tmp_path):
    if keras.backend.backend() == "jax":
        return
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        train("digits", tmp_path / "run", weights=None, coordinator="a:1", processes=2)


@pytest.mark.slow
@pytest.mark.usefixtures("kinds")
def test_the_paper_s_recipe_on_digits(tmp_path):
    """One epoch of every ninth scan: that everything fits together, not accuracy."""
    scans, labels = digit_scans()
    few = Parts(partial(read_images, scans=lambda: (scans[::9], labels[::9])))
    settings = Settings(data="digits", weights=None, recipe="paper-small", epochs=1)
    report = run_settings(settings, tmp_path / "run", Watching(verbose=0), parts=few)
    assert read_json(tmp_path / "run" / "config.json")["arguments"]["image_size"] == 107
    with (tmp_path / "run" / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["auxiliary_loss"]) > 1
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.input_shape == (None, *ordered(107, 107, 3))
    assert not [layer.name for layer in model.layers if layer.name.startswith("aux")]
    assert report["weights"] == model.count_params() < 1_000_000


def test_the_weights_of_ten_classes_at_full_width():
    assert scratch_model(10, 107).count_params() == 41_189_770
