"""Metadata that phones' libraries read in a LiteRT file: MediaPipe opens it and uses its names."""

import zipfile

import keras
import numpy as np
import pytest
from tiny import tiny

from keras_inception_v4 import export_model, open_artefact
from keras_inception_v4.export import tflite_metadata

NAMES = ["a cat", "two\nlines", "größer"]
ON_ONE_LINE = ["a cat", "two lines", "größer"]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (75, 75, 3), "uint8")


def export(model, path, **options):
    calibration = np.random.default_rng(1).uniform(0, 255, (20, 75, 75, 3))
    export_model(
        model, path, format="litert", calibration=calibration, verbose=False, **options
    )  # fmt: skip
    return path


def classified(path, *images):
    """MediaPipe's names and scores of each image, the best first."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    answers = []
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for pixels in images:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            (answer,) = classifier.classify(image).classifications
            answers.append([(found.category_name, found.score) for found in answer.categories])
    return answers


def ours(path, pixels):
    (scores,) = open_artefact(path).predict(pixels[None])
    order = np.argsort(-scores, kind="stable")
    return [(ON_ONE_LINE[index], scores[index]) for index in order]


def same(found, expected):
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-6)


@pytest.mark.parametrize(
    ("raw", "precision"), [(True, "float32"), (True, "float16"), (True, "int8"), (False, "float32")]
)
def test_mediapipe_classifies_as_the_artefact(tmp_path, pixels, raw, precision):
    path = export(tiny(raw=raw), tmp_path / "x.tflite", precision=precision, class_names=NAMES)
    (found,) = classified(path, pixels)
    same(found, ours(path, pixels))


def test_of_several_classes_those_below_the_threshold_are_left_out(tmp_path, pixels):
    model = tiny(activation="sigmoid")
    (scores,) = np.asarray(model(pixels[None].astype("float32")))
    low, middle, high = np.sort(scores)
    assert low < middle < high
    path = export(
        model, tmp_path / "x.tflite", class_names=NAMES, thresholds=float((low + middle) / 2)
    )
    (found,) = classified(path, pixels)
    same(found, ours(path, pixels)[:2])


def test_an_auxiliary_classifier_is_none_of_its_answers(tmp_path, pixels):
    plain = tiny()
    auxiliary = keras.layers.Dense(3, "softmax", name="auxiliary")(plain.layers[-3].output)
    both = keras.Model(plain.inputs, {"predictions": plain.output, "auxiliary": auxiliary})
    path = export(both, tmp_path / "x.tflite", class_names=NAMES)
    (found,) = classified(path, pixels)
    (expected,) = np.asarray(plain(pixels[None].astype("float32")))
    np.testing.assert_allclose([s for _, s in found], -np.sort(-expected), atol=1e-5)


def test_without_names_numbers_remain(tmp_path, pixels):
    path = export(tiny(), tmp_path / "x.tflite")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["keras_inception_v4.json"]
    (found,) = classified(path, pixels)
    names, scores = zip(*found, strict=True)
    assert set(names) <= {"", None}
    np.testing.assert_allclose(scores, [score for _, score in ours(path, pixels)], atol=1e-6)


def test_mediapipe_embeds_as_the_artefact(tmp_path, pixels):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    path = export(tiny(), tmp_path / "x.tflite", part="embedding")
    options = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_path=str(path)))
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    with vision.ImageEmbedder.create_from_options(options) as embedder:
        (answer,) = embedder.embed(image).embeddings
    (expected,) = open_artefact(path).predict(pixels[None])
    np.testing.assert_allclose(answer.embedding, expected, atol=1e-6)


@pytest.mark.parametrize(("raw", "mean", "std"), [(True, 0, 1), (False, 127.5, 127.5)])
def test_its_fields_are_those_of_the_schema(tmp_path, raw, mean, std):
    """Read by the classes that MediaPipe generates from it."""
    from ai_edge_litert.tools import flatbuffer_utils
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    path = export(tiny(raw=raw), tmp_path / "x.tflite", class_names=NAMES, crop=0.8)
    network = flatbuffer_utils.read_model(path)
    places = {entry.name.decode(): entry.buffer for entry in network.metadata}
    content = bytes(network.buffers[places[tflite_metadata.NAME]].data)
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    found = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
    assert found.minParserVersion == b"1.0.0"
    (graph,) = found.subgraphMetadata
    (given,), (answered,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert given.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
    assert b"75 x 75 pixels; the middle square of a picture, 0.8" in given.description
    (unit,) = given.processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([mean], [std])
    (labels,) = answered.associatedFiles
    assert labels.type == schema.AssociatedFileType.TENSOR_AXIS_LABELS
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(labels.name.decode()).decode().split("\n")
    assert lines == ON_ONE_LINE
    assert answered.name == b"score"


def test_a_single_channel_is_said(tmp_path):
    description = open_artefact(export(tiny(), tmp_path / "x.tflite")).description
    known = {channels: tflite_metadata.metadata(description, channels) for channels in (1, 3, 4)}
    assert len(set(known.values())) == 3
