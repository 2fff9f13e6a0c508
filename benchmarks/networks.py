"""The networks that are measured, ours and the peers'. Everything here runs in a `Worker`.

timm needs torchvision to be imported. Where torchvision cannot be installed, a module
`torchvision_stub` on the path is imported first.
"""

import functools
import importlib.util
import os
import time
from pathlib import Path

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def inputs(batch: int, size: int):
    """Random images in [-1, 1], `(batch, size, size, 3)`, float32."""
    import numpy as np

    return np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype("float32")


def keras_network(network: str, size: int):
    """A classifier of 1000 classes with random weights, in the current dtype policy."""
    import keras

    shape = (size, size, 3)
    if network == "InceptionV4":
        from keras_inception_v4 import InceptionV4

        return InceptionV4(weights=None, input_shape=shape)
    if network == "zeromodels":
        from zeromodels.models.inceptionv4 import InceptionV4Config, InceptionV4ImageClassify

        return InceptionV4ImageClassify(InceptionV4Config(image_size=size))
    return getattr(keras.applications, network)(weights=None, input_shape=shape)


def work(network: str) -> int:
    """Multiply-adds of a network's convolutions and dense layers, for one image."""
    import numpy as np
    from keras import layers

    total = 0
    for layer in keras_network(network, 299).layers:
        if isinstance(layer, (layers.Conv2D, layers.Dense)):
            cells = int(np.prod(layer.output.shape[1:-1]))
            total += cells * int(np.prod(layer.kernel.shape))
    return total


def build_keras(network: str):
    """Builds the network anew each time."""
    import keras

    keras_network(network, 299)

    def prepare():
        def run():
            keras.backend.clear_session()
            keras_network(network, 299)

        return run

    return prepare


def load_cached(path: str):
    """`InceptionV4()` where the weights lie in the cache."""
    import keras

    from benchmarks.construction import use_as_imagenet
    from keras_inception_v4 import InceptionV4

    use_as_imagenet(Path(path))

    def prepare():
        def run():
            keras.backend.clear_session()
            InceptionV4()

        return run

    return prepare


def predict_keras(network: str, precision: str = "float32", method: str = "predict_on_batch"):
    """`predict` or `predict_on_batch` of one batch."""
    import keras

    keras.config.set_dtype_policy(POLICIES[precision])
    model_of = functools.lru_cache(maxsize=1)(functools.partial(keras_network, network))
    model_of(299)  # fails here if it cannot be imported

    def prepare(batch: int, size: int):
        model, images = model_of(size), inputs(batch, size)
        if method == "predict":
            return lambda: model.predict(images, batch_size=batch, verbose=0)
        images = keras.ops.convert_to_tensor(images)  # on the device, as timm's are
        return lambda: model.predict_on_batch(images)

    return prepare


def train_keras(network: str, precision: str, batch_norm: bool = True, accumulate: int = 1):
    """One step of Adam, as `fit` takes it; without `batch_norm` that stays in inference mode.

    With `accumulate` every so manieth step updates the weights.
    """
    import keras
    import numpy as np

    keras.config.set_dtype_policy(POLICIES[precision])

    def prepare(batch: int, size: int):
        model = keras_network(network, size)
        if network == "zeromodels":  # it answers logits unless told otherwise
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        else:
            loss = "sparse_categorical_crossentropy"
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = batch_norm
        on_jax = keras.backend.backend() == "jax"
        several = {"gradient_accumulation_steps": accumulate} if accumulate > 1 else {}
        model.compile(keras.optimizers.Adam(1e-4, **several), loss, jit_compile=on_jax)
        images, labels = map(keras.ops.convert_to_tensor, (inputs(batch, size), np.arange(batch)))

        def run():
            model.train_on_batch(images, labels)
            if on_jax:  # it answers before the weights are updated
                for variable in model.trainable_variables:
                    variable.value.block_until_ready()

        return run

    return prepare


