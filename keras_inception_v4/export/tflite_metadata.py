"""TensorFlow Lite Metadata, which tells phone libraries the pixel range and class names of a file.

The tables, the order of their fields and the numbers of their kinds follow `metadata_schema.fbs` in
MediaPipe (1.5.0, https://github.com/google-ai-edge/mediapipe). MediaPipe's own writer cannot be
imported from its wheels since 0.10.30, because they lack one of its modules.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import flatbuffers
import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, SINGLE_LABEL
from keras_inception_v4.artefacts import Description

LABELS = "labels.txt"
NAME, IDENTIFIER = "TFLITE_METADATA", b"M001"
PARSER = "1.0.0"  # the oldest version that supports all fields written here
HALF = 127.5  # half of the pixel range
COLOURS = {3: np.int8(1), 1: np.int8(2)}  # RGB, greyscale; the schema has no others
TENSOR_AXIS_LABELS = np.int8(2)


class Features(NamedTuple):
    """`FeatureProperties`."""


class Image(NamedTuple):
    """`ImageProperties`."""

    color_space: np.int8


class Content(NamedTuple):
    """`Content`: the kind of properties and the properties."""

    kind: np.uint8
    properties: Features | Image


class Normalization(NamedTuple):
    """`NormalizationOptions`: pixels minus `mean`, divided by `std`."""

    mean: list[float]
    std: list[float]


class Threshold(NamedTuple):
    """`ScoreThresholdingOptions`."""

    least: np.float32


class Unit(NamedTuple):
    """`ProcessUnit`: the kind of options and the options."""

    kind: np.uint8
    options: Normalization | Threshold


class File(NamedTuple):
    """`AssociatedFile`."""

    name: str
    description: str
    kind: np.int8


class Tensor(NamedTuple):
    """`TensorMetadata`."""

    name: str
    description: str
    dimensions: None
    content: Content
    units: list[Unit]
    stats: None
    files: list[File]


class Graph(NamedTuple):
    """`SubGraphMetadata`."""

    name: None
    description: None
    inputs: list[Tensor]
    outputs: list[Tensor]


class Model(NamedTuple):
    """`ModelMetadata`."""

    name: str
    description: str
    version: None
    graphs: list[Graph]
    author: None
    license: None
    files: None
    parser: str


def _write(builder: flatbuffers.Builder, value) -> int:
    """Write a table with everything it holds and return its offset in the buffer."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list) and isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, "float32"))
    if isinstance(value, list):
        places = [_write(builder, item) for item in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    # Everything that a table refers to is written before it. Empty lists are omitted, as is `None`.
    fields = [
        item
        if item is None or isinstance(item, np.generic) or item == []
        else _write(builder, item)
        for item in value
    ]
    builder.StartObject(len(fields))
    for slot, field in enumerate(fields):
        if isinstance(field, np.generic):
            add = getattr(builder, f"Prepend{field.dtype.name.capitalize()}Slot")
            add(slot, field.item(), 0)
        elif field:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return builder.EndObject()


def _input(description: Description, channels: int) -> Tensor:
    height, width = description.size
    offset, scale = (0.0, 1.0) if description.raw_pixels else (HALF, HALF)
    return Tensor(
        "image",
        f"{height} x {width} pixels; the middle square of a picture, {description.crop:g} of its "
        "shorter side, resized.",
        None,
        Content(np.uint8(2), Image(COLOURS.get(channels, np.int8(0)))),
        [Unit(np.uint8(1), Normalization([offset], [scale]))],
        None,
        [],
    )


def _output(description: Description) -> Tensor:
    """Describe the output: class scores, features of an embedding or quantities of a regression."""
    files, units = [], []
    if description.class_names:
        files = [File(LABELS, "One name a line, in the order of the scores.", TENSOR_AXIS_LABELS)]
    said = {
        SINGLE_LABEL: "Probabilities of the classes; the picture shows one of them.",
        MULTI_LABEL: "Probability that the picture shows the class, for each class.",
    }.get(description.task, f"Outputs ({description.task}).")
    if description.task == MULTI_LABEL and description.thresholds:
        # The schema has room for one threshold. Classes below the lowest are never assigned.
        units = [Unit(np.uint8(3), Threshold(np.float32(min(description.thresholds))))]
        limits = ", ".join(f"{limit:g}" for limit in description.thresholds)
        said += f" Classes are assigned from these thresholds on, in order: {limits}."
    name = "score" if description.task in (SINGLE_LABEL, MULTI_LABEL) else "answers"
    return Tensor(name, said, None, Content(np.uint8(1), Features()), units, None, files)


def metadata(description: Description, channels: int) -> bytes:
    """Return the metadata of an artefact as stored in a LiteRT file.

    Args:
        description: Description of the artefact.
        channels: Number of channels of its images.

    Returns:
        A flatbuffer of MediaPipe's schema.
    """
    content = Model(
        "Inception-v4",
        f"Inception-v4 by keras_inception_v4: {description.task}, {description.precision}.",
        None,
        [Graph(None, None, [_input(description, channels)], [_output(description)])],
        None,
        None,
        None,
        PARSER,
    )
    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, content), IDENTIFIER)
    return bytes(builder.Output())


def write_metadata(path: Path, description: Description) -> None:
    """Add metadata and class names to a LiteRT file that has none.

    Args:
        path: File to replace. Class names are stored in a zip archive behind the network, one per
            line. Line breaks inside a name become spaces.
        description: Description of the artefact.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    network = flatbuffer_utils.read_model(path)
    (graph,) = network.subgraphs
    channels = int(graph.tensors[graph.inputs[0]].shape[-1])
    content, entry = schema.BufferT(), schema.MetadataT()
    content.data = np.frombuffer(metadata(description, channels), "uint8")
    entry.name, entry.buffer = NAME, len(network.buffers)
    network.buffers.append(content)
    network.metadata = [*(network.metadata or []), entry]
    flatbuffer_utils.write_model(network, path)
    if description.class_names:
        with zipfile.ZipFile(path, "a") as archive:
            lines = (" ".join(name.splitlines()) for name in description.class_names)
            archive.writestr(LABELS, "\n".join(lines))
