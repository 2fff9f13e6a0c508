"""Readers of checkpoints of this network, with the tensors under the names of this package.

Formats are recognised by content.
"""

import contextlib
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inception_v4.weights import names
from keras_inception_v4.weights.raw import (
    RawFile,
    checkpoint_prefix,
    errors_name,
    extract,
    open_hdf5,
    open_pickle,
    open_safetensors,
    open_shards,
    open_tensorflow,
)

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends a TensorFlow index or a V1 checkpoint


class Checkpoint(NamedTuple):
    """Tensors of one file in the layout of Keras, read one at a time.

    `shapes` maps names of tensors to shapes. Tensors that are not of this network keep their
    names in the file.
    """

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


class Source(NamedTuple):
    """An opened file or checkpoint.

    `kind` is the format, as `sniff` returns it. `named` takes a variant of the network and returns
    the tensors under the names of that variant.
    """

    kind: str
    named: Callable[[str], Checkpoint]


@contextlib.contextmanager
def open_source(path: Path, entry: str | None = None) -> Iterator[Source]:
    """Open a source of weights for any number of reads.

    For `.keras` and `.weights.h5` files the source only tells the format, since reading them
    needs a model.

    Args:
        path: File, prefix of a TensorFlow checkpoint, or folder with a checkpoint or shards.
        entry: Name of the state dict in a PyTorch pickle, as in `load_weights`.

    Yields:
        The source. It reads lazily, so use it inside the `with` block.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If the format is not supported, the file cannot be read, or `entry` is given
            for another format than a PyTorch pickle.
        ImportError: If the source is a PyTorch pickle and PyTorch is not installed.
    """
    kind = sniff(path)
    if entry is not None and kind != "pickle":
        raise ValueError(f"Received entry={entry!r} for {path}. Only PyTorch pickles have entries.")
    if kind in ("keras", "keras_weights"):
        yield Source(kind, _of_keras)
        return
    with contextlib.ExitStack() as stack:
        inside = path
        if kind == "archive":
            inside = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            extract(path, str(inside))
        if kind in ("slim", "archive"):
            prefix = checkpoint_prefix(inside, path)
        named: Callable[[RawFile, str], Checkpoint] = _timm
        with errors_name(path):  # names the archive, not the temporary folder
            if kind == "safetensors":
                raw = _unwrapped(path, stack.enter_context(open_safetensors(path)))
            elif kind == "shards":
                raw = _unwrapped(path, stack.enter_context(open_shards(_index(path) or path)))
            elif kind == "pickle":
                raw = _unwrapped(path, open_pickle(path, entry))
            elif kind in ("slim", "archive"):
                raw, named = open_tensorflow(prefix), _slim
            else:
                raw, named = stack.enter_context(open_hdf5(path)), _keras2

        def under_names_of(variant: str) -> Checkpoint:
            with errors_name(path):
                checkpoint = named(raw, variant)
            return checkpoint._replace(read=_guarded(checkpoint.read, path))

        yield Source(kind, under_names_of)


def _of_keras(variant: str) -> Checkpoint:
    raise ValueError("it is a Keras file, which needs a model to be read")


def exists(path: Path) -> bool:
    """Return whether `path` is a file, a folder or the prefix of a TensorFlow checkpoint."""
    return path.exists() or path.with_name(f"{path.name}.index").is_file()


def sniff(path: Path) -> str:
    """Return the format of a file, folder or checkpoint, recognised by its content.

    Returns:
        `"safetensors"`, `"shards"` (of `.safetensors`), `"pickle"` (PyTorch), `"slim"`
        (TensorFlow), `"archive"`, `"keras2"`, `"keras"` (a `.keras` file) or `"keras_weights"` (a
        `.weights.h5`).

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If the format is none of these.
    """
    if not exists(path):
        raise FileNotFoundError(f"There is no weight file, checkpoint prefix or folder {path}.")
    if not path.is_file():
        return "shards" if _index(path) else "slim"
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(max(0, path.stat().st_size - 8))
        tail = file.read()
    if head.startswith(HDF5_MAGIC):
        return _sniff_hdf5(path)
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(path)
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or tarfile.is_tarfile(path):
        return "archive"
    if tail == TABLE_MAGIC:
        return "slim"
    if head.startswith(b"version https:") and b"git-lfs" in path.read_bytes()[:200]:
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file itself. Fetch the file with `git lfs pull`."
        )
    if head.lstrip().startswith(b"{") and path.suffix == ".json":
        return "shards"
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"\x80\x02"):  # PyTorch before 1.6, such as Cadene's file of 2018
        return "pickle"
    raise ValueError(
        f"{path} is empty, damaged or not in a supported format. Supported are .safetensors, .pth "
        "and .bin of timm and Cadene; a TF-slim checkpoint (prefix, folder or .tar.gz); .h5 of "
        "Keras 2; .weights.h5 and .keras."
    )


def _index(folder: Path) -> Path | None:
    """Return the index of `.safetensors` shards in a folder, or `None` if there is none."""
    return next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)


