"""Ways to build and scale a classifier in Keras: all functions feed it as its own `fit` did."""

import json

import keras
import numpy as np
import pytest
from conftest import ordered
from PIL import Image
from tiny import tiny

from keras_inception_v4 import (
    class_activation_map,
    embed,
    evaluate,
    load_image,
    preprocess_input,
)
from keras_inception_v4.cli import main
from keras_inception_v4.inference.classification import predict_files
from keras_inception_v4.inspection import model_input, takes_raw_pixels

SIZE = (75, 75)


def network(**arguments):
    """From -1 to 1, with answers that differ widely from image to image."""
    model = tiny(raw=False, **arguments)
    dense = model.get_layer("predictions")
    dense.kernel.assign(3 * np.random.default_rng(0).normal(size=dense.kernel.shape))
    return model


def flat(*front, end=None, **arguments):
    """Layers in front of the network's own, in one graph."""
    model = network(**arguments)
    copies = [type(layer).from_config(layer.get_config()) for layer in model.layers[1:]]
    x = inputs = keras.Input(ordered(*SIZE, 3))
    for layer in (*front, *copies):
        x = layer(x)
    for copy, layer in zip(copies, model.layers[1:], strict=True):
        copy.set_weights(layer.get_weights())
    return keras.Model(inputs, x if end is None else end(x))


def ours():
    return flat(keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing"))


def by_preprocess_input():
    return flat(preprocess_input)


def own_rescaling():
    return flat(keras.layers.Rescaling(1 / 127.5, -1, name="mine"))


def arithmetic():
    return flat(lambda x: x / 127.5 - 1)


def normalization():
    return flat(keras.layers.Normalization(mean=127.5, variance=127.5**2, axis=None))


def two_steps():
    return flat(keras.layers.Rescaling(1 / 255), keras.layers.Rescaling(2, offset=-1))


def behind_augmentation():
    return flat(keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 127.5, offset=-1))


def a_lambda():
    return flat(keras.layers.Lambda(lambda x: x / 127.5 - 1, output_shape=lambda shape: shape))


def in_a_nested_model():
    inputs = keras.Input(ordered(*SIZE, 3))
    scaling = keras.Sequential(
        [keras.Input(ordered(*SIZE, 3)), keras.layers.Rescaling(1 / 127.5, -1)]
    )
    return keras.Model(inputs, network()(scaling(inputs)))


def all_in_a_sequential():
    return keras.Sequential(
        [keras.Input(ordered(*SIZE, 3)), keras.layers.Rescaling(1 / 127.5, offset=-1), network()]
    )


def none():
    return flat()


def none_in_a_nested_model():
    inputs = keras.Input(ordered(*SIZE, 3))
    return keras.Model(inputs, network()(inputs))


def softmax_layer():
    return flat(
        keras.layers.Rescaling(1 / 127.5, offset=-1), end=keras.layers.Softmax(), activation=None
    )


def logits():
    return flat(keras.layers.Rescaling(1 / 127.5, offset=-1), activation=None)


RAW = [ours, by_preprocess_input, own_rescaling, arithmetic, normalization, two_steps,
       behind_augmentation, a_lambda, in_a_nested_model, all_in_a_sequential, softmax_layer,
       logits]  # fmt: skip
