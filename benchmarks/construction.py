"""Importing, building, and loading cached weights, beside the other networks of Keras."""

import dataclasses
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.networks import build_keras, load_cached
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import (
    Contender,
    Spread,
    interleaved,
    output_of,
    ratio,
    started,
)

ROUNDS, IMPORTS = 9, 5
MODULES = {
    "keras_inception_v4": "import keras_inception_v4",
    "keras_inception_v4, InceptionV4": "from keras_inception_v4 import InceptionV4",
    "keras": "import keras",
    "zeromodels, InceptionV4": "from zeromodels.models.inceptionv4 import InceptionV4ImageClassify",
    "timm": "import torchvision_stub, timm",
}
PEAK = "\nfrom benchmarks.workers import peak_of_this_process; print(peak_of_this_process())"


def write_weights(path: Path) -> None:
    """A file of the released layout and size; the values do not matter here."""
    import numpy as np
    from safetensors.numpy import save_file

    from keras_inception_v4.architecture import convolutions
    from keras_inception_v4.weights.names import timm_names

    rng = np.random.default_rng(0)
    names, state = timm_names(), {}
    for unit in convolutions():
        op = unit.op
        shape = (op.filters, unit.channels, op.height, op.width)
        state[names[f"{unit.name}_conv/kernel"]] = 0.05 * rng.standard_normal(shape, "float32")
        for variable in ("beta", "moving_mean", "moving_variance"):
            state[names[f"{unit.name}_bn/{variable}"]] = np.ones(op.filters, "float32")
    state["last_linear.weight"] = np.zeros((1000, 1536), "float32")
    state["last_linear.bias"] = np.zeros(1000, "float32")
    save_file(state, path)


def use_as_imagenet(path: Path) -> None:
    """Makes `weights="imagenet"` mean this file, hash check included."""
    from keras_inception_v4.weights.imagenet import FETCHERS, IMAGENET, check_hash

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    record = dataclasses.replace(IMAGENET, sha256=digest.hexdigest())

    def cached():
        check_hash(path, record)
        return path

    FETCHERS["imagenet"] = cached


def measure(run: Path) -> Findings:
    """Three tables; `run` is not needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_weights(path)
        building, claims = _building(path)
        added = _memory(path)
    memory = Claim("peak memory added by the weights / the file", added, 1.5, at_most=True)
    return Findings([_importing(), building], [*claims, memory])


def _building(path: Path) -> tuple[Table, list[Claim]]:
    ours, cached = "InceptionV4", "InceptionV4 with cached weights"
    peers = ("InceptionV3", "InceptionResNetV2", "zeromodels")
    contenders = [
        Contender(ours, build_keras, {"network": ours}),
        Contender(cached, load_cached, {"path": str(path)}),
        *(Contender(name, build_keras, {"network": name}) for name in peers),
    ]
    with started(contenders) as (workers, reasons):
        seconds, _ = interleaved(workers, ROUNDS)
    rows = [
        Row(name, Spread.of(taken), ratio(seconds, name, ours)) for name, taken in seconds.items()
    ]
    rows += [Row(name, note=reason) for name, reason in reasons.items()]
    claims = []
    for text, a, b, wanted in (
        ("build: InceptionV4 / InceptionResNetV2", ours, "InceptionResNetV2", 0.75),
        ("build: InceptionV4 / zeromodels", ours, "zeromodels", 1),
        ("with cached weights / without", cached, ours, 1.5),
    ):
        if a in seconds and b in seconds:
            claims.append(Claim(text, ratio(seconds, b, a), wanted, at_most=True))
    return Table("Building at 299 x 299", "s", ours, rows, "construction"), claims


def _importing() -> Table:
    seconds: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(IMPORTS):
        for name, code in MODULES.items():
            begun = time.perf_counter()
            if subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0:
                seconds[name].append(time.perf_counter() - begun)
    rows = [
        Row(name, Spread.of(taken), ratio(seconds, name, "keras"))
        if taken
        else Row(name, note="it cannot be imported")
        for name, taken in seconds.items()
    ]
    return Table("A process that only imports", "s", "keras", rows)


def _memory(path: Path) -> Spread:
    """What the weights add to the peak of a process, in sizes of their file."""
    build = "from keras_inception_v4 import InceptionV4; InceptionV4(weights=None)"
    load = (
        "from pathlib import Path\n"
        "from benchmarks.construction import use_as_imagenet\n"
        f"use_as_imagenet(Path({str(path)!r}))\n"
        "from keras_inception_v4 import InceptionV4; InceptionV4()"
    )
    added = [int(output_of(load + PEAK)) - int(output_of(build + PEAK)) for _ in range(3)]
    return Spread.of([bytes / path.stat().st_size for bytes in added])