def _sniff_hdf5(path: Path) -> str:
    import h5py

    with errors_name(path), h5py.File(path, "r") as file:
        return "keras_weights" if "layers" in file else "keras2"


def _sniff_zip(path: Path) -> str:
    with errors_name(path), zipfile.ZipFile(path) as archive:
        return "keras" if "config.json" in archive.namelist() else "pickle"


def _guarded(read, path):
    def guarded(name):
        with errors_name(path):
            return read(name)

    return guarded


# timm and Cadene: kernels are OIHW, and batch norm has a scale that the Keras layers lack.


PREFIXES = ("module.", "model.", "_orig_mod.")  # PyTorch wrappers put these before all names


def _unwrapped(path: Path, raw: RawFile) -> RawFile:
    """Return the tensors under names without the wrapper prefixes that all of them share."""
    prefix = ""
    while raw.shapes and (
        more := next(
            (p for p in PREFIXES if all(name.startswith(prefix + p) for name in raw.shapes)), None
        )
    ):
        prefix += more
    if not prefix:
        return raw
    print(f"{path}: the names are read without their prefix {prefix!r}.", file=sys.stderr)
    return RawFile(
        {name.removeprefix(prefix): shape for name, shape in raw.shapes.items()},
        lambda name: raw.read(prefix + name),
    )


def _timm(raw: RawFile, variant: str) -> Checkpoint:
    table = {ours: name for ours, name in names.timm_names(variant).items() if name in raw.shapes}

    def scale(ours):
        """Return the batch-norm scale of a kernel or moving mean, or `None` if there is none."""
        unit = ours.rsplit("/", 1)[0].removesuffix("_conv").removesuffix("_bn")
        beta = table.get(f"{unit}_bn/beta", "")
        name = beta.removesuffix("bias") + "weight"
        return raw.read(name) if name in raw.shapes else None

    def read(ours):
        tensor = raw.read(table.get(ours, ours))
        if tensor.ndim == 4:
            tensor = tensor.transpose(2, 3, 1, 0)  # OIHW to HWIO
        elif tensor.ndim == 2:
            tensor = tensor.T
        if ours.endswith(("_conv/kernel", "moving_mean")):
            factor = scale(ours)
            if factor is not None and not np.all(factor == 1):
                tensor = tensor * factor  # exact, since the layer before the scale is linear
        return tensor

    known = set(table.values())
    shapes = {ours: _keras_shape(raw.shapes[name]) for ours, name in table.items()}
    for name, shape in raw.shapes.items():
        scales = name.endswith("bn.weight") and name.removesuffix("weight") + "bias" in known
        if name not in known and not scales and not name.endswith("num_batches_tracked"):
            shapes[name] = shape
    return Checkpoint(shapes, read)


def _keras_shape(shape):
    """Return the shape of a PyTorch tensor in the layout of Keras."""
    if len(shape) == 4:
        return (shape[2], shape[3], shape[1], shape[0])
    return tuple(reversed(shape))


# TF-slim: the layout of Keras under other names.


TRAINING_ONLY = re.compile(r"(^|/)(global_step|beta[12]_power)$")


def _slim(raw: RawFile, variant: str) -> Checkpoint:
    every = names.slim_names(variant) | names.slim_auxiliary_names()
    table = {ours: name for ours, name in every.items() if name in raw.shapes}
    shapes = {ours: raw.shapes[name] for ours, name in table.items()}
    known = set(table.values())
    for name, shape in raw.shapes.items():
        slot = name.rsplit("/", 1)[0] in raw.shapes  # of an optimizer or a moving average
        if name not in known and not slot and not TRAINING_ONLY.search(name):
            shapes[name] = shape
    return Checkpoint(shapes, lambda ours: raw.read(table.get(ours, ours)))


# Keras 2: automatically numbered groups, matched to the table by order.


NUMBERED = re.compile(r"(conv2d|batch_normalization|dense)(?:_(\d+))?$")


def _keras2(raw: RawFile, variant: str) -> Checkpoint:
    renumbered = _renumbered({name.split("/")[0] for name in raw.shapes})
    ours_of = {name: ours for ours, name in names.keras2_names(variant).items()}
    table = {}
    for name in raw.shapes:
        group, variable = name.split("/")
        by_number = f"{renumbered.get(group, group)}/{variable}"
        table[ours_of.get(by_number, name)] = name
    return Checkpoint(
        {ours: raw.shapes[name] for ours, name in table.items()},
        lambda ours: raw.read(table[ours]),
    )


def _renumbered(groups: set[str]) -> dict[str, str]:
    """Return new names of the groups, counted from 0 by their old numbers (0 if without one)."""
    numbered: dict[str, list[tuple[int, str]]] = {}
    for group in groups:
        if match := NUMBERED.match(group):
            numbered.setdefault(match[1], []).append((int(match[2] or 0), group))
    return {
        group: f"{kind}_{index}"
        for kind, members in numbered.items()
        for index, (_, group) in enumerate(sorted(members))
    }
