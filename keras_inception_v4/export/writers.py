"""Writers of a model and its description, one for each format."""

import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.architecture import ENDPOINTS, STEM_CONVOLUTIONS
from keras_inception_v4.artefacts import Description, open_artefact, write_description
from keras_inception_v4.costs import block_name
from keras_inception_v4.export.saved_model import export_saved_model
from keras_inception_v4.export.small_onnx import to_float16, to_int8
from keras_inception_v4.export.tflite_metadata import write_metadata
from keras_inception_v4.export.verification import answers_of, check_answers, model_answers
from keras_inception_v4.export.web import cells_of, with_map, write_page
from keras_inception_v4.inspection import model_input
from keras_inception_v4.tasks import task_named


def _calibration_batches(model, pixels) -> Iterator[list[np.ndarray]]:
    for image in pixels:
        yield [np.asarray(model_input(model, image[None]), "float32")]


def _write_saved_model(model, path, precision, pixels, description) -> None:
    export_saved_model(
        model,
        path,
        class_names=description.class_names,
        thresholds=description.thresholds,
        crop=description.crop,
    )


@contextlib.contextmanager
def _as_saved_model(model: keras.Model, batch: int | None) -> Iterator[str]:
    """Yield a temporary SavedModel for converters, traced once; Keras would trace it twice."""
    import tensorflow as tf

    def infer(inputs):
        return model(inputs, training=False)

    floats = tf.TensorSpec((batch, *model.input_shape[1:]), "float32", name="inputs")
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    network = tf.function(infer, autograph=False).get_concrete_function(floats)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=network)
        yield folder


def _write_litert(model, path, precision, pixels, description) -> None:
    import tensorflow as tf

    with _as_saved_model(model, 1) as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        kinds = tf.lite.OpsSet  # TensorFlow's own run layers that LiteRT lacks
        converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS, kinds.SELECT_TF_OPS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = lambda: _calibration_batches(model, pixels)
        path.write_bytes(converter.convert())
    write_metadata(path, description)
    write_description(path, description)


@contextlib.contextmanager
def _little_garbage() -> Iterator[None]:
    """Let Python free reference cycles early, however many objects existed before.

    Each pass of tf2onnx copies the network with its weights and leaves the copy in reference
    cycles. Python collects cycles when its objects have grown by a quarter. With a million other
    objects, ten copies piled up before that. Afterwards the collector is on or off as before, and
    objects that the caller froze stay frozen.
    """
    on, frozen = gc.isenabled(), gc.get_freeze_count() > 0
    if not frozen:
        gc.freeze()  # existing objects do not count
    gc.collect()
    gc.enable()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if not on:
            gc.disable()


def _write_onnx(model, path, precision, pixels, description, exported=None) -> Description:
    """Write the model, or `exported` with the same first output, and return the description."""
    network = exported or model
    # Keras exports only models that were called.
    network(np.zeros((1, *(side or 299 for side in model.input_shape[1:])), "float32"))
    with _little_garbage():
        network.export(path, format="onnx", verbose=False)
    if precision == "int8":
        return _quantize_onnx(model, path, pixels, description)
    if precision == "float16":
        to_float16(path)
    write_description(path, description)
    return description


def _quantize_onnx(model, path, pixels, description) -> Description:
    """Quantize a file with the first setting that is accurate enough on the calibration images.

    Returns:
        The description with that setting.

    Raises:
        ValueError: If no setting is; the message is that of the last one.
    """
    task, failures = task_named(description.task), []
    expected = model_answers(model, pixels)
    batches = [batch for (batch,) in _calibration_batches(model, pixels)]
    # Rounding errors of the first convolutions pass through all blocks, so these stay in float32.
    # 98.9 % of 360 digits kept their class. With these in int8 too it was 97.5 %, at 1.1 times the
    # speed (two cores with AVX2 only).
    in_float32 = _convolutions_of(model, tuple(STEM_CONVOLUTIONS))
    with contextlib.closing(to_int8(path, batches, in_float32)) as settings:
        for setting in settings:
            described = description._replace(quantization=setting)
            write_description(path, described)
            found = answers_of(open_artefact(path).predict, pixels)
            try:
                check_answers("calibration", expected, found, "int8", task, description.thresholds)
                return described
            except ValueError as error:
                failures.append(error)
    raise failures[-1]


def _convolutions_of(model: keras.Model, endpoints: tuple[str, ...]) -> int:
    return sum(
        isinstance(layer, keras.layers.Conv2D) and layer.name.startswith(endpoints)
        for layer in model.layers
    )


def _quantize_openvino(model: keras.Model, network, pixels):
    """Quantize OpenVINO's graph to 8 bits, except for the stem and the Inception-A blocks.

    Rounding errors of the first blocks pass through all others. 99.4 % of 360 digits kept their
    class, on each of two networks. With only the stem in floating point it was 97.2 and 98.1 %.
    Only the stem was 1.07 times as fast at 299 pixels and 1.17 at 75 (two cores with AVX2 only).
    The range of activations is the widest of all pictures. NNCF's default, the mean of all, moved
    twice as much probability and kept 96.1 and 98.6 %. NNCF's bias correction changed nothing and
    took half of the time.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    first = tuple(name for name in ENDPOINTS if block_name(name) in ("Stem", "Inception-A"))
    convolutions = (op for op in network.get_ordered_ops() if op.get_type_name() == "Convolution")
    names = [op.get_friendly_name() for op in convolutions][: _convolutions_of(model, first)]
    return nncf.quantize(
        network,
        nncf.Dataset(list(_calibration_batches(model, pixels)), lambda batch: batch[0]),
        subset_size=len(pixels),
        ignored_scope=nncf.IgnoredScope(names=names),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
    )


def _rewrite(file: Path, change: Callable) -> None:
    """Apply `change` to an OpenVINO network file and store its float32 weights as float16."""
    import openvino

    network = change(openvino.Core().read_model(file))
    new = file.with_stem("new")
    openvino.save_model(network, new, compress_to_fp16=True)
    del network  # it has the file that is replaced mapped into memory
    for suffix in (".xml", ".bin"):
        new.with_suffix(suffix).replace(file.with_suffix(suffix))


def _write_openvino(model, path, precision, pixels, description) -> None:
    import openvino

    path.mkdir()
    file = path / "model.xml"
    with _as_saved_model(model, None) as folder:
        openvino.save_model(openvino.convert_model(folder), file, compress_to_fp16=False)
    if precision != "float32":
        _rewrite(file, lambda network: network)
    if precision == "int8":  # after float16, which skips weights of a quantized network
        _rewrite(file, lambda network: _quantize_openvino(model, network, pixels))
    write_description(path, description)


def _write_web(model, path, precision, pixels, description) -> None:
    path.mkdir()
    network, (exported, has_map) = path / "network.onnx", with_map(model)
    in_onnx = description._replace(format="onnx")
    described = _write_onnx(model, network, precision, pixels, in_onnx, exported)
    write_page(path, network, has_map, cells_of(exported) if has_map else None)
    write_description(path, described._replace(format=description.format))


WRITERS: dict[str, Callable] = {
    "saved_model": _write_saved_model,
    "litert": _write_litert,
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "web": _write_web,
}
