"""Requests of clients and their responses, without a server."""

import base64
import json
import struct

import numpy as np
import pytest

from keras_inception_v4.inference.protocols import (
    RefusedError,
    open_inference,
    tensorflow_serving,
    understood,
    uploaded,
)

A, B = b"first picture", b"second \x00 picture"
ANSWERS = {
    "probabilities": np.array([[0.75, 0.25], [0.5, 0.5]], "float32"),
    "classes": np.array([["cat"], ["dog"]]),
    "scores": np.array([[0.75], [0.5]], "float32"),
}
VALUES = {"values": np.array([[1.5, -2.0]], "float32"), "names": np.array(["ink", "sum"])}


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def tensor(**changes):
    data = [b64(A)["b64"], b64(B)["b64"]]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2], "data": data,
                        **changes}]}  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [b64(A), b64(B)]},
        {"instances": [{"image_bytes": b64(A)}, {"image_bytes": b64(B)}]},
        {"signature_name": "serve_bytes", "instances": [{"x": b64(A)}, b64(B)]},
        {"inputs": [b64(A), b64(B)]},
        {"inputs": {"image_bytes": [b64(A), b64(B)]}},
    ],
)
def test_tensorflow_serving_s_ways_to_send_pictures(body):
    pictures, say = tensorflow_serving(json.dumps(body).encode())
    assert pictures == [A, B]
    said = say(ANSWERS)
    if "instances" in body:
        assert said == {
            "predictions": [
                {"probabilities": [0.75, 0.25], "classes": ["cat"], "scores": [0.75]},
                {"probabilities": [0.5, 0.5], "classes": ["dog"], "scores": [0.5]},
            ]
        }
        assert say(VALUES) == {"predictions": [[1.5, -2.0]]}
    else:
        assert said["outputs"]["classes"] == [["cat"], ["dog"]]
        assert say(VALUES) == {"outputs": [[1.5, -2.0]]}


def test_pixels_as_numbers():
    body = json.dumps({"instances": np.full((2, 4, 5, 3), 7).tolist()}).encode()
    pictures = tensorflow_serving(body).pictures
    assert [p.shape for p in pictures] == [(4, 5, 3)] * 2
    pixels = np.arange(60, dtype="uint8").reshape(1, 4, 5, 3)
    for kind, values in (("UINT8", pixels), ("FP32", pixels.astype("<f4"))):
        asked = tensor(datatype=kind, shape=[1, 4, 5, 3], data=values.ravel().tolist())
        (found,) = open_inference(json.dumps(asked).encode(), {}, "m", ANSWERS).pictures
        np.testing.assert_array_equal(found, pixels[0])
        raw = values.tobytes()
        asked = tensor(datatype=kind, shape=[4, 5, 3], parameters={"binary_data_size": len(raw)})
        head = json.dumps(asked).encode()
        headers = {"inference-header-content-length": str(len(head))}
        (found,) = open_inference(head + raw, headers, "m", ANSWERS).pictures
        np.testing.assert_array_equal(found, pixels[0])


def test_the_open_inference_protocol():
    body = json.dumps({"id": "42", **tensor()}).encode()
    pictures, say = open_inference(body, {}, "digits", ANSWERS)
    assert pictures == [A, B]
    assert say(ANSWERS) == {
        "model_name": "digits", "model_version": "1", "id": "42",
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 2],
             "data": [0.75, 0.25, 0.5, 0.5]},
            {"name": "classes", "datatype": "BYTES", "shape": [2, 1], "data": ["cat", "dog"]},
            {"name": "scores", "datatype": "FP32", "shape": [2, 1], "data": [0.75, 0.5]},
        ],
    }  # fmt: skip
    raw = b"".join(struct.pack("<I", len(c)) + c for c in (A, B))
    head = json.dumps({**tensor(parameters={"binary_data_size": len(raw)}),
                       "outputs": [{"name": "classes"}]}).encode()  # fmt: skip
    headers = {"inference-header-content-length": str(len(head))}
    pictures, say = open_inference(head + raw, headers, "digits", ANSWERS)
    assert pictures == [A, B]
    assert [output["name"] for output in say(ANSWERS)["outputs"]] == ["classes"]


def test_an_upload_gets_names():
    pictures, say = uploaded(A)
    assert pictures == [A]
    assert say(ANSWERS) == {"top": [{"class": "cat", "probability": 0.75}]}
    assert say(VALUES) == {"targets": {"ink": 1.5, "sum": -2.0}}