SCALED = [none, none_in_a_nested_model]
NESTED = {"in_a_nested_model", "all_in_a_sequential", "none_in_a_nested_model"}
ways = pytest.mark.parametrize("build", [*RAW, *SCALED], ids=lambda build: build.__name__)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Smooth images, each with a colour of its own, in two folders."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(6):
        path = folder / "012"[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        colours = rng.uniform(0, 255, (3, 4, 3)).astype("uint8")
        Image.fromarray(colours).resize((90, 80), Image.Resampling.BICUBIC).save(path)
    return folder


def paths_of(photos):
    return sorted(photos.rglob("*.png"))


def answers(model, raw, pixels):
    """What Keras itself says: probabilities."""
    x = pixels if raw else pixels / 127.5 - 1
    if keras.config.image_data_format() == "channels_first":
        x = np.moveaxis(x, 3, 1)
    found = np.asarray(model.predict(x, verbose=0))
    if abs(found.sum(axis=1) - 1).max() > 1e-3:
        found = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    return found


@ways
def test_every_way_is_recognised(build):
    assert takes_raw_pixels(build()) == (build in RAW)


@ways
def test_files_and_arrays_are_answered_as_keras_answers(build, photos, tmp_path):
    model, raw, paths = build(), build in RAW, paths_of(photos)
    pixels = np.stack([load_image(path, SIZE) for path in paths])
    expected = answers(model, raw, pixels)
    assert np.ptp(expected, axis=0).max() > 0.1
    labels = expected.argmax(axis=1)
    found = evaluate(model, (pixels, labels), batch_size=4, verbose=False)
    assert found["accuracy"] == 1
    if build is a_lambda:  # Keras does not load a Lambda from a file
        return
    model.save(tmp_path / "model.keras")
    found = predict_files(tmp_path / "model.keras", paths, top=3, verbose=False)
    for prediction, row in zip(found, expected, strict=True):
        top = dict(prediction.top)
        np.testing.assert_allclose([top[name] for name in "012"], row, atol=1e-5)


@ways
def test_embeddings_and_maps_are_of_the_same_pixels_or_refused(build, photos):
    model, raw = build(), build in RAW
    pixels = np.stack([load_image(path, SIZE) for path in paths_of(photos)])
    if build.__name__ in NESTED:
        with pytest.raises(ValueError, match="has no layer 'mixed_7d'"):
            embed(model, pixels, verbose=False)
        with pytest.raises(ValueError, match=r"head of .* is not a global average pool"):
            class_activation_map(model, pixels)
        return
    found = embed(model, pixels, verbose=False)
    part = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    x = model_input(model, pixels)
    np.testing.assert_allclose(found, part.predict(x, verbose=0), atol=1e-5)
    plain = network()
    expected = class_activation_map(plain, pixels, 1)
    np.testing.assert_allclose(class_activation_map(model, pixels, 1), expected, atol=1e-3)
    assert takes_raw_pixels(model) == raw


AT_ONCE = {("saved_model", build) for build in (*RAW, *SCALED)} | {
    ("onnx", build) for build in (arithmetic, normalization, all_in_a_sequential, none)
}
SUFFIXES = {"saved_model": "saved", "onnx": "x.onnx", "litert": "x.tflite", "openvino": "x"}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports go through TensorFlow")
@pytest.mark.parametrize(
    ("build", "format"),
    [
        pytest.param(
            build, format, marks=[] if (format, build) in AT_ONCE else pytest.mark.slow,
            id=f"{build.__name__}-{format}",
        )
        for format in SUFFIXES
        for build in (*RAW, *SCALED)
    ],
)  # fmt: skip
def test_artefacts_answer_as_keras_answers_or_are_refused(build, format, photos, tmp_path):
    from keras_inception_v4 import export_model, open_artefact

    model, raw = build(), build in RAW
    path = tmp_path / SUFFIXES[format]
    if build is logits:
        with pytest.raises(ValueError, match="outputs logits"):
            export_model(model, path, format=format, verbose=False)
        return
    export_model(model, path, format=format, verbose=False)
    precision = "float32" if format == "openvino" else None
    artefact = open_artefact(path, precision=precision)
    assert artefact.description.raw_pixels == raw
    pixels = np.stack([load_image(path, SIZE) for path in paths_of(photos)])
    np.testing.assert_allclose(artefact.predict(pixels), answers(model, raw, pixels), atol=1e-5)


def begins_with_batch_norm():
    return flat(keras.layers.BatchNormalization())


def subclassed():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.inner = network()

        def call(self, x):
            return self.inner(x / 127.5 - 1)

    return Own()


def holds_a_subclassed_one():
    inputs = keras.Input(ordered(*SIZE, 3))
    return keras.Model(inputs, subclassed()(inputs))


def without_kernels():
    inputs = keras.Input(ordered(*SIZE, 3))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="empty")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (begins_with_batch_norm, "It begins with the batch norm 'batch_normalization"),
        (subclassed, "'own' takes .* It is neither functional nor sequential"),
        (holds_a_subclassed_one, "The model 'own' is neither functional nor sequential"),
        (without_kernels, "'empty' takes .* It has no layer with a kernel"),
    ],
)
def test_what_cannot_be_told_is_refused(build, message):
    with pytest.raises(ValueError, match=f"Cannot detect.*{message}.*pixels='raw'"):
        takes_raw_pixels(build())


