"""Inference and training on a GPU in bfloat16: Keras on JAX and PyTorch, compared with timm."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.networks import predict_keras, predict_timm, train_keras, train_timm
from benchmarks.report import Findings, Row, Table, speed_rows
from benchmarks.workers import Contender, interleaved, started

SIZE, BATCHES, ROUNDS = 299, (64, 256), 10
BACKENDS = {"JAX": "jax", "PyTorch": "torch"}
REFERENCE = "timm, channels last"
TASKS = {
    "Inference": (predict_keras, predict_timm),
    "A step of Adam": (train_keras, train_timm),
}


def contenders(build_keras: Callable, build_timm: Callable) -> list[Contender]:
    """Those of one task."""
    keras = {"network": "InceptionV4", "precision": "bfloat16"}
    timm = {"precision": "bfloat16", "channels_last": True, "device": "cuda"}
    return [
        *(
            Contender(f"InceptionV4 on {name}", build_keras, keras, {"KERAS_BACKEND": backend,
                      "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4"}, on_gpu=True)
            for name, backend in BACKENDS.items()
        ),
        Contender(REFERENCE, build_timm, timm, on_gpu=True),
        Contender("timm, channels last, compiled", build_timm, {**timm, "compiled": True},
                  on_gpu=True),
    ]  # fmt: skip


def measure(run: Path) -> Findings:
    """A table for inference and training and each batch; `run` is not needed."""
    gpu = _gpu()
    tables = [table for task in TASKS for table in tables_of(task, bool(gpu))]
    return Findings(tables, [], [f"GPU: {gpu}."] if gpu else [])


def tables_of(task: str, on_gpu: bool) -> Iterator[Table]:
    """A table a batch; the processes are started once, and compile at once."""
    chosen = contenders(*TASKS[task])
    with started(chosen if on_gpu else []) as (workers, reasons):
        for batch in BATCHES:
            if on_gpu:
                seconds, refused = interleaved(
                    workers, ROUNDS, prepared_at_once=True, batch=batch, size=SIZE
                )
                rows = speed_rows(seconds, {**reasons, **refused}, batch, REFERENCE)
            else:
                rows = [Row(contender.name, note="there is no GPU") for contender in chosen]
            name = f"{task}, bfloat16, {SIZE} x {SIZE}, batch {batch}"
            yield Table(name, "images/s", REFERENCE, rows)


def _gpu() -> str:
    """Name, memory and driver; empty where there is none."""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
