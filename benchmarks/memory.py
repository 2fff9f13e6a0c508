"""Peak memory of a process that predicts 8 images of 299 x 299, or trains on 32."""

import re
import tempfile
from pathlib import Path

from benchmarks import inference
from benchmarks.inference import LIMIT, REFERENCE
from benchmarks.networks import train_keras
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Contender, NotMeasuredError, Spread, Worker, in_a_process

BATCH, SIZE, ROUNDS = 8, 299, 2
UPDATE = 32  # images
LEFT_OUT = re.compile(rf"^{LIMIT}|predict$|compiled$")
IDLE = "imports TensorFlow and no more"


def import_tensorflow():
    """What every process with TensorFlow has."""
    import tensorflow  # noqa: F401

    return lambda **task: lambda: None


def measure(run: Path) -> Findings:
    """One table; `run` is not needed."""
    peaks: dict[str, list[float]] = {}
    reasons = {}
    with tempfile.TemporaryDirectory() as folder:
        in_a_process(inference.export_all, folder, (SIZE,))
        chosen = {IDLE: Contender(IDLE, import_tensorflow)}
        for precision, contenders in inference.contenders(folder).items():
            for contender in contenders:
                reference_again = contender.name == REFERENCE and precision != "float32"
                if not LEFT_OUT.search(contender.name) and not reference_again:
                    chosen[f"{contender.name} {precision}"] = contender
        for _ in range(ROUNDS):
            for name, contender in chosen.items():
                try:
                    peaks.setdefault(name, []).append(_peak(contender))
                except NotMeasuredError as reason:
                    reasons[name] = str(reason)
    table, claim = _training()
    return Findings([_answering(chosen, peaks, reasons), table], [claim])


def _answering(chosen: dict, peaks: dict[str, list[float]], reasons: dict[str, str]) -> Table:
    reference = f"{REFERENCE} float32"
    rows = []
    for name in chosen:
        if name in reasons:
            rows.append(Row(name, note=reasons[name]))
            continue
        relative = [a / b for a, b in zip(peaks[name], peaks[reference], strict=True)]
        rows.append(Row(name, Spread.of(peaks[name]), Spread.of(relative)))
    return Table("Peak of a process", "GB", reference, rows, "memory")


def _training() -> tuple[Table, Claim]:
    """An update by 32 images, at once and in quarters."""
    peaks: dict[int, list[float]] = {1: [], 4: []}
    for _ in range(ROUNDS):
        for parts, found in peaks.items():
            options = {"network": "InceptionV4", "precision": "float32", "accumulate": parts}
            contender = Contender("training", train_keras, options)
            found.append(_peak(contender, UPDATE // parts, runs=parts))
    relative = Spread.of([b / a for a, b in zip(peaks[1], peaks[4], strict=True)])
    whole = f"batch {UPDATE}"
    rows = [
        Row(whole, Spread.of(peaks[1]), Spread(1, 1, 1)),
        Row(f"batch {UPDATE // 4}, four steps an update", Spread.of(peaks[4]), relative),
    ]
    claim = Claim("peak of a training in quarters / at once", relative, 0.45, at_most=True)
    return Table(f"Peak of a training at {SIZE} x {SIZE}", "GB", whole, rows), claim


def _peak(contender: Contender, batch: int = BATCH, runs: int = 0) -> float:
    worker = Worker(contender)
    try:
        worker.prepare({"batch": batch, "size": SIZE})
        for _ in range(runs):
            worker.run()
        return worker.peak() / 1e9
    finally:
        worker.stop()
