"""Requests and responses of the server, as plain values.

Three kinds of requests are understood: TensorFlow Serving's REST API, the Open Inference Protocol,
and the bytes of a picture. The outputs are `probabilities`, `classes` and `scores`, or `values`.
An exported SavedModel has the same names in its signature `serve_bytes`, so clients of one work
with the other.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

HEADER_LENGTH = "inference-header-content-length"
"""Header of a request with binary tensors: the number of bytes of JSON before them."""
LENGTH = struct.Struct("<I")
NUMBERS = {"UINT8": "u1", "FP32": "<f4"}
"""Datatypes of the Open Inference Protocol that can hold pixels, with their NumPy types."""
IMAGE = "image"
PIXELS = 3  # number of dimensions of a picture's pixels

Picture = bytes | np.ndarray
"""An encoded picture, or raw pixels `(height, width, 3)`."""
Answers = dict[str, np.ndarray]
"""Values by output name, with one row per picture."""


class RefusedError(Exception):
    """A rejected request, with its HTTP status and the reason."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Asked(NamedTuple):
    """The pictures of a request, and the function that formats the response."""

    pictures: list[Picture]
    say: Callable[[Answers], dict]


def uploaded(body: bytes) -> Asked:
    """Parse a body that is a picture; the response has the best classes, or the quantities."""
    if not body:
        raise RefusedError(400, "The body is empty. Send a picture: curl --data-binary @FILE")

    def say(answers: Answers) -> dict:
        if "values" in answers:
            names, values = answers["names"], answers["values"][0]
            return {"targets": dict(zip(names.tolist(), values.tolist(), strict=True))}
        pairs = zip(answers["classes"][0].tolist(), answers["scores"][0].tolist(), strict=True)
        return {"top": [{"class": name, "probability": p} for name, p in pairs if name]}

    return Asked([body], say)


def tensorflow_serving(body: bytes) -> Asked:
    """Parse a TensorFlow Serving predict request, by rows (`instances`) or columns (`inputs`).

    A picture is `{"b64": ...}`, alone or under a name, or raw pixels as nested lists.
    """
    content = _json(body)
    by_rows = "instances" in content
    if by_rows == ("inputs" in content):
        raise RefusedError(400, 'The body must have either "instances" or "inputs".')
    given = content["instances" if by_rows else "inputs"]
    if not by_rows and isinstance(given, dict) and set(given) != {"b64"}:
        given = _only(given)
    if not isinstance(given, list) or not given:
        raise RefusedError(400, "Send a list with at least one picture.")
    pictures = [_tensorflow_picture(instance) for instance in given]

    def say(answers: Answers) -> dict:
        said = {name: values.tolist() for name, values in answers.items() if name != "names"}
        if not by_rows:
            return {"outputs": said if len(said) > 1 else next(iter(said.values()))}
        if len(said) == 1:
            return {"predictions": next(iter(said.values()))}
        rows = zip(*said.values(), strict=True)
        return {"predictions": [dict(zip(said, row, strict=True)) for row in rows]}

    return Asked(pictures, say)


def _tensorflow_picture(instance) -> Picture:
    while isinstance(instance, dict) and set(instance) != {"b64"}:
        instance = _only(instance)
    return _base64(instance["b64"]) if isinstance(instance, dict) else _pixels(instance)


def understood(parse: Callable[[bytes], Asked], body: bytes) -> Asked:
    """Parse a request body; reject it also if the parser raises an unexpected error."""
    try:
        return parse(body)
    except (TypeError, AttributeError, ValueError, OverflowError, KeyError) as error:
        raise RefusedError(400, f"The request cannot be understood: {error}") from error


def open_inference(
    body: bytes, headers: Mapping[str, str], model: str, outputs: Collection[str]
) -> Asked:
    """Parse an inference request of the Open Inference Protocol, version 2.

    Binary tensors are allowed.

    Args:
        body: Body of the request.
        headers: Headers of the request, by lower-case name.
        model: Name of the model.
        outputs: Names of the model's outputs.
    """
    length = headers.get(HEADER_LENGTH, str(len(body)))
    if not length.isdigit() or int(length) > len(body):
        raise RefusedError(400, f"{HEADER_LENGTH} is {length}, but the body has {len(body)} bytes.")
    content, rest = _json(body[: int(length)]), body[int(length) :]
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RefusedError(400, 'The body must have "inputs", a list of one tensor.')
    pictures = _tensor(inputs[0], rest)
    asked = content.get("outputs", [])
    if not isinstance(asked, list) or not all(isinstance(output, dict) for output in asked):
        raise RefusedError(400, '"outputs" must be a list of tensors.')
    wanted = [output.get("name") for output in asked]
    unknown = [name for name in wanted if name not in list(outputs)]
    if unknown:
        raise RefusedError(
            400, f"There is no output {unknown[0]!r}. The outputs are {', '.join(outputs)}."
        )

    def say(answers: Answers) -> dict:
        said = {name: values for name, values in answers.items() if name != "names"}
        outputs = [
            {
                "name": name,
                "datatype": "BYTES" if said[name].dtype.kind == "U" else "FP32",
                "shape": list(said[name].shape),
                "data": said[name].ravel().tolist(),
            }
            for name in wanted or said
        ]
        known = {"id": content["id"]} if "id" in content else {}
        return {"model_name": model, "model_version": "1", **known, "outputs": outputs}

    return Asked(pictures, say)