def artefact(folder: str, file: str, precision: str | None = None):
    """An exported model in its own runtime; `{size}` in `file` is the image size."""
    from keras_inception_v4 import open_artefact

    def prepare(batch: int, size: int):
        opened = open_artefact(Path(folder) / file.format(size=size), precision=precision)
        images = inputs(batch, size)
        return lambda: opened.run(images)

    return prepare


def _timm(precision: str, channels_last: bool, device: str, *, train: bool = False):
    import torch

    if importlib.util.find_spec("torchvision") is None:
        try:
            importlib.import_module("torchvision_stub")
        except ImportError:
            raise ImportError("timm needs torchvision") from None
    import timm

    torch.set_num_threads(os.cpu_count() or 1)
    model = timm.create_model("inception_v4", pretrained=False).train(train).to(device)
    if not train and precision == "bfloat16":
        model = model.to(torch.bfloat16)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def _timm_inputs(batch: int, size: int, channels_last: bool, device: str):
    import torch

    images = torch.from_numpy(inputs(batch, size)).permute(0, 3, 1, 2).to(device)
    form = torch.channels_last if channels_last else torch.contiguous_format
    return images.contiguous(memory_format=form)


def _waiting(run, device: str):
    """GPUs answer before they are done."""
    import torch

    def waited():
        run()
        torch.cuda.synchronize()

    return waited if device == "cuda" else run


def predict_timm(
    precision: str, channels_last: bool = False, compiled: bool = False, device: str = "cpu"
):
    """timm's `inception_v4` in evaluation mode."""
    import torch

    model = _timm(precision, channels_last, device)
    model = torch.compile(model, dynamic=False) if compiled else model

    def prepare(batch: int, size: int):
        images = _timm_inputs(batch, size, channels_last, device).to(getattr(torch, precision))

        def run():
            with torch.inference_mode():
                model(images)

        return _waiting(run, device)

    return prepare


def train_timm(
    precision: str, channels_last: bool = False, compiled: bool = False, device: str = "cpu"
):
    """One step of Adam; bfloat16 by autocast."""
    import torch

    model = _timm(precision, channels_last, device, train=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    forward = torch.compile(model, dynamic=False) if compiled else model

    def prepare(batch: int, size: int):
        images = _timm_inputs(batch, size, channels_last, device)
        labels = torch.arange(batch, device=device)

        def run():
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = forward(images)
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            loss.item()  # as `train_on_batch` does, which answers the loss

        return _waiting(run, device)

    return prepare


SIDE, PRODUCTS = 2048, 4
FLOP = PRODUCTS * 2 * SIDE**3
SLOW = 10e9  # operations a second; a single core with vectors gives several times as many


def matrix_product(library: str, precision: str, slow: float = SLOW):
    """Products of square matrices: what the machine's arithmetic gives at most."""
    import numpy as np

    rng = np.random.default_rng(0)
    values = rng.integers(-100, 100, (SIDE, SIDE))
    if library == "TensorFlow":
        import tensorflow as tf

        matrix = tf.cast(tf.constant(values, "float32"), precision)

        def once():
            tf.linalg.matmul(matrix, matrix)[0, 0].numpy()

    elif library == "ONNX Runtime":
        once = _integer_product(values.astype("int8"))
    else:
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        tensor = torch.from_numpy(values).to(getattr(torch, precision))
        product = torch._int_mm if precision == "int8" else torch.mm

        def once():
            product(tensor, tensor)

    if max(_rate(once) for _ in range(2)) < slow:
        raise RuntimeError(f"{library} has only plain loops for {precision} on this processor")

    def prepare(**task):
        def run():
            for _ in range(PRODUCTS):
                once()

        return run

    return prepare


def _rate(once) -> float:
    """Operations a second of one product."""
    begun = time.perf_counter()
    once()
    return FLOP / PRODUCTS / (time.perf_counter() - begun)


def _integer_product(matrix):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    shape = list(matrix.shape)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("c", TensorProto.INT32, shape)],
        [helper.make_tensor("b", TensorProto.INT8, shape, matrix.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": matrix.view("uint8")})
