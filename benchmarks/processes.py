"""The cost of sharing a batch: two devices or two processes compared with one, on one machine.

    python -m benchmarks.processes COORDINATOR PROCESSES PROCESS_ID

This runs one of the processes. It takes one step for each line on its standard input.
"""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks.report import Findings, Table, speed_rows
from benchmarks.workers import Contender, NotMeasuredError, interleaved, started

BATCH, SIZE, ROUNDS = 16, 139, 7
ONE = "one process"


def free_address() -> str:
    """`HOST:PORT` of this machine for processes to meet at."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def jax_environment(devices: int) -> dict[str, str]:
    """Environment of a JAX process that sees this machine's processor as so many devices."""
    return {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }


def group(processes: int, devices: int = 1):
    """All processes of a training; a run is a step of all of them."""
    coordinator, environment = free_address(), jax_environment(devices)
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", coordinator, str(processes), str(i)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        for i in range(processes)
    ]  # fmt: skip

    def tell(word: str):
        for child in children:
            with suppress(BrokenPipeError):  # one that has ended answers below
                child.stdin.write(f"{word}\n")
        # Libraries print too.
        if any("done\n" not in iter(child.stdout.readline, "") for child in children):
            for child in children:
                child.kill()
            raise NotMeasuredError("one of its processes ended")

    def prepare(batch: int, size: int):
        tell(f"{batch} {size}")
        return lambda: tell("step")

    return prepare


def main(coordinator: str, processes: int, process_id: int) -> None:
    """One process of a group."""
    import keras
    import numpy as np

    from keras_inception_v4.training import devices
    from keras_inception_v4.training.recipes import RECIPES, Schedule
    from keras_inception_v4.training.scratch import scratch_model

    devices.join(coordinator if processes > 1 else None, processes, process_id)
    keras.utils.set_random_seed(0)  # the same weights in all of them
    batch, size = map(int, input().split())
    with devices.all_devices():
        model = scratch_model(10, size)
        optimizer = RECIPES["paper"].optimizer(Schedule(1, 100, batch))
        model.compile(optimizer, "sparse_categorical_crossentropy")
        part, parts = devices.part()
        rng = np.random.default_rng(0)
        images = rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
        own = slice(part * batch // parts, (part + 1) * batch // parts)
        print("done", flush=True)
        for _ in sys.stdin:
            model.train_on_batch(images[own], (np.arange(batch) % 10)[own])
            print("done", flush=True)


def measure(run: Path) -> Findings:
    """Images a second of each; `run` is not needed."""
    contenders = [
        Contender(ONE, group, {"processes": 1}),
        Contender("one process with two devices", group, {"processes": 1, "devices": 2}),
        Contender("two processes", group, {"processes": 2}),
    ]
    with started(contenders) as (workers, reasons):
        seconds, refused = interleaved(workers, ROUNDS, batch=BATCH, size=SIZE)
    rows = speed_rows(seconds, {**reasons, **refused}, BATCH, ONE)
    title = f"A step on JAX, float32, {SIZE} x {SIZE}, {BATCH} images of all together"
    remark = (
        "One process has the arithmetic of every core at its disposal already, so on one machine "
        "without other devices sharing a batch gains nothing: the ratio is what the exchange of "
        "gradients and of batch norm's statistics costs."
    )
    return Findings([Table(title, "images/s", ONE, rows)], [], [remark])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
