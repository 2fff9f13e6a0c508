"""Single-label, multi-label and regression: how each learns, predicts and is measured."""

import json

import keras
import numpy as np
import pytest
from conftest import ordered
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recipes import Network
from tiny import tiny

from keras_inception_v4 import (
    InceptionV4,
    class_activation_map,
    evaluate,
    fine_tune,
    train_head,
    transfer_model,
    unfreeze,
    with_auxiliary_head,
)
from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.data.sources import Images, LabelledData
from keras_inception_v4.inspection import classifier_of, task_of
from keras_inception_v4.tasks import TASKS, task_named
from keras_inception_v4.tasks.multi_label import best_threshold, multi_label_report
from keras_inception_v4.tasks.regression import regression_report
from keras_inception_v4.training.building import with_task
from keras_inception_v4.training.class_weights import class_weights
from keras_inception_v4.training.recipes import RECIPES
from keras_inception_v4.training.scratch import train_from_scratch

OTHERS = ["multi-label", "regression"]


def model_of(task, outputs=3, **arguments):
    """`tiny` with the head of a task."""
    base = tiny(activation=TASKS[task].activation, classes=outputs, size=30, **arguments)
    model = with_task(base, task)
    if task == "regression":
        dense = model.get_layer("predictions")
        dense.set_weights([0 * weights for weights in dense.get_weights()])
    return model


@pytest.fixture(scope="module")
def data():
    """Images whose red, green and blue are on or off, and as quantities around 1,000."""
    rng = np.random.default_rng(0)
    several = rng.integers(0, 2, (60, 3))
    pixels = rng.uniform(0, 60, (60, 30, 30, 3)) + 150 * several[:, None, None]
    quantities = 1000 + pixels.mean(axis=(1, 2)) / 10
    return pixels.astype("float32"), {
        "multi-label": several, "regression": quantities.astype("float32"),
    }  # fmt: skip


# Measures.


def test_the_report_of_several_classes():
    probabilities = np.array([[0.9, 0.2, 0.6], [0.6, 0.1, 0.7], [0.4, 0.3, 0.8], [0.2, 0.9, 0.9]])
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]])
    report = multi_label_report(probabilities, targets, ["a", "b", "c"])
    assert report["images"] == 4
    a, b, c = report["per_class"].values()
    assert a["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert a["auroc"] == pytest.approx(0.75)
    assert (a["precision"], a["recall"], a["f1"], a["images"]) == (0.5, 0.5, 0.5, 2)
    assert [b[key] for key in ("average_precision", "auroc", "best_threshold")] == [None] * 3
    assert [c[key] for key in ("average_precision", "auroc", "best_threshold")] == [None] * 3
    assert report["mean_average_precision"] == a["average_precision"]
    assert report["micro_f1"] == pytest.approx(10 / 13)
    assert report["macro_f1"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert report["exact_match"] == 0.25
    strict = multi_label_report(probabilities, targets, ["a", "b", "c"], thresholds=[0.3, 0.95, 0])
    assert strict["per_class"]["a"]["recall"] == 1
    assert strict["per_class"]["b"]["threshold"] == 0.95
    weighted = multi_label_report(probabilities, targets, ["a", "b", "c"], [1, 0, 0, 0])
    assert weighted["exact_match"] == 1
    with pytest.raises(ValueError, match="All sample weights are 0"):
        multi_label_report(probabilities, targets, ["a", "b", "c"], np.zeros(4))
    json.dumps(report, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=30).filter(
        lambda pairs: len({truth for truth, _ in pairs}) == 2
    )
)
def test_no_threshold_is_better_than_the_best(pairs):
    truth, steps = (np.array(values) for values in zip(*pairs, strict=True))
    probabilities = steps / 20

    def f1(threshold):
        found = probabilities >= threshold
        return 2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth))

    best = best_threshold(truth, probabilities)
    assert 0 <= best <= 1
    assert f1(best) == pytest.approx(max(f1(limit) for limit in np.linspace(0, 1, 101)))
    gaps = np.abs(probabilities - best)
    assert gaps.min() > 0.02 or best in (0.0, 0.5)  # an answer that is rounded decides alike


