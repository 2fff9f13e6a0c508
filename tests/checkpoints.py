"""Checkpoints of every format, from the rule that generates the reference recordings."""

import json
from pathlib import Path

import numpy as np
from rules import slim_tensor, timm_tensor
from thin import REPEATED, SHARE

from keras_inception_v4.architecture import ENDPOINTS, HEAD, convolutions, network
from keras_inception_v4.weights.names import BATCH_NORM, timm_names

DATA = Path(__file__).parent / "data"
TIMM_SHAPES = json.loads((DATA / "timm_keys.json").read_text())
SLIM_SHAPES = json.loads((DATA / "slim_keys.json").read_text())
BLOCKS = list(network())


def timm_state(shapes=TIMM_SHAPES):
    return {name: timm_tensor(name, shape) for name, shape in shapes.items()}


def slim_variables(shapes=SLIM_SHAPES):
    return {name: slim_tensor(name, shape) for name, shape in shapes.items()}


def network_shapes():
    """The table of timm's file of the network as it is, thin ones too."""
    shapes = {}
    names = timm_names()
    for unit in convolutions():
        kernel = (unit.op.filters, unit.channels, unit.op.height, unit.op.width)
        shapes[names[f"{unit.name}_conv/kernel"]] = kernel
        shapes[names[f"{unit.name}_bn/beta"].replace("bias", "weight")] = kernel[:1]
        for variable in BATCH_NORM:
            shapes[names[f"{unit.name}_bn/{variable}"]] = kernel[:1]
    classifier = (1000, ENDPOINTS["mixed_7d"].channels)
    return {**shapes, names[f"{HEAD}/kernel"]: classifier, names[f"{HEAD}/bias"]: classifier[:1]}


def network_slim_shapes():
    """The table of the authors' checkpoint of the network as it is, without the auxiliary head."""
    shapes = {}
    for unit in convolutions():
        scope, op = f"InceptionV4/{_scope(unit)}", unit.op
        shapes[f"{scope}/weights"] = (op.height, op.width, unit.channels, op.filters)
        for variable in BATCH_NORM:
            shapes[f"{scope}/BatchNorm/{variable}"] = (op.filters,)
    logits, channels = "InceptionV4/Logits/Logits", ENDPOINTS["mixed_7d"].channels
    return {**shapes, f"{logits}/weights": (channels, 1001), f"{logits}/biases": (1001,)}


def thin_shapes(shapes):
    """The table of the thin network of one block a kind; what is left out closes ranks."""
    blocks = [name for name in BLOCKS if name not in REPEATED]
    timm = {f"features.{i}": f"features.{blocks.index(name)}"
            for i, name in enumerate(BLOCKS) if name in blocks}  # fmt: skip
    slim = {f"InceptionV4/{name.capitalize()}" for name in BLOCKS if name not in blocks}
    found = {}
    for name, shape in shapes.items():
        block = ".".join(name.split(".")[:2])
        if name.startswith("features."):
            if block not in timm:
                continue
            name = timm[block] + name.removeprefix(block)
        if "/".join(name.split("/")[:2]) not in slim:
            found[name] = [n // SHARE if n % SHARE == 0 else n for n in shape]
    return found


def write_safetensors(path, state):
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(tensor) for name, tensor in state.items()}, path)


def write_slim(prefix, variables, version=2):
    import tensorflow as tf

    names, tensors = list(variables), [tf.constant(value) for value in variables.values()]
    if version == 1:
        tf.raw_ops.Save(filename=str(prefix), tensor_names=names, data=tensors)
    else:
        tf.raw_ops.SaveV2(
            prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names),
            tensors=tensors,
        )  # fmt: skip


def keras2_groups(variables, first=1, top=True):
    """The slim variables as kentsommer's files group them."""
    kernels = [v for name, v in variables.items() if name.endswith("weights") and v.ndim == 4]
    groups = {}
    for index, unit in enumerate(convolutions()):
        scope = f"InceptionV4/{_scope(unit)}"
        groups[_numbered("conv2d", first + index)] = {"kernel": variables[f"{scope}/weights"]}
        groups[_numbered("batch_normalization", first + index)] = {
            name: variables[f"{scope}/BatchNorm/{name}"]
            for name in ("beta", "moving_mean", "moving_variance")
        }
    assert len(kernels) == len(convolutions()) + 2  # and the auxiliary head's
    if top:
        groups[_numbered("dense", first)] = {
            "kernel": variables["InceptionV4/Logits/Logits/weights"],
            "bias": variables["InceptionV4/Logits/Logits/biases"],
        }
    return groups


def _numbered(kind, number):
    return kind if number == 0 else f"{kind}_{number}"


def _scope(unit):
    """Slim's scope, written independently of the package: cut at the known separators."""
    if unit.branch is None:
        return unit.name.capitalize()
    endpoint, op = unit.name.split(f"_branch_{unit.branch}_")
    return f"{endpoint.capitalize()}/Branch_{unit.branch}/{op.capitalize()}"


def write_keras2(path, groups):
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        for group, tensors in groups.items():
            for name, tensor in tensors.items():
                file.create_dataset(f"{group}/{group}/{name}:0", data=tensor)
        file.create_group("dropout_1")
