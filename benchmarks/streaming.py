"""Embedding any number of files to Parquet: its memory, and one picture through an artefact."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread, require_complete

FEW, MANY, ROUNDS = 2_000, 20_000, 3
PEAK = """
import resource, sys
from keras_inception_v4.inference.embedding import stream_embeddings
done = stream_embeddings(sys.argv[1], sys.argv[2], sys.argv[3], batch_size=32, part=1000, verbose=0)
print(done.answered, done.left_out, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
ONE = """
import sys
from keras_inception_v4.cli import main
sys.exit(main(["predict", "--model", sys.argv[1], sys.argv[2]]))
"""


def peak(run: Path, count: int, folder: Path) -> int:
    """Peak resident bytes of a process that embeds so many small pictures."""
    import numpy as np
    from PIL import Image

    pictures = folder / f"{count}"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 255, (80, 80), "uint8")).save(pictures / f"{index:05}.jpg")
    for index in range(0, count, count // 20):
        (pictures / f"{index:05}.jpg").write_bytes(b"no picture")
    out = folder / f"{count}.out"
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(run), str(pictures), str(out)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    answered, left_out, bytes_ = map(int, done.stdout.split()[-3:])
    assert (answered, left_out) == (count - 20, 20)
    return bytes_


def seconds(model: Path, picture: Path) -> float:
    """Of the command on one picture, in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-c", ONE, str(model), str(picture)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def measure(run: Path) -> Findings:
    """Two tables."""
    import keras

    from keras_inception_v4 import export_model

    require_complete(run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = (peak(run, count, folder) for count in (FEW, MANY))
        artefact = folder / "network.onnx"
        export_model(
            keras.saving.load_model(run / "model.keras"), artefact, format="onnx", verbose=0
        )
        picture = next((run / "examples").iterdir())
        turns = [(seconds(artefact, picture), seconds(run, picture)) for _ in range(ROUNDS)]
    memory = [
        Row(f"{count:,} files", Spread.of([peak_ / 1e6])) for count, peak_ in
        ((FEW, few), (MANY, many))
    ]  # fmt: skip
    ours, keras_ = zip(*turns, strict=True)
    once = [Row("an ONNX artefact", Spread.of(ours)), Row("model.keras", Spread.of(keras_))]
    ratio = Spread.of([a / b for a, b in turns])
    return Findings(
        [
            Table("Embedding small files to Parquet", "MB at the peak", "", memory),
            Table("predict on one picture, from the command line", "seconds", "", once),
        ],
        [
            Claim("peak of 20,000 files / of 2,000", Spread.of([many / few]), 1.1, at_most=True),
            Claim("one picture: an ONNX artefact / model.keras", ratio, 0.25, at_most=True),
            Claim("one picture by an ONNX artefact, seconds", Spread.of(ours), 2.5, at_most=True),
        ],
    )
