"""Our Keras model beside the other Keras Inception-v4, the two of them alone, in every row.

They compute the same, so a row tells a difference of percents: a round repeats the call for about
a second, and beside the ratio of each round stands that of the quickest ones, since all that this
machine does besides only adds time.
"""

from pathlib import Path

from benchmarks.networks import predict_keras
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Contender, Spread, interleaved, ratio, started

OURS, THEIRS = "InceptionV4", "zeromodels"
TASKS = [  # batch, image size, rounds, calls a round
    (8, 299, 7, 1),
    (1, 299, 9, 6),
    (32, 299, 3, 1),
    (8, 75, 9, 15),
    (8, 139, 9, 5),
    (8, 598, 3, 1),
]


def repeated(network: str, precision: str, method: str):
    prepare_one = predict_keras(network, precision, method)

    def prepare(batch: int, size: int, calls: int):
        run = prepare_one(batch, size)
        return lambda: [run() for _ in range(calls)]

    return prepare


def measure(run: Path) -> Findings:
    """A row for each method, precision, batch and image size; `run` is not needed."""
    rows, quickest = [], {}
    for method in ("predict", "predict_on_batch"):
        for precision in ("float32", "bfloat16"):
            options = {"precision": precision, "method": method}
            chosen = [
                Contender(network, repeated, {"network": network, **options})
                for network in (OURS, THEIRS)
            ]
            with started(chosen) as (workers, reasons):
                rows += [Row(f"{name} {method}", note=why) for name, why in reasons.items()]
                for batch, size, rounds, calls in TASKS if not reasons else []:
                    seconds, _ = interleaved(workers, rounds, batch=batch, size=size, calls=calls)
                    name = f"{method} {precision}, {size} x {size}, batch {batch}"
                    best = min(seconds[THEIRS]) / min(seconds[OURS])
                    quickest[name] = best
                    rates = Spread.of([batch * calls / taken for taken in seconds[OURS]])
                    note = f"quickest rounds {best:.3f}"
                    rows.append(Row(name, rates, ratio(seconds, OURS, THEIRS), note=note))
    table = Table("InceptionV4 in Keras, beside zeromodels", "images/s", THEIRS, rows)
    if not quickest:
        return Findings([table], [])
    values = sorted(quickest.values())
    text = "InceptionV4 / zeromodels in Keras, quickest rounds"
    return Findings(
        [table],
        [
            Claim(f"{text}, the median row", Spread.of(values), 1 - 0.03),
            Claim(f"{text}, the worst row", Spread.of(values[:1]), 1 - 0.03),
        ],
    )