def test_the_report_of_quantities():
    targets = np.array([[1.0, 5], [2, 5], [3, 5]])
    answers = np.array([[1.0, 5], [2, 5], [5, 6]])
    report = regression_report(answers, targets, ["age", "size"])
    assert report["per_target"]["age"] == {
        "mean_absolute_error": pytest.approx(2 / 3),
        "root_mean_squared_error": pytest.approx(np.sqrt(4 / 3)),
        "r2": pytest.approx(-1.0),
    }
    assert report["per_target"]["size"]["r2"] is None
    assert report["r2"] == pytest.approx(-1.0)
    exact = regression_report(answers, targets, ["age", "size"], [1, 1, 0])
    assert exact["r2"] == 1
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("single-label", [[1, 1, 0]], "not one-hot.*task='multi-label' \\(sigmoid\\)"),
        ("multi-label", [0, 1], r"shape \(2,\).*needs \(images, 3\), 1 for"),
        ("multi-label", [[0, 2, 0]], "other than 0 and 1"),
        ("multi-label", [[0, np.nan, 0]], "other than 0 and 1"),
        ("multi-label", [["a", "b", "c"]], "needs"),
        ("regression", [1.0, 2.0], r"numbers, 3 for each image"),
        ("regression", [[1, np.inf, 2]], "1 targets are not finite"),
    ],
)
def test_labels_that_are_no_targets(data, task, labels, message):
    labels = np.array(labels)
    with pytest.raises(ValueError, match=message):
        TASKS[task].check_targets(labels, 3)
    pixels = data[0][: len(labels)]
    with pytest.raises(ValueError, match=message):
        train_head(model_of(task), (pixels, labels), verbose=0)


def test_a_loss_of_several_classes_by_hand():
    labels, answers = np.array([[1.0, 0.0]], "float32"), np.array([[0.8, 0.4]], "float32")
    found = MULTI.loss(2)(labels, keras.ops.convert_to_tensor(answers))
    assert float(found[0]) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2, rel=1e-5)
    found = MULTI.loss(2, weights=[3.0, 5.0])(labels, keras.ops.convert_to_tensor(answers))
    assert float(found[0]) == pytest.approx(-(3 * np.log(0.8) + np.log(0.6)) / 2, rel=1e-5)
    found = MULTI.loss(2, smoothing=0.2)(labels, keras.ops.convert_to_tensor(answers))
    smooth = [0.9 * np.log(0.8) + 0.1 * np.log(0.2), 0.1 * np.log(0.4) + 0.9 * np.log(0.6)]
    assert float(found[0]) == pytest.approx(-np.mean(smooth), rel=1e-5)


MULTI = TASKS["multi-label"]


# Models.


@pytest.mark.parametrize("task", TASKS)
def test_a_model_tells_its_task(shallow, tmp_path, task):
    model = transfer_model(4, task=task, weights=None, input_shape=ordered(75, 75, 3))
    assert task_of(model).name == task
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert task_of(loaded).name == task
    outer = keras.Sequential([keras.Input(ordered(75, 75, 3)), loaded])
    assert task_of(outer).name == task
    twin = keras.Model(loaded.inputs, loaded.output)
    assert task_of(twin).name == task


def test_what_inception_s_own_activation_says(shallow):
    shape = ordered(75, 75, 3)
    for activation, task in (
        ("sigmoid", "multi-label"), (None, "single-label"), ("softmax", "single-label"),
    ):  # fmt: skip
        model = InceptionV4(
            weights=None, classes=3, input_shape=shape, classifier_activation=activation
        )
        assert task_of(model).name == task


def test_tasks_that_are_refused():
    with pytest.raises(ValueError, match=r"task='ordinal'. Allowed are single-label, multi-label"):
        transfer_model(3, task="ordinal", weights=None)
    message = r"'softmax' with task='multi-label'. It must be None or 'sigmoid'"
    with pytest.raises(ValueError, match=message):
        transfer_model(3, task="multi-label", classifier_activation="softmax", weights=None)
    with pytest.raises(ValueError, match="Allowed are"):
        task_named("multilabel")
    with pytest.raises(ValueError, match=r"classes=1 with task='multi-label'. It must be at least"):
        transfer_model(1, task="multi-label", weights=None)


@pytest.mark.parametrize("task", OTHERS)
def test_an_auxiliary_head_and_its_way_back(shallow, task):
    model = transfer_model(4, task=task, weights=None, input_shape=ordered(107, 107, 3))
    both = with_auxiliary_head(model, 4)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:]))
    assert set(both.predict_on_batch(pixels)) == {"predictions", "auxiliary"}
    assert task_of(classifier_of(both)).name == task


# Training.


@pytest.mark.parametrize("task", OTHERS)
def test_the_head_learns_and_is_measured(data, task):
    pixels, targets = data[0], data[1][task]
    model = model_of(task)
    before = evaluate(model, (pixels, targets), verbose=0)
    history = train_head(
        model, (pixels, targets), (pixels, targets), epochs=60, batch_size=10, learning_rate=3e-3,
        verbose=0,
    ).history  # fmt: skip
    after = evaluate(model, (pixels, targets), verbose=0)
    assert set(history) == {"loss", "val_loss", task_named(task).metric,
                            f"val_{task_named(task).metric}"}  # fmt: skip
    assert history["val_loss"][-1] < history["val_loss"][0] / 2
    if task == "regression":
        assert before["r2"] < 0
        assert after["r2"] > 0.8
        answers = model.predict_on_batch(
            pixels
            if keras.config.image_data_format() == "channels_last"
            else np.moveaxis(pixels, 3, 1)
        )
        assert 1000 < np.min(answers) < np.max(answers) < 1030
    else:
        assert after["mean_average_precision"] > max(0.95, before["mean_average_precision"])


