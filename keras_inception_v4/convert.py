"""Conversion of weights between formats."""

import os
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_inception_v4.architecture import HEAD
from keras_inception_v4.files import check_name, model_file, replacing, write_tensors
from keras_inception_v4.inspection import classifier_of
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.weights.loading import (
    assign,
    model_variables,
    model_variant,
    read_model,
)
from keras_inception_v4.weights.names import FIRST_KERNEL, network_tensors, timm_names
from keras_inception_v4.weights.raw import keras_weights_shapes
from keras_inception_v4.weights.sources import Source, open_source

TARGETS = (".weights.h5", ".keras", ".safetensors")


class Conversion(NamedTuple):
    """Summary of a conversion.

    Attributes:
        kind: Format of the source, as `sniff` names it.
        tensors: Number of tensors.
        weights: Number of weights in all tensors.
        classes: Number of classes, or `None` without a classifier.
        channels: Number of input channels.
        variant: Variant of the network.
        size: Size of the target file, in bytes.
    """

    kind: str
    tensors: int
    weights: int
    classes: int | None
    channels: int
    variant: str
    size: int


def convert_weights(source: str | os.PathLike, target: str | os.PathLike) -> Conversion:
    """Convert a checkpoint of this network into another format.

    The number of classes stays (1001 stays 1001). A checkpoint without a classifier gives a file
    without one.

    Args:
        source: Checkpoint in any format that `load_weights` reads.
        target: Path that ends in `.weights.h5`, `.keras` or `.safetensors` (timm's names and
            layout). An existing file is replaced.

    Returns:
        What was read and written: kind of the source, number of tensors and weights, classes
        (`None` without a classifier), channels, variant, and size in bytes.

    Raises:
        FileNotFoundError: If there is nothing at `source`.
        ValueError: If `source` cannot be read or is not of this network, or `target` ends in
            something else.
        OSError: If the target cannot be written.

    Examples:
        ```python
        from keras_inception_v4 import convert_weights

        print(convert_weights("inception_v4_2016_09_09.tar.gz", "inception_v4.weights.h5"))
        ```
    """
    target = Path(target)
    suffix = next((suffix for suffix in TARGETS if target.name.endswith(suffix)), None)
    if suffix is None:
        raise ValueError(f"Received target={str(target)!r}. It must end in {', '.join(TARGETS)}.")
    check_name(target)
    kind, model = _model_of(model_file(source))
    variables = model_variables(model)
    if suffix == ".safetensors":
        write_tensors(target, _timm_tensors(variables), {"format": "pt"})
    else:
        with replacing(target) as new:
            model.save(new) if suffix == ".keras" else model.save_weights(new)
    return Conversion(
        kind,
        len(variables),
        sum(int(np.prod(variable.shape)) for variable in variables.values()),
        variables[f"{HEAD}/kernel"].shape[-1] if f"{HEAD}/kernel" in variables else None,
        variables[FIRST_KERNEL].shape[2],
        model_variant(variables),
        target.stat().st_size,
    )


def _model_of(path: Path) -> tuple[str, keras.Model]:
    """Return the format of a source and a model with its weights."""
    with open_source(path) as source:
        if source.kind == "keras":
            model = classifier_of(read_model(path))
            _refuse_strangers(path, model_variables(model))
            return source.kind, model
        channels, classes, variant = _layout(path, source)
        first = keras.config.image_data_format() == "channels_first"
        model = InceptionV4(
            include_top=classes is not None,
            weights=None,
            input_shape=(channels, None, None) if first else (None, None, channels),
            classes=classes or 1,
            variant=variant,
        )
        assign(model, path, source)
        return source.kind, model


def _layout(path: Path, source: Source) -> tuple[int, int | None, str]:
    """Return channels, classes (`None` without a classifier) and variant of a source."""
    if source.kind == "keras_weights":
        by_class = keras_weights_shapes(path)
        kernels = by_class.get("conv2d", [])
        head = by_class.get("dense")
    else:
        shapes = source.named("released").shapes
        kernels = [shapes[name] for name in network_tensors() if name in shapes]
        head = [shapes[f"{HEAD}/kernel"]] if f"{HEAD}/kernel" in shapes else None
    kernels = [shape for shape in kernels if len(shape) == 4] or [(3, 3, 3, 32)]
    oblong = [shape for shape in kernels if shape[0] != shape[1]]  # the first one is in mixed_4a
    paper = bool(oblong) and oblong[0][:2] == (7, 1)
    return kernels[0][2], head[0][-1] if head else None, "paper" if paper else "released"


def _refuse_strangers(source: Path, variables) -> None:
    strangers = set(variables) - set(network_tensors(model_variant(variables)))
    if strangers or FIRST_KERNEL not in variables:
        raise ValueError(
            f"{source} does not hold exactly this network: "
            f"{sorted(strangers)[:3] or FIRST_KERNEL} is unexpected or missing."
        )


def _timm_tensors(variables) -> dict[str, np.ndarray]:
    """Return the state dict that timm and Cadene load."""
    tensors = {}
    for ours, name in timm_names(model_variant(variables)).items():
        if ours not in variables:  # no classifier
            continue
        tensor = keras.ops.convert_to_numpy(variables[ours])
        if tensor.ndim == 4:
            tensor = tensor.transpose(3, 2, 0, 1)  # HWIO to OIHW
        tensors[name] = np.ascontiguousarray(tensor.T if tensor.ndim == 2 else tensor)
        if ours.endswith("_bn/beta"):
            layer = name.removesuffix("bias")
            tensors[f"{layer}weight"] = np.ones_like(tensor)  # the Keras layers have no scale
            tensors[f"{layer}num_batches_tracked"] = np.zeros((), "int64")
    return tensors
