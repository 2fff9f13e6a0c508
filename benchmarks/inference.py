"""Images a second: every runtime and precision of ours, compared with the peers.

One factor varies at a time: the batch at 299 x 299, the image size at a batch of 8. The contenders
of one precision take turns, always with the float32 SavedModel. Every ratio refers to it.

The whole is measured in several sittings, each with new processes, as the speed of a process
depends on the memory that it got. A machine also drifts. At a batch of 32, five rounds in two
minutes gave timm 0.547 to 0.591, and in another run 0.468 to 0.491.
"""

import re
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.networks import FLOP, artefact, matrix_product, predict_keras, predict_timm
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Contender, Spread, in_a_process, interleaved, output_of, started
from keras_inception_v4.costs import network_costs

BATCH, SIZE = MAIN = 8, 299
# Where a process keeps the speed that it has, a row has as many values as sittings. Of two runs of
# n such values, the spreads miss each other once in comb(2n, n) / 2: in 3 for two, 35 for four.
SITTINGS = 4
TASKS = [  # batch, image size, rounds of a sitting
    (8, 299, 2),
    (1, 299, 3),
    (32, 299, 2),
    (8, 75, 3),
    (8, 139, 3),
    (8, 598, 2),
]
REFERENCE, LIMIT = "SavedModel", "limit by"
OTHER_NETWORKS = ("InceptionV3", "InceptionResNetV2")
# Other networks say nothing about sizes, and to compile for each shape takes a minute.
ONLY_MAIN = re.compile(r"InceptionV3|InceptionResNetV2|compiled")


def contenders(folder: str) -> dict[str, list[Contender]]:
    """Precision to contenders; `folder` holds the artefacts of `export_all`."""

    def ours(name, file, hint=None):
        return Contender(name, artefact, {"folder": folder, "file": file, "precision": hint})

    def keras(network, precision, *methods):
        options = {"network": network, "precision": precision}
        return [
            Contender(f"{network} {method}", predict_keras, {**options, "method": method})
            for method in methods or ("predict", "predict_on_batch")
        ]

    def timm(precision):
        layout = {"precision": precision, "channels_last": True}
        return [
            Contender("timm", predict_timm, {"precision": precision}),
            Contender("timm, channels last", predict_timm, layout),
            Contender("timm, channels last, compiled", predict_timm, {**layout, "compiled": True}),
        ]

    def limits(precision, *libraries):
        return [
            Contender(
                f"{LIMIT} {library}", matrix_product, {"library": library, "precision": precision}
            )
            for library in libraries
        ]

    reference = ours(REFERENCE, "saved_model")
    return {
        "float32": [
            reference,
            *keras("InceptionV4", "float32"),
            ours("LiteRT", "{size}.tflite"),
            ours("ONNX Runtime", "model.onnx"),
            ours("OpenVINO", "openvino", "float32"),
            *keras("zeromodels", "float32"),
            *timm("float32"),
            *keras("InceptionV3", "float32", "predict_on_batch"),
            *keras("InceptionResNetV2", "float32", "predict_on_batch"),
            *limits("float32", "PyTorch", "TensorFlow"),
        ],
        "bfloat16": [
            reference,
            *keras("InceptionV4", "bfloat16"),
            ours("OpenVINO", "openvino", "bfloat16"),
            *keras("zeromodels", "bfloat16"),
            *timm("bfloat16"),
            *limits("bfloat16", "PyTorch", "TensorFlow"),
        ],
        "int8": [
            reference,
            ours("OpenVINO", "openvino_int8"),
            ours("LiteRT", "{size}_int8.tflite"),
            ours("ONNX Runtime", "model_int8.onnx"),
            *limits("int8", "PyTorch", "ONNX Runtime"),
        ],
    }


def export_all(folder: str, sizes: tuple[int, ...]) -> None:
    """Every artefact, of random weights, for all sizes; calibrated on noise, for speed alone."""
    import keras
    import numpy as np

    from keras_inception_v4 import InceptionV4, export_model

    def export(size, file, format, precision="float32"):
        model = InceptionV4(weights=None, input_shape=(size, size, 3))
        side = size or SIZE
        noise = np.random.default_rng(0).uniform(0, 255, (16, side, side, 3)).astype("float32")
        export_model(
            model, Path(folder) / file, format=format, precision=precision,
            calibration=noise if precision == "int8" else None, verification=False, verbose=False,
        )  # fmt: skip
        keras.backend.clear_session()

    export(None, "saved_model", "saved_model")
    export(None, "model.onnx", "onnx")
    export(None, "model_int8.onnx", "onnx", "int8")
    export(None, "openvino", "openvino")
    export(None, "openvino_int8", "openvino", "int8")
    for size in sizes:
        export(size, f"{size}.tflite", "litert")
        export(size, f"{size}_int8.tflite", "litert", "int8")


def measure(run: Path) -> Findings:
    """A table for each batch and image size; `run` is not needed."""
    with tempfile.TemporaryDirectory() as folder:
        in_a_process(export_all, folder, tuple({size for _, size, _ in TASKS}))
        measured = {(batch, size): Measured(batch, size) for batch, size, _ in TASKS}
        for precision, chosen in [*contenders(folder).items()] * SITTINGS:
            with started(chosen) as (workers, failed):
                for batch, size, rounds in TASKS:
                    main = (batch, size) == MAIN
                    names = [c.name for c in chosen if main or not ONLY_MAIN.search(c.name)]
                    asked = {name: workers[name] for name in names if name in workers}
                    seconds, reasons = interleaved(asked, rounds, batch=batch, size=size)
                    reasons |= {name: failed[name] for name in names if name in failed}
                    measured[batch, size].add(precision, seconds, reasons)
    tables = [found.table() for found in measured.values()]
    return Findings(tables, claims(measured), [cost_of_work(measured[MAIN])])


