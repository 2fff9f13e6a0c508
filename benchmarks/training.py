"""Seconds of a training step at 299 x 299, batch 8, compared with timm."""

from pathlib import Path

from benchmarks.networks import train_keras, train_timm
from benchmarks.report import Claim, Findings, Table, speed_rows
from benchmarks.workers import Contender, Spread, interleaved, ratio, started

BATCH, SIZE, ROUNDS = 8, 299, 5
BACKENDS = {"TensorFlow": "tensorflow", "PyTorch": "torch", "JAX": "jax"}


def contenders(precision: str) -> list[Contender]:
    keras = {"network": "InceptionV4", "precision": precision}
    layout = {"precision": precision, "channels_last": True}
    return [
        *(
            Contender(f"InceptionV4 on {name}", train_keras, keras, {"KERAS_BACKEND": backend})
            for name, backend in BACKENDS.items()
        ),
        Contender("zeromodels on TensorFlow", train_keras, {**keras, "network": "zeromodels"}),
        Contender("timm", train_timm, {"precision": precision}),
        Contender("timm, channels last", train_timm, layout),
        Contender("timm, channels last, compiled", train_timm, {**layout, "compiled": True}),
    ]


def share_of_batch_norm(precision: str) -> Spread | None:
    """What a step is shorter by where batch norm stays in inference mode, as a share of it.

    `None` where that cannot be measured.
    """
    options = {"network": "InceptionV4", "precision": precision}
    chosen = [
        Contender("trained", train_keras, options),
        Contender("frozen", train_keras, {**options, "batch_norm": False}),
    ]
    with started(chosen) as (workers, _):
        seconds, _ = interleaved(workers, ROUNDS, batch=BATCH, size=SIZE)
    if len(seconds) < len(chosen):
        return None
    pairs = zip(seconds["frozen"], seconds["trained"], strict=True)
    return Spread.of([1 - frozen / trained for frozen, trained in pairs])


def measure(run: Path) -> Findings:
    """A table for each precision; `run` is not needed."""
    tables, claims, remarks = [], [], []
    for precision in ("float32", "bfloat16"):
        with started(contenders(precision)) as (workers, reasons):
            seconds, refused = interleaved(workers, ROUNDS, batch=BATCH, size=SIZE)
        ours = "InceptionV4 on TensorFlow"
        rows = speed_rows(seconds, {**reasons, **refused}, BATCH, ours)
        title = f"A step of Adam, {precision}, {SIZE} x {SIZE}, batch {BATCH}"
        tables.append(Table(title, "images/s", ours, rows, f"training_{precision}"))
        if share := share_of_batch_norm(precision):
            remarks.append(
                f"In {precision}, batch norm in training mode takes {share.median:.0%} "
                f"({share.low:.0%} to {share.high:.0%}) of a step on TensorFlow: Keras computes it "
                "in float32 and in several passes over memory, where PyTorch has one fused kernel "
                "for either precision. The layer is Keras's, so this cannot be mended here without "
                "a layer of our own, which a saved model could not load without this package."
            )
        best = {
            who: min(
                (name for name in seconds if name.startswith(who)),
                key=lambda name: sum(seconds[name]),
                default=None,
            )
            for who in ("InceptionV4", "timm")
        }
        if all(best.values()):
            value = ratio(seconds, best["InceptionV4"], best["timm"])
            claims.append(Claim(f"training, {precision}: the best of ours / of timm", value, 0.97))
    return Findings(tables, claims, remarks)
