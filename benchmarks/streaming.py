"""Embedding any number of files: speed, memory, kills, and one image through an artefact."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.embedding import BATCH, SIZE, write_photographs
from benchmarks.report import Claim, Findings, Row, Table, speed_rows
from benchmarks.workers import Contender, Spread, interleaved, ratio, require_complete, started

FEW, MANY, PART, BAD, ROUNDS = 2_000, 20_000, 1_000, 0.01, 3
KILLED_AFTER = (3, 9, 15)  # parts
IMAGES = 96
COMMAND = """
import sys
from benchmarks.workers import peak_of_this_process
from keras_inception_v4.inference.embedding import stream_embeddings
done = stream_embeddings(*sys.argv[1:4], batch_size=32, part=int(sys.argv[4]), verbose=0)
print(done.answered, done.left_out, peak_of_this_process())
"""
ONE = """
import sys
from keras_inception_v4.cli import main
sys.exit(main(["predict", "--model", sys.argv[1], sys.argv[2]]))
"""


def small_pictures(folder: Path, count: int) -> Path:
    """So many, of which one in a hundred is none."""
    import numpy as np
    from PIL import Image

    pictures = folder / f"{count}"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 255, (80, 80), "uint8")).save(pictures / f"{index:05}.jpg")
    for index in range(0, count, round(1 / BAD)):
        (pictures / f"{index:05}.jpg").write_bytes(b"no picture")
    return pictures


def begun(run: Path, pictures: Path, out: Path) -> subprocess.Popen:
    words = [sys.executable, "-c", COMMAND, str(run), str(pictures), str(out), str(PART)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def ended(process: subprocess.Popen, count: int) -> int:
    """Peak resident bytes of a process, which has answered all but the bad ones."""
    out, _ = process.communicate()
    answered, left_out, peak = map(int, out.split()[-3:])
    assert (answered, left_out) == (count * (1 - BAD), count * BAD)
    return peak


def killed_thrice(run: Path, pictures: Path, out: Path, undisturbed: Path) -> int:
    """How many rows differ from those of an undisturbed run."""
    from pyarrow import parquet

    for parts in KILLED_AFTER:
        process = begun(run, pictures, out)
        while not (out / f"part-{parts:05}.parquet").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ended(begun(run, pictures, out), MANY)
    different = 0
    for number in range(MANY // PART):
        one, other = (parquet.read_table(folder / f"part-{number:05}.parquet")
                      for folder in (out, undisturbed))  # fmt: skip
        different += 0 if one.equals(other) else PART
    return different


def seconds(model: Path, picture: Path) -> float:
    """Of the command on one picture, in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-c", ONE, str(model), str(picture)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def streamed(folder: str, model: str, precision: str | None = None):
    """Files to Parquet."""
    from keras_inception_v4.inference.answering import Embedder
    from keras_inception_v4.inference.streaming import here, stream

    work = Embedder(model, precision=precision)

    def run():
        with tempfile.TemporaryDirectory() as out:
            stream([folder], {}, here(work), Path(out) / "out", batch_size=BATCH, verbose=0)

    return lambda: run


def on_arrays(folder: str, model: str):
    """The model's own rate, of pixels that are in memory."""
    import numpy as np

    from keras_inception_v4 import load_image, preprocess_input
    from keras_inception_v4.weights.loading import read_model

    network = read_model(model)
    paths = sorted(Path(folder).glob("*.jpg"))
    images = preprocess_input(np.stack([load_image(path) for path in paths]))

    def run():
        for start in range(0, len(images), BATCH):
            network.predict_on_batch(images[start : start + BATCH])

    return lambda: run


def speeds(folder: Path) -> tuple[Table, list[Claim]]:
    """Photographs of 299 pixels, in turns."""
    from keras_inception_v4 import InceptionV4, export_model

    photographs = folder / "photographs"
    photographs.mkdir()
    write_photographs(str(photographs), IMAGES)
    model, artefact = folder / "embedding.keras", folder / "embedding"
    network = InceptionV4(
        weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3)
    )
    network.save(model)
    export_model(network, artefact, format="openvino", part="embedding", verbose=0)
    where = {"folder": str(photographs)}
    names = ("predict_on_batch, in memory", "files to Parquet, Keras",
             "files to Parquet, OpenVINO float32")  # fmt: skip
    exact = {**where, "model": str(artefact), "precision": "float32"}
    chosen = [
        Contender(names[0], on_arrays, {**where, "model": str(model)}),
        Contender(names[1], streamed, {**where, "model": str(model)}),
        Contender(names[2], streamed, exact),
    ]
    with started(chosen) as (workers, _):
        taken, _ = interleaved(workers, ROUNDS + 2)
    rows = speed_rows(taken, {}, IMAGES, names[0])
    claims = [
        Claim(f"{names[1]} / {names[0]}", ratio(taken, names[1], names[0]), 0.95),
        Claim(f"{names[2]} / {names[0]}", ratio(taken, names[2], names[0]), 1.2),
    ]
    table = Table(f"Photographs of {SIZE} x {SIZE}, batch {BATCH}", "images/s", names[0], rows)
    return table, claims


def measure(run: Path) -> Findings:
    """Memory, kills, speed, and one picture."""
    from keras_inception_v4.export import export_file

    require_complete(run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speed, claims = speeds(folder)
        artefact = folder / "network.onnx"
        export_file(run, artefact, format="onnx", verbose=0)
        picture = next((run / "examples").iterdir())
        turns = [(seconds(artefact, picture), seconds(run, picture)) for _ in range(ROUNDS)]
        peaks = {}
        for count in (FEW, MANY):
            pictures = small_pictures(folder, count)
            peaks[count] = ended(begun(run, pictures, folder / f"{count}.out"), count)
        different = killed_thrice(run, pictures, folder / "killed.out", folder / f"{MANY}.out")
        shutil.rmtree(pictures)
    memory = [Row(f"{count:,} files", Spread.of([peak / 1e6])) for count, peak in peaks.items()]
    ours, keras_ = zip(*turns, strict=True)
    once = [Row("an ONNX artefact", Spread.of(ours)), Row("the run folder", Spread.of(keras_))]
    least = Spread.of([a / b for a, b in turns])
    return Findings(
        [
            speed,
            Table("Embedding small files to Parquet", "MB at the peak", "", memory),
            Table("predict on one picture, from the command line", "seconds", "", once),
        ],
        [
            *claims,
            Claim(f"peak of {MANY:,} files / of {FEW:,}",
                  Spread.of([peaks[MANY] / peaks[FEW]]), 1.1, at_most=True),
            Claim(f"rows of {MANY:,} files that differ after three kills",
                  Spread.of([different]), 0, at_most=True),
            Claim("one picture: an ONNX artefact / the run folder", least, 0.25, at_most=True),
            Claim("one picture by an ONNX artefact, seconds", Spread.of(ours), 2.5, at_most=True),
        ],
    )  # fmt: skip
