"""Whether two devices and two processes train as one does: the whole network, twenty steps.

The paper's recipe on digits, in float32, with both heads, at 107 x 107, from the weights of the
README's first command (see `continued`). An epoch is a step, so that the history is the loss curve.

What rounding makes of a sum in another order grows with every step, and fastest from random
weights: there, at 299 x 299 with a batch of 8 and the same pace, the losses of two devices were at
most 5e-5 and 1.3e-4 from those of one on two sets of photographs (2026-11-26, two cores of an AMD
EPYC); with a thousand steps an epoch they part within five steps. An input changed by a millionth
does the same on one device.
"""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks.processes import free_address, jax_environment
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import NotMeasuredError, Spread, require_complete

BATCH, SIZE, STEPS = 16, 107, 20
ONE = "one device"
# Processes, and devices of each.
KINDS = {ONE: (1, 1), "two devices of one process": (1, 2), "two processes": (2, 1)}


def train_run(start: Path, folder: Path, processes: int, devices: int) -> dict:
    """What so many processes with so many devices come to, from the weights of `start`."""
    command = [
        sys.executable, "-m", "benchmarks.continued", "train", "digits", "--weights", "none",
        "--recipe", "paper", "--image-size", str(SIZE), "--batch-size", str(BATCH), "--epochs",
        str(STEPS), "--precision", "float32", "--output", str(folder / "run"),
    ]  # fmt: skip
    if processes > 1:
        command += ["--coordinator", free_address(), "--processes", str(processes)]
    state = folder / "state.npz"
    environment = {
        **jax_environment(devices), "START": os.fspath(start), "STATE": os.fspath(state),
    }  # fmt: skip
    printed = [folder / f"{index}.txt" for index in range(processes)]
    children = []
    for index, path in enumerate(printed):
        with path.open("w") as file:
            children.append(
                subprocess.Popen(
                    [*command, "--process-id", str(index)], env=environment, stdout=file,
                    stderr=file,
                )
            )  # fmt: skip
    ends = [child.wait() for child in children]
    said = [path.read_text() for path in printed]
    if any(ends):
        raise RuntimeError(f"{ends}: " + "\n".join(text[-2000:] for text in said))
    shared = f"{BATCH} images a step, on {processes * devices} devices of {processes} processes."
    if processes * devices > 1 and shared not in said[0]:
        raise RuntimeError(f"It did not say {shared!r}: {said[0][-2000:]}")
    import numpy as np

    with np.load(state) as file:
        return dict(file)


def measure(run: Path) -> Findings:
    """How far losses, gradients and batch norm's statistics are from those of one device."""
    import numpy as np

    require_complete(run)
    if find_spec("jax") is None:
        raise NotMeasuredError("JAX cannot be imported")
    found = {}
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = train_run(run, Path(folder), *kind)
    one = found[ONE]
    before = moving_statistics(run)
    rows, claims = [], []
    for name, state in found.items():
        assert len(state["loss"]) == STEPS
        rows.append(Row(name, Spread.of(state["loss"].tolist())))
        if name == ONE:
            continue

        def claim(text, values, wanted, name=name):
            values = np.asarray(values, "float64")  # its largest is NaN if any is
            spread = Spread(*map(float, (values.max(), values.min(), values.max())))
            claims.append(Claim(f"{name} beside one device: {text}", spread, wanted, at_most=True))

        losses = np.abs(state["loss"] / one["loss"] - 1)
        claim(f"relative difference of the loss, of {STEPS} steps the largest", losses, 1e-4)
        text = f"relative difference of the change of a batch norm statistic, of {len(before)}"
        changes = [relative(state[key] - old, one[key] - old) for key, old in before.items()]
        claim(f"{text} the largest", changes, 1e-3)
        momentum = relative(state["momentum"], one["momentum"])
        claim("relative difference of the momentum of all weights, in norm", [momentum], 1e-2)
    title = (
        f"{STEPS} steps of the paper's recipe at ImageNet's pace on JAX, from trained weights, "
        f"{SIZE} x {SIZE}, batch {BATCH}"
    )
    unit = "loss, the median, least and largest of the steps"
    return Findings([Table(title, unit, "", rows)], claims)


def moving_statistics(run: Path) -> dict:
    """What batch norm knew of the images before."""
    import keras

    model = keras.saving.load_model(run / "model.keras", compile=False)
    return {
        variable.path: keras.ops.convert_to_numpy(variable)
        for variable in model.non_trainable_variables
        if "/moving_" in variable.path
    }


def relative(value, reference) -> float:
    """Difference of two arrays, relative to the second, in norm."""
    import numpy as np

    difference = value.astype("float64") - reference
    return float(np.linalg.norm(difference) / np.linalg.norm(reference.astype("float64")))