def _tensor(tensor: dict[str, Any], rest: bytes) -> list[Picture]:
    kind, shape = tensor.get("datatype"), tensor.get("shape")
    sides = isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape)
    if not sides or not shape:
        raise RefusedError(400, f"Received shape {shape!r}. It must hold positive integers.")
    size = (tensor.get("parameters") or {}).get("binary_data_size")
    if size is not None and (type(size) is not int or not 0 <= size <= len(rest)):
        raise RefusedError(
            400, f"binary_data_size is {size!r}, but {len(rest)} bytes follow the JSON."
        )
    if kind == "BYTES":
        found: list = _elements(rest[:size]) if size is not None else _texts(tensor.get("data"))
        if len(found) != math.prod(shape):
            raise RefusedError(400, f"There are {len(found)} pictures, but the shape is {shape}.")
        return found
    if kind not in NUMBERS:
        allowed = ", ".join(("BYTES", *NUMBERS))
        raise RefusedError(400, f"Received datatype {kind!r}. Allowed are {allowed}.")
    try:
        if size is not None:
            values = np.frombuffer(rest[:size], NUMBERS[kind])
        else:
            values = np.asarray(tensor.get("data"), "float32").ravel()
        values = values.reshape(shape)
    except (TypeError, ValueError) as error:
        raise RefusedError(400, f"The data are not {kind} of shape {shape}: {error}") from error
    if values.ndim == PIXELS:
        values = values[None]
    return [_pixels(row) for row in values]


def _texts(data) -> list[bytes]:
    if not isinstance(data, list):
        raise RefusedError(400, 'BYTES need "data", a list of pictures in base64, or binary data.')
    return [_base64(text) for text in data]


def _elements(content: bytes) -> list[bytes]:
    """Split binary data into strings; each is preceded by its length."""
    found, start = [], 0
    while start < len(content):
        if start + LENGTH.size > len(content):
            raise RefusedError(400, "The binary data end inside the length of a string.")
        (length,) = LENGTH.unpack_from(content, start)
        start += LENGTH.size + length
        if start > len(content):
            raise RefusedError(400, "The binary data end inside a string.")
        found.append(content[start - length : start])
    return found


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RefusedError(400, "The body must be a JSON object.")
    return content


def _only(given: dict):
    if len(given) != 1:
        names = ", ".join(given) or "none"
        raise RefusedError(400, f"Received the inputs {names}. There must be exactly one.")
    return next(iter(given.values()))


def _base64(text) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise RefusedError(400, f"A picture is not base64: {error}") from error


def _pixels(values) -> np.ndarray:
    """Return raw pixels of shape `(height, width, 3)`, 0 to 255."""
    try:
        pixels = np.asarray(values, "float32")
    except (TypeError, ValueError) as error:
        raise RefusedError(400, f"A picture is neither base64 nor pixels: {error}") from error
    if pixels.ndim != PIXELS or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise RefusedError(
            400, f"Received pixels of shape {pixels.shape}. They must be (height, width, 3)."
        )
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 255:
        raise RefusedError(400, "Pixels must be from 0 to 255.")
    return pixels


def about(model: str, outputs: Mapping[str, tuple[str, int]], platform: str) -> dict:
    """Return a model's metadata in the Open Inference Protocol.

    Args:
        model: Name of the model.
        outputs: Datatype and number of values per picture, by output name.
        platform: Format or framework that runs the model.
    """
    return {
        "name": model,
        "versions": ["1"],
        "platform": platform,
        "inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": kind, "shape": [-1, count]}
            for name, (kind, count) in outputs.items()
        ],
    }


def signature(model: str, outputs: Mapping[str, tuple[str, int]]) -> dict:
    """Return a model's signature as TensorFlow Serving reports it."""

    def tensor(name: str, kind: str, *sizes: int) -> dict:
        dims = [{"size": str(size), "name": ""} for size in (-1, *sizes)]
        shape = {"dim": dims, "unknown_rank": False}
        return {"dtype": "DT_STRING" if kind == "BYTES" else "DT_FLOAT", "tensor_shape": shape,
                "name": name}  # fmt: skip

    told = {
        "inputs": {"image_bytes": tensor("image_bytes", "BYTES")},
        "outputs": {name: tensor(name, kind, count) for name, (kind, count) in outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model, "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {"serve_bytes": told}}},
    }


def version_status() -> dict:
    """Return the status of an available model as TensorFlow Serving reports it."""
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}],
    }
