"""Speed of the input pipeline for random crops from JPEG files, compared with training."""

import tempfile
from pathlib import Path

from benchmarks.embedding import write_photographs
from benchmarks.networks import train_keras
from benchmarks.report import Claim, Findings, Table, speed_rows
from benchmarks.workers import Contender, interleaved, ratio, started

FILES, BATCH, SIZE, ROUNDS = 256, 8, 299, 5
PIPELINE = "random crops from files"
BACKENDS = {"TensorFlow": "tensorflow", "JAX": "jax"}


def crops_from_files(folder: str):
    import numpy as np

    from keras_inception_v4.data.pipeline import batched
    from keras_inception_v4.data.sources import ImageFiles, RandomCrops

    paths = sorted(Path(folder).glob("*.jpg"))

    def prepare(batch: int, size: int):
        files = ImageFiles(paths, np.zeros(len(paths), "int64"), (size, size), 1.0)
        crops = RandomCrops(files, (size, size), "photographs")
        batches, turn = batched(crops, batch, seed=0, last="dropped"), 0

        def run():
            nonlocal turn
            turn += 1
            return batches[turn]

        return run

    return prepare


def measure(run: Path) -> Findings:
    """Images a second of both; `run` is not needed."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(folder, FILES)
        contenders = [Contender(PIPELINE, crops_from_files, {"folder": folder})]
        contenders += [
            Contender(
                f"training on {name}, {precision}",
                train_keras,
                {"network": "InceptionV4", "precision": precision},
                {"KERAS_BACKEND": backend},
            )
            for name, backend in BACKENDS.items()
            for precision in ("float32", "bfloat16")
        ]
        with started(contenders) as (workers, reasons):
            seconds, refused = interleaved(workers, ROUNDS, batch=BATCH, size=SIZE)
    fastest = min((n for n in seconds if n != PIPELINE), key=lambda name: sum(seconds[name]))
    rows = speed_rows(seconds, {**reasons, **refused}, BATCH, PIPELINE)
    return Findings(
        [Table(f"JPEG files of 500 x 400 to {SIZE} x {SIZE}", "images/s", PIPELINE, rows)],
        [Claim("the pipeline alone / the fastest training", ratio(seconds, PIPELINE, fastest), 5)],
    )
