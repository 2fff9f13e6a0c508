"""Loading and copying of weights by layer name. A model is filled completely or not at all."""

import os
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.architecture import IMAGENET_CLASSES
from keras_inception_v4.errors import in_one_line
from keras_inception_v4.files import model_file, require
from keras_inception_v4.weights import names
from keras_inception_v4.weights.raw import keras_weights_shapes
from keras_inception_v4.weights.sources import (
    Checkpoint,
    Source,
    open_source,
)

LISTED = 10
HEADS = (names.HEAD, names.AUXILIARY_HEAD)


def load_weights(
    model: keras.Model, source: str | os.PathLike, *, entry: str | None = None
) -> None:
    """Load a checkpoint of this network into a model by layer name, all or nothing.

    If the checkpoint has 1001 classes and the model 1000, its background class (index 0) is
    dropped. A classifier or auxiliary head that the model lacks is ignored. A first kernel of 3
    channels is adapted to any other number: summed over RGB for 1, else repeated and scaled by 3 /
    channels. With files of timm, Cadene, slim and Keras 2, layers outside this network keep
    their weights, since those formats do not store them.

    Args:
        model: Model of this package, for any backend, data format and number of channels.
        source: Checkpoint, recognized by its content: `.safetensors`, `.pth` or `.bin` of timm or
            Cadene; the `.safetensors.index.json` of a file in shards, or its folder; a TF-slim
            checkpoint (prefix, folder or `.tar.gz`); `.h5` of Keras 2; `.weights.h5` or `.keras`;
            a run folder. Prefixes that wrappers put before all names (`module.`, `model.`,
            `_orig_mod.`) are removed.
        entry: Name of the state dict in a PyTorch training checkpoint. By default averaged weights
            (`state_dict_ema`) are taken before raw ones.

    Raises:
        FileNotFoundError: If there is nothing at `source`.
        ValueError: If it cannot be read, or does not fit. The message lists missing, unused,
            mis-shaped and non-finite tensors. The model is unchanged.
        ImportError: If the source is a PyTorch pickle and PyTorch is not installed.

    Examples:
        ```python
        from keras_inception_v4 import InceptionV4, load_weights

        model = InceptionV4(weights=None)
        load_weights(model, "inception_v4_2016_09_09.tar.gz")  # the authors' TF-slim checkpoint
        print(model.count_params())
        ```
    """
    source = model_file(source)
    with open_source(source, entry) as opened:
        assign(model, source, opened)


def assign(model: keras.Model, path: Path, source: Source) -> None:
    """Load an opened source into a model, as `load_weights` does.

    Args:
        model: Model of this package.
        path: Path of the source.
        source: Opened source, from `open_source`.

    Raises:
        ValueError: If the source does not fit. The model is unchanged.
    """
    variables = model_variables(model)
    if source.kind in ("keras", "keras_weights"):
        checkpoint = _model_checkpoint(_twin(path, source.kind, model))
    else:
        checkpoint = source.named(model_variant(variables))
        network = set(names.network_tensors("released")) | set(names.network_tensors("paper"))
        if source.kind in ("slim", "archive"):  # the only formats with names for the auxiliary head
            network |= set(names.slim_auxiliary_names())
        variables = {name: v for name, v in variables.items() if name in network}
    readers = _plan(path, variables, checkpoint)
    bad = [name for name, read in readers.items() if not np.all(np.isfinite(read()))]
    if bad:
        raise ValueError(_misfit(path, {"not finite (NaN or infinity)": bad}))
    for name, read in readers.items():
        variables[name].assign(read())


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of every layer of `target` from the layer of the same name in `source`.

    A head that `target` lacks is ignored.

    Raises:
        ValueError: If weights are missing, unused or of another shape. `target` is unchanged.
    """
    variables = model_variables(target)
    for name, read in _plan(source.name, variables, _model_checkpoint(source)).items():
        variables[name].assign(read())


def copy_layers(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of each layer, nested ones included, to its namesake in a clone."""
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the model's weights by their names `layer/variable`."""
    return {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }


def model_variant(variables) -> str:
    """Return the variant of the network that the names of a model's variables show."""
    paper = set(names.network_tensors("paper")) - set(names.network_tensors("released"))
    return "paper" if paper & set(variables) else "released"