@pytest.mark.backends
@pytest.mark.parametrize("task", OTHERS)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_fine_tuning(data, task, precision):
    pixels, targets = data[0], data[1][task]
    model = model_of(task)
    train_head(model, (pixels, targets), epochs=10, batch_size=10, verbose=0)
    unfreeze(model, "mixed_7d")
    before = evaluate(model, (pixels, targets), verbose=0)
    history = fine_tune(
        model, (pixels, targets), (pixels, targets), epochs=8, batch_size=10, learning_rate=2e-5,
        precision=precision, verbose=0,
    ).history  # fmt: skip
    after = evaluate(model, (pixels, targets), verbose=0)
    assert min(history["val_loss"]) < history["val_loss"][0]
    assert task_of(model).name == task
    key = "r2" if task == "regression" else "mean_average_precision"
    assert after[key] >= before[key] - 0.01


@pytest.mark.backends
def test_quantities_in_large_units_by_another_loss(data):
    """Ten thousand times as large, they are learnt as quickly."""
    pixels, targets = data[0], 1e4 * data[1]["regression"][:, :1]
    model = model_of("regression", outputs=1, dropout_rate=0.0, channels=1536)
    train_head(
        model, (pixels, targets), epochs=50, batch_size=60, learning_rate=1e-3,
        loss="mean_squared_error", verbose=0,
    )  # fmt: skip
    assert evaluate(model, (pixels, targets), verbose=0)["r2"] > 0.8


@pytest.mark.backends
def test_targets_that_are_all_alike(data):
    model = model_of("regression", outputs=1)
    train_head(model, (data[0], np.full(60, 7.0)), epochs=3, batch_size=10, verbose=0)
    report = evaluate(model, (data[0], np.full(60, 7.0)), verbose=0)
    assert report["r2"] is None
    assert report["per_target"]["0"]["mean_absolute_error"] < 0.5


class Stops(keras.callbacks.Callback):
    """Ends a phase in one of its epochs."""

    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.last:
            raise RuntimeError("stopped")


def phases_of(model, given, folder, *, stops=(), **options):
    train_head(
        model, given, given, epochs=4, batch_size=10, folder=folder,
        callbacks=[Stops(1)] if "head" in stops else (), verbose=0, **options,
    )  # fmt: skip
    unfreeze(model, "mixed_7d")
    fine_tune(
        model, given, given, epochs=4, batch_size=10, folder=folder, learning_rate=1e-3,
        callbacks=[Stops(2)] if "tuning" in stops else (), verbose=0, **options,
    )  # fmt: skip
    return model.get_weights()