REFUSED = [
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"[]", "must be a JSON object"),
    ({}, 'either "instances" or "inputs"'),
    ({"instances": [], "inputs": []}, 'either "instances" or "inputs"'),
    ({"instances": []}, "at least one picture"),
    ({"instances": {"b64": "AA=="}}, "at least one picture"),
    (
        {"instances": [{"a": b64(A), "b": b64(B)}]},
        "Received the inputs a, b. There must be exactly one",
    ),
    ({"instances": [{}]}, "Received the inputs none"),
    ({"instances": [{"b64": "?"}]}, "not base64"),
    ({"instances": [{"b64": 3}]}, "not base64"),
    ({"instances": ["text"]}, "neither base64 nor pixels"),
    ({"instances": [[[1, 2], [3]]]}, "neither base64 nor pixels"),
    ({"instances": [[[1, 2, 3]]]}, r"pixels of shape \(1, 3\)"),
    ({"instances": [[[[1, 2, 300]]]]}, "from 0 to 255"),
    ({"instances": [[[[1, 2, float("nan")]]]]}, "from 0 to 255"),
    ({"inputs": {"a": [b64(A)], "b": [b64(B)]}}, "Received the inputs a, b"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_tensorflow_serving_s_clients_get_wrong(body, message):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RefusedError, match=message) as error:
        tensorflow_serving(content)
    assert error.value.status == 400


STRANGE = [
    tensor(datatype=["x"]),
    tensor(parameters=[1]),
    {**tensor(), "outputs": [{"name": ["x"]}]},
    tensor(datatype="FP32", shape=[1, 1, 1, 3], data=[10**400, 0, 0]),
    tensor(shape=[2**70]),
]


@pytest.mark.parametrize("body", STRANGE, ids=range(len(STRANGE)))
def test_what_nobody_would_send_is_refused_too(body):
    def parse(content):
        return open_inference(content, {}, "digits", ANSWERS)

    with pytest.raises(RefusedError) as error:
        understood(parse, json.dumps(body).encode())
    assert error.value.status == 400


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "x"])
def test_strange_lengths(length):
    headers = {"inference-header-content-length": length}

    def parse(content):
        return open_inference(content, headers, "m", ANSWERS)

    with pytest.raises(RefusedError):
        understood(parse, b"{}")
    body = json.dumps({"instances": [[[[10**400, 0, 0]]]]}).encode()
    with pytest.raises(RefusedError):
        understood(tensorflow_serving, body)


WRONG = [
    ({"inputs": []}, "a list of one tensor"),
    ({"inputs": [3]}, "a list of one tensor"),
    (tensor(shape=None), "shape None"),
    (tensor(shape=[0]), r"shape \[0\]"),
    (tensor(shape=[True]), r"shape \[True\]"),
    (tensor(shape=[3]), "2 pictures, but the shape is"),
    (tensor(datatype="INT64"), "Allowed are BYTES, UINT8, FP32"),
    (tensor(data="AA=="), 'BYTES need "data"'),
    (tensor(data=["?", "!"]), "not base64"),
    (tensor(parameters={"binary_data_size": 9}), "binary_data_size is 9, but 0 bytes"),
    (tensor(parameters={"binary_data_size": "9"}), "binary_data_size is '9'"),
    (tensor(datatype="UINT8", shape=[1, 2, 2, 3], data=[1]), "not UINT8 of shape"),
    (tensor(datatype="FP32", shape=[2, 2], data=[1, 2, 3, 4]), "pixels of shape"),
    ({**tensor(), "outputs": "classes"}, "must be a list of tensors"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=range(len(WRONG)))
def test_what_clients_of_the_open_protocol_get_wrong(body, message):
    with pytest.raises(RefusedError, match=message):
        open_inference(json.dumps(body).encode(), {}, "digits", ANSWERS)


@pytest.mark.parametrize("raw", [b"\x09\x00", b"\xff\xff\xff\xffabc"])
def test_binary_strings_that_end_early(raw):
    head = json.dumps(tensor(parameters={"binary_data_size": len(raw)})).encode()
    headers = {"inference-header-content-length": str(len(head))}
    with pytest.raises(RefusedError, match="binary data end inside"):
        open_inference(head + raw, headers, "digits", ANSWERS)


def test_other_refusals():
    with pytest.raises(RefusedError, match="The body is empty"):
        uploaded(b"")
    with pytest.raises(RefusedError, match="is 99, but the body has"):
        open_inference(b"{}", {"inference-header-content-length": "99"}, "m", ANSWERS)
    body = json.dumps({**tensor(), "outputs": [{"name": "x"}]}).encode()
    with pytest.raises(RefusedError, match=r"no output 'x'\. The outputs are probabilities, clas"):
        open_inference(body, {}, "m", ANSWERS)
