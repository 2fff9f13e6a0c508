"""Whether two devices and two processes train like one: the whole network, twenty steps.

The paper's recipe on digits, in float32, with both heads, at 107 x 107, from the weights of the
README's first command (see `continued`). An epoch is one step, so the history is the loss curve.

Two controls on one device give the figures a scale:

- The first kernel is scaled by a millionth. Batch norm cancels that, except for its epsilon. So
  this control differs by little more than rounding, and the difference grows with every step.
- The rate is 0, so nothing is learned.

Largest differences of the loss (2026-11-26, two cores of an AMD EPYC):

    steps an epoch    scaled kernel    rate 0
    20,000            2.5e-5           1.6e-3
    8,000             2.3e-4           5.2e-3
    3,000             1.1e-3           1.4e-2

So the pace is 20,000 steps an epoch. At the faster paces, rounding alone exceeds the limit of 1e-4.
At ImageNet's own 80,000, two devices are within 5e-6. But learning should then show a quarter of
1.6e-3, which is less than ten times the limit. From random weights, rounding grows faster still.

The limits of batch norm and momentum check that gradients and statistics are those of the whole
batch, not that the network learns.
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
PACE = 20_000  # steps an epoch, for the rate; ImageNet has 80,000 of sixteen images
WANTED = (1e-4, 1e-3, 1e-2)  # of `differences_from`, at most
ONE = "one device"
FOLLOW = {"two devices of one process": (1, 2), "two processes": (2, 1)}  # processes, devices each
CONTROLS = {
    "one device, the first kernel scaled by a millionth": "rounding",
    "one device, a rate of 0": "no learning",
}


def train_run(start: Path, folder: Path, processes: int, devices: int, control: str = "") -> dict:
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
        "PACE": str(PACE), "CONTROL": control,
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
    kinds = {ONE: (1, 1), **FOLLOW, **{name: (1, 1, what) for name, what in CONTROLS.items()}}
    found = {}
    for name, kind in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = train_run(run, Path(folder), *kind)
    one = found[ONE]
    before = moving_statistics(run)
    rows, claims, remarks = [], [], []
    for name, state in found.items():
        assert len(state["loss"]) == STEPS
        rows.append(Row(name, Spread.of(state["loss"].tolist())))
        if name == ONE:
            continue
        differences = differences_from(one, state, before)
        if name in FOLLOW:
            for (text, values), wanted in zip(differences.items(), WANTED, strict=True):
                text = f"{name} beside one device: {text}"
                claims.append(Claim(text, largest(values), wanted, at_most=True))
            continue
        said = [f"{text} {largest(values).median:.2g}" for text, values in differences.items()]
        remarks.append(f"Control, {name}, beside one device: {'; '.join(said)}.")
        if CONTROLS[name] == "no learning":
            assert np.isfinite(state["loss"]).all()
            assert state["loss"][0] == one["loss"][0]  # nothing is learned before the first step
            losses, *_ = differences.values()
            text = f"{name}, beside one device: difference of the loss over the limit of the others"
            claims.append(Claim(text, Spread.of([largest(losses).median / WANTED[0]]), 10))
    title = (
        f"{STEPS} steps of the paper's recipe on JAX, at a pace of {PACE:,} steps an epoch, from "
        f"trained weights, {SIZE} x {SIZE}, batch {BATCH}"
    )
    unit = "loss, the median, least and largest of the steps"
    return Findings([Table(title, unit, "", rows)], claims, remarks)


def differences_from(one: dict, state: dict, before: dict) -> dict:
    """What of relative differences is measured, and these."""
    import numpy as np

    losses = np.abs(state["loss"] / one["loss"] - 1)
    changes = [relative(state[name] - old, one[name] - old) for name, old in before.items()]
    return {
        f"relative difference of the loss, of {STEPS} steps the largest": losses,
        "relative difference of the change of a batch norm statistic, of "
        f"{len(before)} the largest": changes,
        "relative difference of the momentum of all weights, in norm": [
            relative(state["momentum"], one["momentum"])
        ],
    }


def largest(values) -> Spread:
    """The largest with the least and the largest; NaN if any is."""
    import numpy as np

    values = np.asarray(values, "float64")
    return Spread(*map(float, (values.max(), values.min(), values.max())))


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