def scaled_by_its_batch_norm():
    """Trained on raw pixels: its first batch norm knows their mean and variance."""
    model = begins_with_batch_norm()
    norm = next(x for x in model.layers if isinstance(x, keras.layers.BatchNormalization))
    norm.set_weights([np.full(3, v, "float32") for v in (1, 0, 127.5, 127.5**2)])
    return model


def own_class_in_a_graph():
    inputs = keras.Input(ordered(*SIZE, 3))
    return keras.Model(inputs, subclassed()(inputs))


@pytest.mark.parametrize(
    ("build", "pixels"),
    [
        (scaled_by_its_batch_norm, "raw"),
        (begins_with_batch_norm, "scaled"),
        (own_class_in_a_graph, "raw"),
        (ours, "raw"),
        (none, "scaled"),
    ],
)
def test_the_caller_s_word_decides(build, pixels, photos, tmp_path):
    model = build()
    images = np.stack([load_image(path, SIZE) for path in paths_of(photos)])
    expected = answers(model, pixels == "raw", images)
    labels = expected.argmax(axis=1)
    found = evaluate(model, (images, labels), pixels=pixels, verbose=False)
    assert found["accuracy"] == 1
    assert takes_raw_pixels(model) == (pixels == "raw")  # said once
    if build is own_class_in_a_graph:  # Keras does not load it without its code
        return
    file = tmp_path / "model.keras"
    build().save(file)
    predictions = predict_files(file, paths_of(photos), top=3, pixels=pixels, verbose=False)
    for prediction, row in zip(predictions, expected, strict=True):
        top = dict(prediction.top)
        np.testing.assert_allclose([top[name] for name in "012"], row, atol=1e-5)
    part = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    x = model_input(model, images)
    np.testing.assert_allclose(
        embed(build(), images, pixels=pixels, verbose=False), part.predict(x, verbose=0), atol=1e-5
    )
    if keras.backend.backend() == "tensorflow":
        from keras_inception_v4 import export_model, open_artefact

        export_model(build(), tmp_path / "s", format="saved_model", pixels=pixels, verbose=False)
        artefact = open_artefact(tmp_path / "s")
        np.testing.assert_allclose(artefact.predict(images), expected, atol=1e-5)


def test_the_command_line_asks_and_takes_the_word(photos, tmp_path, capsys):
    model, image = str(tmp_path / "model.keras"), str(paths_of(photos)[0])
    scaled_by_its_batch_norm().save(model)
    report = str(tmp_path / "report.json")
    commands = {
        "predict": [image, "--model", model],
        "evaluate": [model, str(photos), "--report", report],
        "embed": [str(photos), "--model", model, "--output", str(tmp_path / "x.npz")],
        "explain": [image, "--model", model, "--output", str(tmp_path / "map.png")],
    }
    if keras.backend.backend() == "tensorflow":
        commands["export"] = [model, str(tmp_path / "saved"), "--format", "saved_model"]
    for name, arguments in commands.items():
        assert main([name, *arguments]) == 1
        assert "pixels='raw' or pixels='scaled' (--pixels)" in capsys.readouterr().err
        assert main([name, *arguments, "--pixels", "raw"]) == 0, capsys.readouterr().err
    if keras.backend.backend() == "tensorflow":
        assert main(["predict", image, "--model", str(tmp_path / "saved"), "--pixels", "raw"]) == 1
        assert "Leave it out: an artefact records it" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"pixels='rwa'.*'raw'"):
        embed(ours(), np.zeros((1, 75, 75, 3)), pixels="rwa")