@pytest.mark.backends
@pytest.mark.parametrize("task", OTHERS)
def test_stopped_and_resumed_it_ends_on_undisturbed_numbers(data, tmp_path, task):
    given = data[0], data[1][task]
    undisturbed = phases_of(model_of(task), given, tmp_path / "one")
    folder = tmp_path / "other"
    for stops in (["head"], ["tuning"]):
        model = model_of(task)
        start = model.get_weights()
        with pytest.raises(RuntimeError, match="stopped"):
            phases_of(model, given, folder, stops=stops)
        if task == "regression" and stops == ["tuning"]:
            bias = model.get_layer("predictions").get_weights()[1]
            assert np.all(np.abs(bias - 1007) < 20)  # in the targets' units, although it broke off
        model.set_weights(start)
    found = phases_of(model_of(task), given, folder)
    for one, other in zip(undisturbed, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.backends
def test_positive_labels_are_weighed(data):
    """A class that is weighed much is answered more often, others as before."""
    pixels, labels = data[0], data[1]["multi-label"]
    answers = []
    for weights in (None, [50.0, 1.0, 1.0], {0: 50.0}, "balanced"):
        model = model_of("multi-label", dropout_rate=0.0, channels=1536)
        train_head(
            model, (pixels, labels), epochs=5, batch_size=10, class_weight=weights, verbose=0
        )
        report = evaluate(model, (pixels, labels), class_names=list("abc"), verbose=0)
        answers.append(report["per_class"])
    plain, weighed, as_dict, balanced = answers
    assert weighed["a"]["recall"] == 1
    assert weighed == as_dict
    assert weighed["b"] == pytest.approx(plain["b"], abs=0.2)
    assert balanced["a"] != weighed["a"]
    always = np.array([[1, 1, 0], [1, 0, 1]] * 30)  # the first class is in every image
    found = class_weights("balanced", as_batches((pixels, always), model_of("multi-label"), 10), 3)
    assert found == {0: 1.0, 1: 1.0, 2: 1.0}
    with pytest.raises(ValueError, match="class_weight='balanced' for regression, which has no"):
        train_head(
            model_of("regression"), (pixels, data[1]["regression"]), class_weight="balanced",
            verbose=0,
        )  # fmt: skip


def test_evaluate_checks_first(data):
    given = data[0], data[1]["multi-label"]
    for thresholds, message in (
        ([0.5], r"thresholds of shape \(1,\) for 3 classes"), ("best", "They must be numbers"),
        (2, "threshold=2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            evaluate(model_of("multi-label"), given, thresholds=thresholds, verbose=0)
    with pytest.raises(ValueError, match="thresholds for a model of single-label"):
        evaluate(tiny(size=30), (data[0], np.arange(60) % 3), thresholds=0.5, verbose=0)


def test_smoothing_is_of_labels(data):
    model = model_of("regression")
    with pytest.raises(
        ValueError, match=r"label_smoothing=0.1 for regression, which has no labels"
    ):
        fine_tune(model, (data[0], data[1]["regression"]), label_smoothing=0.1, verbose=0)


class TaskNetwork(Network):
    """`Network` with the head of any task."""

    @classmethod
    def scratch_model(cls, classes, image_size, *, task="single-label", **arguments):
        base = tiny(classes=classes, size=image_size, activation=TASKS[task].activation)
        return with_task(base, task)

    @staticmethod
    def with_auxiliary_head(model, classes):
        features = model.get_layer("avg_pool").output
        activation = model.get_layer("predictions").activation
        auxiliary = keras.layers.Dense(classes, activation, name="auxiliary")(features)
        return keras.Model(model.inputs, {"predictions": model.output, "auxiliary": auxiliary})


@pytest.mark.backends
@pytest.mark.parametrize("task", OTHERS)
@pytest.mark.parametrize("recipe", ["adam", "paper-small"])
def test_from_scratch(data, tmp_path, task, recipe):
    """With both heads, stopped in an epoch and resumed."""
    pixels, targets = data[0], TASKS[task].check_targets(data[1][task], 3)
    labelled = LabelledData(
        Images(pixels, targets), Images(pixels, targets), list("abc"), 1.0, [], task=task
    )

    def run(folder, callbacks=(), every=None):
        keras.utils.set_random_seed(0)
        model = TaskNetwork.scratch_model(3, 30, task=task)
        history = train_from_scratch(
            model, labelled, recipe=RECIPES[recipe], epochs=4, batch_size=10, seed=0,
            precision="float32", augment="none", checkpoint=folder / "state.safetensors",
            checkpoint_every=every, callbacks=callbacks, verbose=0,
            build=TaskNetwork.scratch_model, add_head=TaskNetwork.with_auxiliary_head,
        )  # fmt: skip
        return history, evaluate(model, (pixels, targets), verbose=0)

    class Breaks(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1
            if self.seen == 9:
                raise RuntimeError("stopped")

    history, report = run(tmp_path / "one")
    assert task_named(task).metric in history
    with pytest.raises(RuntimeError, match="stopped"):
        run(tmp_path / "two", [Breaks()], every=2)
    resumed, again = run(tmp_path / "two", every=2)
    assert history["loss"] == pytest.approx(resumed["loss"], rel=1e-5)
    key = "r2" if task == "regression" else "mean_average_precision"
    assert report[key] == pytest.approx(again[key], rel=1e-4)
    if task == "regression":
        error = report["per_target"]["0"]["mean_absolute_error"]
        assert error < 30  # in the targets' units: without them it would be 1,000


# Maps.


@pytest.mark.backends
@pytest.mark.parametrize("task", OTHERS)
def test_a_map_of_any_output(shallow, shallow_file, task):
    model = transfer_model(
        3, task=task, weights=shallow_file, input_shape=ordered(107, 107, 3), augment=False
    )
    dense = model.get_layer("predictions")
    rng = np.random.default_rng(0)
    dense.set_weights([rng.normal(size=w.shape) for w in dense.get_weights()])
    pixels = rng.uniform(0, 255, (2, 107, 107, 3)).astype("float32")
    fed = np.moveaxis(pixels, 3, 1) if model.input_shape[1] == 3 else pixels
    answers = model.predict_on_batch(fed)
    for index in range(3):
        maps = class_activation_map(model, pixels, index)
        logits = maps.mean(axis=(1, 2)) + dense.get_weights()[1][index]
        expected = answers[:, index]
        if task == "multi-label":
            logits = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
