"""Export as a web page of static files that runs the model and loads nothing from elsewhere.

npm fetches the runtime, `onnxruntime-web`, once from its registry; version and hash are fixed. The
runtime is not part of this package, because its 14 MB would burden users who never write a page.
The page does not load it from another server, because then code that the owner does not serve
could see the pictures.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from importlib import resources
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.architecture import GRIDS
from keras_inception_v4.artefacts import PAGE, PARTS
from keras_inception_v4.errors import in_one_line
from keras_inception_v4.explain import LAST, endpoint_as_drawn
from keras_inception_v4.files import replacing
from keras_inception_v4.inspection import image_size, pool_and_dense

RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""SHA-512 of the package in base64, as npm gives it."""
BINARY = "ort-wasm-simd-threaded.wasm"
SCRIPTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs")
PART = 24_000_000  # bytes of a part at most; static hosts accept files of 25 MB
FETCHING = 600  # time limit in seconds


def runtime_package() -> Path:
    """Return the path of the runtime's package; npm fetches it if it is not there yet.

    Raises:
        OSError: If npm is missing or cannot fetch it; the message says where to put the file.
        ValueError: If the file has another hash.
    """
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras_inception_v4"
    path = home / f"{RUNTIME}-{VERSION}.tgz"
    if not path.exists():
        with replacing(path) as new, tempfile.TemporaryDirectory() as folder:
            _fetch(Path(folder), path)
            shutil.copyfile(Path(folder) / path.name, new)
            _check(new)
    _check(path)
    return path


def _fetch(folder: Path, path: Path) -> None:
    by_hand = f"Get {path.name} (npm pack {RUNTIME}@{VERSION}) and put it into {path.parent}."
    npm = shutil.which("npm")
    if npm is None:
        raise OSError(f"The page's runtime is fetched by npm, which is not installed. {by_hand}")
    command = [npm, "pack", "--silent", f"{RUNTIME}@{VERSION}"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=FETCHING
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"npm did not fetch the page's runtime in {FETCHING} s. {by_hand}") from None
    if done.returncode or not (folder / path.name).exists():
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise OSError(f"npm did not fetch the page's runtime; it says: {said[0]}. {by_hand}")


def _check(path: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise ValueError(
            f"{path} is not {RUNTIME} {VERSION}: its SHA-512 differs. Remove it, and rerun to "
            "fetch it again."
        )


def with_map(model: keras.Model) -> tuple[keras.Model, bool]:
    """Add the class activation maps of all classes as a second output, if the head allows it.

    Args:
        model: Classifier.

    Returns:
        A model with outputs probabilities and maps `(batch, h, w, classes)`, and True. If the head
        is not average pooling and one dense layer: the given model, and False.
    """
    try:
        pool, dense = pool_and_dense(model)
    except ValueError:
        return model, False
    cells = keras.layers.Dense(
        dense.units, use_bias=False, dtype="float32", name="class_activation_map"
    )
    maps = cells(pool.input)
    cells.set_weights([np.asarray(dense.get_weights()[0], "float32")])
    (inputs,) = model.inputs
    return keras.Model(inputs, [model.output, maps], name=model.name), True


def cells_of(model: keras.Model) -> tuple[int, int] | None:
    """Return the grid of a model's map from `GRIDS`, or `None` if the map has another grid.

    Args:
        model: Model with maps, from `with_map`.
    """
    size = image_size(model)
    _, shape = model.compute_output_shape((1, *size, model.input_shape[-1]))
    return GRIDS[LAST] if endpoint_as_drawn(model, LAST, tuple(shape[1:3]), size) else None


def write_page(
    folder: Path, network: Path, has_map: bool, cells: tuple[int, int] | None = None
) -> None:
    """Write the files of a page: its code, the runtime and the network split into parts.

    Args:
        folder: Folder of the page. Its description is not written here.
        network: ONNX file; it is removed.
        has_map: Whether the network's second output is the maps.
        cells: Grid of the maps, from `cells_of`. Without it maps are stretched over the picture.

    Raises:
        OSError: As in `runtime_package`, or if a file cannot be written.
        ValueError: As in `runtime_package`, or if the runtime's package is damaged.
    """
    for page in (resources.files(__package__) / "page").iterdir():
        (folder / page.name).write_bytes(page.read_bytes())
    try:
        with tarfile.open(runtime_package()) as package:
            for name in (*SCRIPTS, BINARY):
                found = package.extractfile(f"package/dist/{name}")
                assert found is not None, name
                (folder / name).write_bytes(found.read())
    except (tarfile.TarError, KeyError) as error:
        raise ValueError(f"The page's runtime is damaged ({in_one_line(error)}).") from error
    content = io.BytesIO(network.read_bytes())
    parts: list[dict] = []
    while part := content.read(PART):
        parts.append(_written(folder / f"{PARTS}.{len(parts):02}", part))
    network.unlink()
    runtime = _written(folder / BINARY, (folder / BINARY).read_bytes())
    told = {"parts": parts, "runtime": runtime, "map": has_map, "cells": cells}
    (folder / PAGE).write_text(json.dumps(told), encoding="utf-8")


def _written(path: Path, content: bytes) -> dict:
    path.write_bytes(content)
    return {"name": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