# Heads.


def headed(units, activation, *more):
    model = tiny()
    x = keras.layers.Dense(units, activation, name="predictions")(
        model.get_layer("avg_pool").output
    )
    for layer in more:
        x = layer(x)
    return keras.Model(model.inputs, x, name="headed")


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "softmax", "tanh"])
def test_one_output_names_no_class(tmp_path, photos, capsys, activation):
    model = headed(1, activation)
    pixels = np.zeros((2, 75, 75, 3), "float32")
    message = "'headed' has a single output, so it cannot tell classes apart"
    with pytest.raises(ValueError, match=message):
        evaluate(model, (pixels, np.array([0, 0])), verbose=False)
    model.save(tmp_path / "model.keras")
    for command in (
        ["predict", "--model", "model.keras", "photos"],
        ["evaluate", "model.keras", "photos"],
        ["export", "model.keras", "x.onnx", "--format", "onnx"],
        ["explain", "--model", "model.keras", "photo", "--output", "map.png"],
    ):
        places = {"model.keras": tmp_path / "model.keras", "photos": photos,
                  "photo": paths_of(photos)[0], "x.onnx": tmp_path / "x.onnx",
                  "map.png": tmp_path / "map.png"}  # fmt: skip
        if command[0] == "export" and keras.backend.backend() != "tensorflow":
            continue
        assert main([str(places.get(word, word)) for word in command]) == 1
        assert "has a single output, so it cannot tell classes apart" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["softmax", "activation", "logits"])
def test_a_layer_of_its_own_may_give_the_activation(answer):
    end = {"softmax": [keras.layers.Softmax()], "logits": [],
           "activation": [keras.layers.Activation("softmax")]}[answer]  # fmt: skip
    split, whole = headed(3, None, *end), headed(3, "softmax")
    whole.set_weights(split.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 75, 75, 3)).astype("float32")
    labels = np.array([0, 1, 2, 0])
    reports = [evaluate(model, (pixels, labels), verbose=False) for model in (split, whole)]
    assert json.dumps(reports[0]["confusion_matrix"]) == json.dumps(reports[1]["confusion_matrix"])
    assert reports[0]["calibration_error"] == pytest.approx(
        reports[1]["calibration_error"], abs=1e-5
    )
    np.testing.assert_allclose(
        class_activation_map(split, pixels, 1), class_activation_map(whole, pixels, 1), atol=1e-4
    )


def test_a_quantized_head_is_refused_where_its_weights_are_used():
    from keras_inception_v4 import train_head

    model = tiny()
    model.quantize("int8")
    pixels = np.zeros((2, 75, 75, 3), "float32")
    for work in (
        lambda: class_activation_map(model, pixels),
        lambda: train_head(model, (pixels, np.array([0, 1]))),
    ):
        with pytest.raises(ValueError, match=r"is quantized to int8.*before quantize"):
            work()


def test_an_adapted_head_has_its_own_map():
    model = tiny()
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 75, 75, 3)).astype("float32")
    before = class_activation_map(model, pixels, 1)
    dense = model.get_layer("predictions")
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.ones(dense.lora_kernel_b.shape))
    after = class_activation_map(model, pixels, 1)
    assert np.abs(after - before).max() > 1e-3
    logits = keras.Model(model.inputs, dense.output)
    dense.activation = keras.activations.linear
    x = np.moveaxis(pixels, 3, 1) if model.input_shape[1] == 3 else pixels
    expected = keras.ops.convert_to_numpy(logits(x, training=False))[:, 1]
    bias = keras.ops.convert_to_numpy(dense.bias)[1]
    np.testing.assert_allclose(after.mean(axis=(1, 2)) + bias, expected, rtol=1e-3, atol=1e-3)