def _twin(source: Path, kind: str, model: keras.Model) -> keras.Model:
    """Return another model with the weights of a `.keras` or `.weights.h5` file."""
    if kind == "keras":
        return read_model(source)
    twin = keras.models.clone_model(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights that do not fit raise an error here
            twin.load_weights(source)
        _refuse_more(source, twin)
        return twin
    except Exception as error:  # keras, h5py and zipfile raise many classes for damaged files
        raise ValueError(
            f"{source} does not load into a model with these layers ({in_one_line(error)}"
            f"). It may be damaged, or saved from a model built with other arguments."
        ) from error


def read_model(path: str | os.PathLike) -> keras.Model:
    """Read a `.keras` file, given directly or by its run folder, without compiling the model.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a Keras model. The message names the file.
    """
    path = require(model_file(path), "model file")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # keras, h5py and zipfile raise many classes for damaged files
        raise ValueError(
            f"{path} cannot be loaded as a Keras model ({in_one_line(error)}). It "
            "must be a .keras file that model.save or `keras-inception-v4 train` wrote. For "
            "another file of weights: `keras-inception-v4 convert FILE NAME.keras`."
        ) from error


def _refuse_more(source: Path, twin: keras.Model) -> None:
    """Reject a file with more tensors than the model.

    Keras itself ignores surplus tensors. Only the dense layers of heads may be extra, and only if
    the model has no classifier.
    """
    shapes = keras_weights_shapes(source)
    if not any(layer.name == names.HEAD for layer in twin.layers):
        shapes.pop("dense", None)
    held, wanted = sum(map(len, shapes.values())), len(twin.weights)
    if held > wanted:
        raise ValueError(f"it holds {held} tensors, the model {wanted}")


def _model_checkpoint(model: keras.Model) -> Checkpoint:
    variables = model_variables(model)
    return Checkpoint(
        {name: tuple(variable.shape) for name, variable in variables.items()},
        lambda name: keras.ops.convert_to_numpy(variables[name]),
    )


def _plan(source, variables, checkpoint: Checkpoint) -> dict:
    """Return a function for each variable that reads the value to assign.

    Raises:
        ValueError: If weights do not fit. The message lists them.
    """
    shapes = dict(checkpoint.shapes)
    for head in HEADS:
        if f"{head}/kernel" not in variables:
            shapes = {name: s for name, s in shapes.items() if not names.is_of_head(name, head)}
    readers, mis_shaped = {}, []
    for name, variable in variables.items():
        if name not in shapes:
            continue
        adapt = _adaptation(name, shapes[name], tuple(variable.shape))
        if adapt is None:
            mis_shaped.append(f"{name} is {shapes[name]}, must be {tuple(variable.shape)}")
        else:
            readers[name] = lambda name=name, adapt=adapt: adapt(checkpoint.read(name))
    problems = {
        "missing": [name for name in variables if name not in shapes],
        "unused": [name for name in shapes if name not in variables],
        "mis-shaped": mis_shaped,
    }
    if any(problems.values()):
        raise ValueError(_misfit(source, problems))
    return readers


def _adaptation(name: str, found: tuple, wanted: tuple):
    """Return a function that adapts the file's tensor to the model, or `None` if none can."""
    if found == wanted:
        return lambda tensor: tensor
    dense = name.rpartition("/")[0] in HEADS
    if dense and (found[-1], wanted[-1]) == (IMAGENET_CLASSES + 1, IMAGENET_CLASSES):
        return lambda tensor: tensor[..., 1:]  # drop the background class
    if name == names.FIRST_KERNEL and found == (*wanted[:2], 3, wanted[3]):
        return lambda tensor: adapt_channels(tensor, wanted[2])
    return None


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapt an RGB kernel to any number of input channels, as timm does.

    Args:
        kernel: Array of shape `(height, width, 3, filters)`.
        channels: Number of input channels, at least 1.

    Returns:
        Array of shape `(height, width, channels, filters)`. One channel gets the sum over RGB.
        Two or more channels get R, G and B in turn, scaled by `3 / channels`. The scale keeps the
        size of the outputs.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = np.take(kernel, np.arange(channels) % 3, axis=2)
    return (repeated * (3 / channels)).astype(kernel.dtype)


def _misfit(source, problems: dict[str, list[str]]) -> str:
    lines = [f"The weights of {source} do not fit; the model is unchanged."]
    for what, tensors in problems.items():
        if tensors:
            more = f", ... ({len(tensors) - LISTED} more)" if len(tensors) > LISTED else ""
            lines.append(f"{len(tensors)} {what}: {', '.join(tensors[:LISTED])}{more}")
    heads = [tensor for tensors in problems.values() for tensor in tensors]
    if all(tensor.startswith(f"{names.HEAD}/") for tensor in heads):
        lines.append(
            "Only the classifier differs. Build with include_top=False to ignore the file's, "
            "or with the file's number of classes."
        )
    return "\n".join(lines)
