"""Openers: the tensors of a file as it names and lays them out.

Nothing a user downloaded is unpickled beyond tensors, and no archive member leaves
its temporary folder.
"""

import contextlib
import errno
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.errors import in_one_line


class RawFile(NamedTuple):
    """Tensors as the file names and lays them out."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


@contextlib.contextmanager
def errors_name(path):
    """Turns whatever a reader raises on a damaged file into one error that names it."""
    try:
        yield
    except (FileNotFoundError, ImportError):
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the disk's fault, not the file's
            raise
        raise _damaged(path, error) from error
    except Exception as error:  # each library has its own classes, some without a base
        raise _damaged(path, error) from error


def _damaged(path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read as weights ({in_one_line(error)}). It may be "
        "cut off or damaged: fetch it again, or name another file."
    )


def extract(path: Path, folder: str) -> None:
    """Unpacks an archive into a folder; a member that would leave it is an error."""
    with errors_name(path), tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")


@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[RawFile]:
    """Tensors of a `.safetensors` file, read one at a time."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        yield RawFile(shapes, file.get_tensor)


def open_pickle(path: Path) -> RawFile:
    """Tensors of a state dict that PyTorch saved; nothing else in it is unpickled.

    Raises:
        ImportError: without PyTorch.
    """
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path} is a PyTorch pickle, and reading it safely needs PyTorch: "
            "pip install torch. A .safetensors file needs nothing."
        ) from None
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise ValueError("it holds no state dict of tensors")
    return RawFile(
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        lambda name: tensors[name].float().numpy(),
    )


def checkpoint_prefix(path: Path) -> str:
    """The prefix that TensorFlow reads a checkpoint by, from it, its index or its folder."""
    if path.is_dir():
        prefixes = sorted(p.with_suffix("") for p in path.rglob("*.index"))
        prefixes = prefixes or sorted(path.rglob("*.ckpt"))
        if len(prefixes) != 1:
            raise ValueError(
                f"it holds {len(prefixes)} TensorFlow checkpoints; name the prefix of one"
            )
        return str(prefixes[0])
    return str(path).removesuffix(".index")


def open_tensorflow(prefix: str) -> RawFile:
    """Variables of a TensorFlow checkpoint of either version, read one at a time."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    return RawFile({name: tuple(shape) for name, shape in shapes.items()}, reader.get_tensor)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[RawFile]:
    """Datasets of a Keras 2 weight or model file, as `group/variable`."""
    import h5py

    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        datasets = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                group, *_, variable = name.split("/")
                datasets[f"{group}/{variable.split(':')[0]}"] = item

        root.visititems(visit)
        yield RawFile(
            {name: tuple(dataset.shape) for name, dataset in datasets.items()},
            lambda name: datasets[name][()],
        )


# Keras 3's own .weights.h5: layers counted by class, read through a twin model. What the
# twin must be, and whether the file holds more than it, is told from the shapes.


def keras_weights_shapes(path: Path) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of the tensors in a `.weights.h5`: class of layer to a list in the model's order."""
    import h5py

    shapes: dict[str, list[tuple[int, ...]]] = {}
    with errors_name(path), h5py.File(path, "r") as file:
        for _, kind, name in sorted(map(_numbered, file["layers"])):
            tensors = file["layers"][name].get("vars", {})
            for index in sorted(tensors, key=int):
                shapes.setdefault(kind, []).append(tuple(tensors[index].shape))
    return shapes


def _numbered(name: str) -> tuple[int, str, str]:
    """Number, class and name of a layer's group; the first of a class bears no number."""
    kind, _, number = name.rpartition("_")
    return (int(number), kind, name) if number.isdigit() else (0, name, name)
