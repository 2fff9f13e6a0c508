"""Whether two devices and two processes train as one does: the whole network, twenty steps.

The paper's recipe on digits, in float32, with both heads, at 107 x 107, from the weights of the
README's first command (see `continued`). An epoch is a step, so that the history is the loss curve.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import free_address, jax_environment
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import NotMeasuredError, Spread, require_complete

BATCH, SIZE, STEPS = 16, 107, 20
ONE = "one device"
KINDS = {ONE: (1, 1), "two devices of one process": (1, 2), "two processes": (2, 1)}
REMARK = (
    "What rounding makes of a sum in another order grows with every step, and fastest from random "
    "weights: there, at 299 x 299 with a batch of 8 and the same pace, two devices were 5e-05 and "
    "1.3e-04 from one on two sets of photographs, and with a thousand steps an epoch they part "
    "within five steps. An input changed by a millionth does the same on one device."
)


def trained(start: Path, run: Path, processes: int, devices: int) -> None:
    """A run by so many processes with so many devices each, from the weights of `start`."""
    command = [
        sys.executable, "-m", "benchmarks.continued", "train", "digits", "--weights", "none",
        "--recipe", "paper", "--image-size", str(SIZE), "--batch-size", str(BATCH), "--epochs",
        str(STEPS), "--precision", "float32", "--output", run,
    ]  # fmt: skip
    if processes > 1:
        command += ["--coordinator", free_address(), "--processes", str(processes)]
    environment = {**jax_environment(devices), "RUN": os.fspath(start)}
    children = [
        subprocess.Popen(
            [*command, "--process-id", str(index)], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for index in range(processes)
    ]  # fmt: skip
    ends = [child.wait() for child in children]
    if any(ends):
        raise NotMeasuredError(f"its processes ended with {ends}")


def losses(run: Path) -> list[float]:
    """Of every step."""
    with (run / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def moved(run: Path, start: Path) -> dict:
    """By how much the steps have moved what batch norm knows of the images."""
    import keras

    before, after = (
        keras.saving.load_model(folder / "model.keras", compile=False) for folder in (start, run)
    )
    return {
        (layer.name, kind): keras.ops.convert_to_numpy(
            getattr(layer, kind) - getattr(before.get_layer(layer.name), kind)
        )
        for layer in after.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for kind in ("moving_mean", "moving_variance")
    }


def measure(run: Path) -> Findings:
    """How far losses and batch norm's statistics are from those of one device."""
    import numpy as np

    require_complete(run)
    curves, statistics = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, (processes, devices)) in enumerate(KINDS.items()):
            output = Path(folder) / f"{index}"
            trained(run, output, processes, devices)
            curves[name], statistics[name] = losses(output), moved(output, run)
    rows = [
        Row(name, Spread.of(curve), note=f"the last step {curve[-1]:.5f}")
        for name, curve in curves.items()
    ]
    claims = []
    for name in list(KINDS)[1:]:
        apart = max(abs(a / b - 1) for a, b in zip(curves[name], curves[ONE], strict=True))
        norms = [
            np.linalg.norm(statistics[name][key] - one) / np.linalg.norm(one)
            for key, one in statistics[ONE].items()
        ]
        claims += [
            Claim(f"{name}: relative difference of a step's loss, the largest",
                  Spread.of([apart]), 1e-4, at_most=True),
            Claim(f"{name}: the same of batch norm's statistics, the worst of {len(norms)}",
                  Spread.of([float(max(norms))]), 1e-3, at_most=True),
        ]  # fmt: skip
    title = f"{STEPS} steps of the paper's recipe on JAX, {SIZE} x {SIZE}, batch {BATCH}"
    return Findings([Table(title, "loss", "", rows)], claims, [REMARK])
