"""Peak memory of a process that loads a contender and runs it, batch 8 at 299 x 299."""

import re
import tempfile
from pathlib import Path

from benchmarks import inference
from benchmarks.inference import LIMIT, REFERENCE
from benchmarks.report import Findings, Row, Table
from benchmarks.workers import Contender, NotMeasuredError, Spread, Worker, in_a_process

BATCH, SIZE, ROUNDS = 8, 299, 2
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
    reference = f"{REFERENCE} float32"
    rows = []
    for name in chosen:
        if name in reasons:
            rows.append(Row(name, note=reasons[name]))
            continue
        relative = [a / b for a, b in zip(peaks[name], peaks[reference], strict=True)]
        rows.append(Row(name, Spread.of(peaks[name]), Spread.of(relative)))
    return Findings([Table("Peak of a process", "GB", reference, rows, "memory")], [])


def _peak(contender: Contender) -> float:
    worker = Worker(contender)
    try:
        worker.prepare({"batch": BATCH, "size": SIZE})
        return worker.peak() / 1e9
    finally:
        worker.stop()
