"""Conversion of ONNX files to float16 and int8."""

import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS: dict[str, dict[str, Any]] = {
    "signed 7 bits a channel": {
        "weight_type": "QInt8",
        "per_channel": True,
        "reduce_range": True,
    },
    "unsigned 8 bits a tensor": {"weight_type": "QUInt8"},
}
"""Ways to round int8 weights, the fastest first; activations are unsigned 8 bits.

A processor without VNNI adds pairs of products in 16 bits. Signed 8-bit weights with unsigned
activations can saturate there silently. Signed 7-bit weights cannot saturate. Unsigned 8-bit
weights do not either, but ONNX Runtime runs them more slowly. So files of both settings are also
correct on processors other than the one that wrote them.
"""


def to_float16(path: Path) -> None:
    """Convert the weights of a float32 file to float16; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def to_int8(
    path: Path, batches: Iterable[np.ndarray], in_float32: int
) -> Generator[str, None, None]:
    """Quantize a float32 file with each setting of `SETTINGS` in turn.

    The caller stops when it accepts the result.

    Args:
        path: File to quantize; it is replaced.
        batches: Network inputs for calibration.
        in_float32: Number of convolutions, counted from the first, that stay in float32. Nodes
            that the first output does not need also stay in float32.

    Yields:
        The name of the setting by which the file at `path` is now quantized.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = list(batches)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = Path(folder) / "plain.onnx"
        quant_pre_process(path, plain, skip_symbolic_shape=True)
        graph = onnx.load(plain).graph
        convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
        exact = [*convolutions[:in_float32], *_beside_first_output(graph)]
        for name, setting in SETTINGS.items():
            options = {**setting, "weight_type": QuantType[setting["weight_type"]]}
            quantize_static(
                plain,
                path,
                _Reader(graph.input[0].name, batches),
                activation_type=QuantType.QUInt8,
                nodes_to_exclude=exact,
                **options,
            )
            yield name


def _beside_first_output(graph) -> list[str]:
    """List the nodes that the first output does not need, such as those of maps."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting, needed = [graph.output[0].name], set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting.extend(node.input)
    return [node.name for node in graph.node if node.name not in needed]


class _Reader:
    """Calibration batches behind ONNX Runtime's reader interface."""

    def __init__(self, name: str, batches: Iterable[np.ndarray]):
        self._feeds = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)
