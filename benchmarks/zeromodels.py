"""Our Keras model compared with the other Keras Inception-v4 alone, in every row.

Both compute the same, so a row shows a difference of a few percent. A round repeats the call for
about a second. Beside the ratio of the rounds stands the ratio of the quickest rounds, as any other
load of the machine only adds time.
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
REMARK = (
    "Keras's `predict` runs at one of two speeds, a quarter apart, for a round or for a whole row, "
    "whichever network it is (see its absolute figures): its own threads, which feed the network "
    "through tf.data, share the cores with those that compute. So a row of `predict` that misses "
    "says little about the networks; `predict_on_batch` is the same networks without these threads."
)


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
                rows += [
                    Row(f"{name} {method} {precision}", note=why) for name, why in reasons.items()
                ]
                for batch, size, rounds, calls in TASKS if not reasons else []:
                    seconds, _ = interleaved(workers, rounds, batch=batch, size=size, calls=calls)
                    name = f"{method} {precision}, {size} x {size}, batch {batch}"
                    best = min(seconds[THEIRS]) / min(seconds[OURS])
                    quickest[name] = best
                    rates = Spread.of([batch * calls / taken for taken in seconds[OURS]])
                    note = f"quickest rounds {best:.3f}"
                    rows.append(Row(name, rates, ratio(seconds, OURS, THEIRS), note=note))
    table = Table("InceptionV4 in Keras, beside zeromodels", "images/s", THEIRS, rows)
    claims = claims_of(quickest) if quickest else []
    return Findings([table], claims, [REMARK] if quickest else [])


def claims_of(quickest: dict[str, float]) -> list[Claim]:
    """What is wanted of the quickest rounds, row name to ratio."""
    claims = []
    for method in ("predict_on_batch", "predict"):
        worst = min(value for name, value in quickest.items() if name.startswith(f"{method} "))
        text = f"InceptionV4 / zeromodels in Keras, quickest rounds of {method}, the worst row"
        claims.append(Claim(text, Spread.of([worst]), 0.97))
    return claims