class Measured:
    """Images a second of one batch and image size, by contender and precision."""

    def __init__(self, batch: int, size: int):
        self.batch, self.size = batch, size
        self.work = 2 * sum(cost.multiply_adds for cost in network_costs(size))
        self.rates: dict[str, list[float]] = {}
        self.relative: dict[str, list[float]] = {}  # to the reference in the same round
        self.reasons: dict[str, str] = {}

    def add(self, precision: str, seconds: dict[str, list[float]], reasons: dict[str, str]) -> None:
        """Takes a sitting to those before; what failed in one is not measured in any."""
        if REFERENCE in reasons:  # then the others have nothing to refer to
            why = f"{REFERENCE}: {reasons[REFERENCE]}"
            seconds, reasons = {}, {**dict.fromkeys(seconds, why), **reasons}
        reference = [self.batch / value for value in seconds.get(REFERENCE, [])]
        for name, taken in seconds.items():
            if name == REFERENCE and precision != "float32":
                continue
            # A limit: as if the network were nothing but matrix products.
            images = FLOP / self.work if name.startswith(LIMIT) else self.batch
            title = f"{name} {precision}"
            rates = [images / value for value in taken]
            self.rates.setdefault(title, []).extend(rates)
            pairs = zip(rates, reference, strict=True)
            self.relative.setdefault(title, []).extend(rate / other for rate, other in pairs)
        self.reasons |= {f"{name} {precision}": reason for name, reason in reasons.items()}
        for title in self.reasons:
            self.rates.pop(title, None)
            self.relative.pop(title, None)

    def limit(self, precision: str) -> str | None:
        """The title of the faster matrix product."""
        titles = [t for t in self.rates if t.startswith(LIMIT) and t.endswith(precision)]
        return max(titles, key=lambda title: median(self.rates[title]), default=None)

    def times(self, fast: str, slow: str) -> Spread:
        """How many times as fast one is as another: by rounds, where they took turns."""
        a, b = self.relative[fast], self.relative[slow]
        if fast.split()[-1] == slow.split()[-1]:
            return Spread.of([x / y for x, y in zip(a, b, strict=True)])
        return Spread(median(a) / median(b), min(a) / max(b), max(a) / min(b))

    def table(self) -> Table:
        rows = []
        for title, rates in self.rates.items():
            limit = self.limit(title.split()[-1])
            share = None
            if limit and title != limit and not title.startswith((LIMIT, *OTHER_NETWORKS)):
                share = self.times(title, limit).median
            rows.append(Row(title, Spread.of(rates), Spread.of(self.relative[title]), share))
        rows += [Row(title, note=reason) for title, reason in self.reasons.items()]
        title = f"{self.size} x {self.size}, batch {self.batch}"
        chart = f"inference_{self.size}_{self.batch}"
        return Table(title, "images/s", f"{REFERENCE} float32", rows, chart)


def claims(measured: dict[tuple[int, int], Measured]) -> list[Claim]:
    """What is wanted of our artefacts."""
    main, single = measured[MAIN], measured[1, SIZE]
    reference = f"{REFERENCE} float32"
    found = []

    def claim(text, fast, slow, wanted, where=main):
        if fast in where.relative and slow in where.relative:
            found.append(Claim(text, where.times(fast, slow), wanted))

    peers = [
        title
        for title in main.rates
        if title.startswith(("timm", "zeromodels")) and title.endswith("float32")
    ]
    if peers:
        best = max(peers, key=lambda title: median(main.rates[title]))
        claim("SavedModel / the best peer in PyTorch or Keras, float32", reference, best, 0.97)
    claim("SavedModel / the limit, float32", reference, main.limit("float32"), 0.9)
    claim("OpenVINO bfloat16 / the limit", "OpenVINO bfloat16", main.limit("bfloat16"), 0.9)
    claim("OpenVINO bfloat16 / SavedModel", "OpenVINO bfloat16", reference, 2)
    claim("OpenVINO int8 / SavedModel", "OpenVINO int8", reference, 3)
    others = [t for t in main.rates if t != "OpenVINO int8" and not t.startswith(LIMIT)]
    fastest = max(others, key=lambda title: median(main.relative[title]), default=None)
    claim("OpenVINO int8 / the fastest other row", "OpenVINO int8", fastest, 1)
    claim("LiteRT int8 / LiteRT float32, batch 1", "LiteRT int8", "LiteRT float32", 2.2, single)
    return found


def cost_of_work(found: Measured) -> str:
    """Multiply-adds a second beside other networks of Keras."""
    ours, parts = "InceptionV4 predict_on_batch float32", []
    for network in OTHER_NETWORKS:
        theirs = f"{network} predict_on_batch float32"
        if theirs in found.rates:
            work = int(output_of(f"from benchmarks.networks import *; print(work({network!r}))"))
            times = found.times(ours, theirs).median * found.work / (2 * work)
            parts.append(f"{times:.2f} times those of {network} ({work / 1e9:.2f} G an image)")
    return f"Multiply-adds a second of `predict_on_batch`, float32: {', '.join(parts)}."
