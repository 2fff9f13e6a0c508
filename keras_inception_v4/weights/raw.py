"""Openers of weight files. Tensors keep the names and the layout of the file.

Downloaded files are safe to open: only tensors and harmless classes are unpickled, and archives
are unpacked only inside their temporary folder.
"""

import argparse
import contextlib
import errno
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.errors import in_one_line
from keras_inception_v4.files import read_json


class RawFile(NamedTuple):
    """Tensors with the names and the layout of their file."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


@contextlib.contextmanager
def errors_name(path):
    """Turn the errors of a reader on a damaged file into a `ValueError` that names the file.

    A missing file, a missing module and a full disk keep their own errors.
    """
    try:
        yield
    except (FileNotFoundError, ImportError):
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the disk is full; the file is not at fault
            raise
        raise _damaged(path, error) from error
    except Exception as error:  # each library has its own classes, some without a common base
        raise _damaged(path, error) from error


def _damaged(path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read as weights ({in_one_line(error)}). It may be "
        "truncated or damaged: fetch it again, or name another file."
    )


def extract(path: Path, folder: str) -> None:
    """Unpack an archive into a folder, and reject members that would land outside it."""
    with errors_name(path), tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")


@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[RawFile]:
    """Open a `.safetensors` file, whose tensors are read one at a time."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        yield RawFile(shapes, file.get_tensor)


@contextlib.contextmanager
def open_shards(path: Path) -> Iterator[RawFile]:
    """Open the `.safetensors` files named by an index in the same folder."""
    places = read_json(path)["weight_map"]
    with contextlib.ExitStack() as stack:
        shards = {}
        for name in sorted(set(places.values())):
            if Path(name).name != name:
                raise ValueError(f"its index names {name!r}, which is not in its folder")
            if not (path.parent / name).is_file():
                raise FileNotFoundError(f"{path} names {name}, which is not in its folder.")
            shards[name] = stack.enter_context(open_safetensors(path.parent / name))
        missing = [tensor for tensor, name in places.items() if tensor not in shards[name].shapes]
        if missing:
            raise ValueError(f"its shards lack {len(missing)} tensors, including {missing[0]}")
        yield RawFile(
            {tensor: shards[name].shapes[tensor] for tensor, name in places.items()},
            lambda tensor: shards[places[tensor]].read(tensor),
        )


def open_pickle(path: Path, entry: str | None = None) -> RawFile:
    """Open a state dict saved by PyTorch, without unpickling anything that can run code.

    Args:
        path: File that holds a state dict, or a dict with one.
        entry: Name of the state dict. `None` takes the file itself if it is a state dict, or else
            the first of `STATE_DICTS` that it holds. Averaged weights come before raw ones, as
            in timm.

    Raises:
        ImportError: If PyTorch is not installed.
        ValueError: If the file holds no state dict, or none of that name.
    """
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path} is a PyTorch pickle, and reading it safely needs PyTorch: "
            "pip install torch. A .safetensors file can be read without it."
        ) from None
    with torch.serialization.safe_globals(_harmless()):
        content = torch.load(path, map_location="cpu", weights_only=True)

    def is_state_dict(value):
        return isinstance(value, dict) and value and all(map(torch.is_tensor, value.values()))

    tensors = content
    if not is_state_dict(content) or entry is not None:
        known = [
            name
            for name, value in (content.items() if isinstance(content, dict) else [])
            if is_state_dict(value)
        ]
        wanted = STATE_DICTS if entry is None else (entry,)
        taken = next((name for name in wanted if name in known), None)
        if taken is None:
            held = ", ".join(map(str, content)) if isinstance(content, dict) else "no dict"
            raise ValueError(
                f"it holds no state dict of tensors under {' or '.join(wanted)}; it holds {held}"
            )
        if len(known) > 1:
            print(
                f"{path}: taking {taken!r} of {', '.join(known)}; "
                "choose another with load_weights(..., entry=NAME).",
                file=sys.stderr,
            )
        tensors = content[taken]
    return RawFile(
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        lambda name: tensors[name].detach().float().numpy(),
    )


STATE_DICTS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")


def _harmless() -> list:
    """Return harmless classes that training scripts save with their tensors."""
    scalars = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [argparse.Namespace, np.dtype, np.float64(0).__reduce__()[0], *scalars]


def checkpoint_prefix(path: Path, source: Path | None = None) -> str:
    """Return the prefix of a TensorFlow checkpoint, given the prefix, its index or its folder.

    Raises:
        ValueError: If a folder holds no checkpoint or several. The message names `source`, or
            `path` by default.
    """
    if path.is_dir():
        prefixes = sorted(p.with_suffix("") for p in path.rglob("*.index"))
        prefixes = prefixes or sorted(path.rglob("*.ckpt"))
        if len(prefixes) != 1:
            listed = "".join(f" {prefix.name}" for prefix in prefixes[:5])
            raise ValueError(
                f"{source or path} holds {len(prefixes)} TensorFlow checkpoints"
                f"{':' * bool(listed)}{listed}. Name the prefix of one."
            )
        return str(prefixes[0])
    return str(path).removesuffix(".index")


def open_tensorflow(prefix: str) -> RawFile:
    """Open a TensorFlow checkpoint of version 1 or 2, whose variables are read one at a time."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    return RawFile({name: tuple(shape) for name, shape in shapes.items()}, reader.get_tensor)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[RawFile]:
    """Open a weight or model file of Keras 2, with its datasets named `group/variable`."""
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


# The .weights.h5 of Keras 3 numbers layers by class, so it is read through a twin model. The
# shapes tell how to build the twin, and whether the file holds more tensors than it.


def keras_weights_shapes(path: Path) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the tensors in a `.weights.h5`, in the model's order, by layer class."""
    import h5py

    shapes: dict[str, list[tuple[int, ...]]] = {}
    with errors_name(path), h5py.File(path, "r") as file:
        for _, kind, name in sorted(map(_numbered, file["layers"])):
            tensors = file["layers"][name].get("vars", {})
            for index in sorted(tensors, key=int):
                shapes.setdefault(kind, []).append(tuple(tensors[index].shape))
    return shapes


def _numbered(name: str) -> tuple[int, str, str]:
    """Return number, class and name of a layer's group; the first has no suffix, so 0."""
    kind, _, number = name.rpartition("_")
    return (int(number), kind, name) if number.isdigit() else (0, name, name)
