"""TensorFlow's oneDNN off and on: training steps and inference, by image size and batch.

Without AVX-512 TensorFlow leaves oneDNN off. `train` turns it on, see `cli.training`.
"""

from pathlib import Path

from benchmarks.networks import predict_keras, train_keras
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Contender, Spread, interleaved, ratio, started
from keras_inception_v4.training.options import ONEDNN

SIZES, BATCHES, ROUNDS = (75, 139, 299), (1, 8, 32), 5
OPTIONS = {"network": "InceptionV4", "precision": "float32"}
KINDS = {"training": train_keras, "inference": predict_keras}
LEAST = {("training", 75, 32): 1.5, ("training", 139, 32): 1.2, ("training", 299, 32): 0.97}
"""How many times as fast with oneDNN, of what the command relies on."""


def measure(run: Path) -> Findings:
    """A row for each size and batch; `run` is not needed."""
    tables, claims = [], []
    for kind, build in KINDS.items():
        chosen = [Contender(switch, build, OPTIONS, {ONEDNN: switch}) for switch in ("0", "1")]
        rows = []
        with started(chosen) as (workers, _):
            for size in SIZES:
                for batch in BATCHES:
                    seconds, _ = interleaved(workers, ROUNDS, batch=batch, size=size)
                    times = ratio(seconds, "1", "0")
                    rates = Spread.of([batch / taken for taken in seconds["1"]])
                    rows.append(Row(f"{size} x {size}, batch {batch}", rates, times))
                    if least := LEAST.get((kind, size, batch)):
                        text = f"{kind} at {size}, batch {batch}: with oneDNN / without"
                        claims.append(Claim(text, times, least))
        tables.append(Table(f"{kind.capitalize()} with oneDNN", "images/s", "without it", rows))
    return Findings(tables, claims)
