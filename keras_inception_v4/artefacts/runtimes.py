"""Loading of artefacts in their own runtimes."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.artefacts.description import (
    PAGE,
    Description,
    page_network,
    read_description,
)
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import require

EXTRAS = {
    "litert": ("litert", "ai_edge_litert"),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino", "openvino"),
    "web": ("onnx", "onnxruntime"),
}
SHAPES = 6  # batch shapes for which OpenVINO's compiled network is kept
# Each half of a batch runs in its own stream. The streams wait for each other once, not after each
# layer: 1.04 times as fast at a batch of 8 and 1.14 at 32 on two cores with AVX2, with results that
# are equal bit for bit.
HALVES, LEAST_HALVED = 2, 8
PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class Artefact(NamedTuple):
    """Loaded artefact; `run` maps input in the model's own range and layout to outputs."""

    description: Description
    run: Callable[[np.ndarray], np.ndarray]

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return the outputs for raw pixels `(images, height, width, channels)`, 0 to 255."""
        if not self.description.raw_pixels:
            # The same as `preprocess_input`, without importing Keras.
            pixels = np.asarray(pixels, "float32") / 127.5 - 1
        if self.description.channels_first:
            pixels = np.moveaxis(pixels, 3, 1)
        return self.run(np.ascontiguousarray(pixels, "float32"))


def format_of(path: str | os.PathLike) -> str | None:
    """Return the format of the artefact at `path`, or `None` if there is no artefact."""
    path = Path(path)
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        if (path / PAGE).is_file():
            return "web"
        return "openvino" if (path / "model.xml").is_file() else None
    return {".tflite": "litert", ".onnx": "onnx"}.get(path.suffix)


def is_artefact(path: str | os.PathLike) -> bool:
    """Return whether `path` is for `open_artefact` and not for Keras."""
    return format_of(path) is not None


def require_runtime(format: str) -> None:
    """Import the runtime of a format, if it is an extra; OpenVINO's telemetry is turned off.

    Raises:
        ImportError: If the runtime is not installed; the message names the extra.
    """
    if format not in EXTRAS:
        return
    if format == "openvino":
        # Blocks the telemetry module unless it is already imported. It reports each import and
        # conversion to a Google host from a forked process, and the exit of the process waits for
        # that. OpenVINO works without it.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    extra, module = EXTRAS[format]
    require_extra(module, f"The format {format} needs", module, extra)


def open_artefact(path: str | os.PathLike, *, precision: str | None = None) -> Artefact:
    """Load an artefact that `export_model` wrote. Needs its runtime, not Keras.

    Args:
        path: Folder of a SavedModel, of OpenVINO or of a web page; or a `.tflite` or `.onnx` file.
        precision: Precision in which OpenVINO computes, `"float32"` or `"bfloat16"`. `None` is the
            runtime's own choice: bfloat16 on processors that have it.

    Returns:
        The artefact. Its method `predict` takes raw pixels of shape (images, height, width,
        channels), 0 to 255, and returns probabilities, quantities or features. Its `description`
        has the input shape, class names, thresholds and crop that it was exported with.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is not such an artefact, or `precision` is given for another format.
        ImportError: If the format's runtime is not installed; the message names the extra.

    Examples:
        ```python
        import keras
        from keras_inception_v4 import export_model, load_image, open_artefact

        model = keras.saving.load_model("runs/digits/model.keras")
        export_model(model, "example.onnx", format="onnx")
        artefact = open_artefact("example.onnx")
        print(artefact.predict(load_image("photo.jpg", (75, 75))[None]).shape)
        ```
    """
    path = require(path, "artefact")
    format = format_of(path)
    if format is None:
        raise ValueError(
            f"{path} is no artefact. It must be a folder of a SavedModel, of OpenVINO or of a web "
            "page, a .tflite or an .onnx file."
        )
    if precision is not None and (format != "openvino" or precision not in PRECISION_HINTS):
        raise ValueError(
            f"Received precision={precision!r} for {path} ({format}). Only OpenVINO artefacts "
            "take a precision: float32 or bfloat16."
        )
    require_runtime(format)
    session = functools.cache(_onnx_session)  # the file is loaded once, for metadata and running
    description = read_description(path, format, session)
    openers = {
        "saved_model": _saved_model,
        "litert": _litert,
        "onnx": lambda path: _onnx(session(path)),
        "openvino": lambda path: _openvino(path, precision),
        "web": lambda path: _onnx(session(path)),
    }
    try:
        return Artefact(description, openers[format](path))
    except Exception as error:  # each runtime has its own error classes
        raise ValueError(
            f"{path} cannot be loaded as {format} ({in_one_line(error)}). It may "
            "be damaged; export it again."
        ) from error


def _saved_model(path: Path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def run(batch):
        # A signature alone does not keep the variables alive; `loaded` does.
        (answer,) = loaded.signatures["serving_default"](inputs=tf.constant(batch)).values()
        return answer.numpy()

    return run


def _litert(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(batch):
        answers = []
        for image in batch:  # the batch size is fixed to one
            interpreter.set_tensor(given["index"], image[None])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(answered["index"])[0])
        return np.stack(answers)

    return run


def _onnx_session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads get ever smaller shares of the work. With equal shares all wait for a core that other
    # processes use too: 6 % slower beside a load of a quarter of a core.
    options.add_session_config_entry("session.dynamic_block_base", "8")
    network = page_network(path) if path.is_dir() else path
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _onnx(session):
    (given,) = session.get_inputs()
    return lambda batch: session.run(None, {given.name: batch})[0]


def _openvino(path: Path, precision: str | None):
    import openvino

    core = openvino.Core()
    network = core.read_model(path / "model.xml")
    config = {"PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        config["INFERENCE_PRECISION_HINT"] = PRECISION_HINTS[precision]
    known: dict[tuple[int, ...], list[openvino.InferRequest]] = {}

    def requests(shape):
        if shape not in known:  # a fixed shape is faster than a dynamic one
            if len(known) == SHAPES:
                del known[next(iter(known))]
            count = HALVES if shape[0] >= LEAST_HALVED and shape[0] % HALVES == 0 else 1
            network.reshape([shape[0] // count, *shape[1:]])
            streams = {"NUM_STREAMS": count} if count > 1 else {}
            compiled = core.compile_model(network, "CPU", {**config, **streams})
            known[shape] = [compiled.create_infer_request() for _ in range(count)]
        return known[shape]

    def run(batch):
        asked = requests(batch.shape)
        for request, part in zip(asked, np.split(batch, len(asked)), strict=True):
            request.start_async({0: part})
        for request in asked:
            request.wait()
        return np.concatenate([request.get_output_tensor().data for request in asked])

    return run
