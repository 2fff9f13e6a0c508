"""Inference and training on a GPU in bfloat16: Keras on JAX and PyTorch beside timm."""

import subprocess
from pathlib import Path

from benchmarks.networks import predict_keras, predict_timm, train_keras, train_timm
from benchmarks.report import Findings, Row, Table, speed_rows
from benchmarks.workers import Contender, interleaved, started

SIZE, BATCHES, ROUNDS = 299, (64, 256), 10
BACKENDS = {"JAX": "jax", "PyTorch": "torch"}


def contenders(build_keras, build_timm) -> list[Contender]:
    keras = {"network": "InceptionV4", "precision": "bfloat16"}
    timm = {"precision": "bfloat16", "channels_last": True, "device": "cuda"}
    return [
        *(
            Contender(f"InceptionV4 on {name}", build_keras, keras, {"KERAS_BACKEND": backend,
                      "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, on_gpu=True)
            for name, backend in BACKENDS.items()
        ),
        Contender("timm, channels last", build_timm, timm, on_gpu=True),
        Contender("timm, channels last, compiled", build_timm, {**timm, "compiled": True},
                  on_gpu=True),
    ]  # fmt: skip


def measure(run: Path) -> Findings:
    """A table for inference and training and each batch; `run` is not needed."""
    tables = []
    for title, *builds in (
        ("Inference", predict_keras, predict_timm),
        ("A step of Adam", train_keras, train_timm),
    ):
        chosen = contenders(*builds)
        for batch in BATCHES:
            name = f"{title}, bfloat16, {SIZE} x {SIZE}, batch {batch}"
            if not _has_gpu():
                rows = [Row(contender.name, note="there is no GPU") for contender in chosen]
            else:
                rows = _rows(chosen, batch)
            tables.append(Table(name, "images/s", "timm, channels last", rows))
    return Findings(tables, [])


def _has_gpu() -> bool:
    try:
        return subprocess.run(["nvidia-smi"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _rows(chosen: list[Contender], batch: int) -> list[Row]:
    with started(chosen) as (workers, reasons):
        seconds, refused = interleaved(workers, ROUNDS, batch=batch, size=SIZE)
    return speed_rows(seconds, {**reasons, **refused}, batch, "timm, channels last")
