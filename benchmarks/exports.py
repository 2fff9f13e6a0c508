"""Size of every artefact of a digits model, and whether it predicts what the model predicts.

The images are the 360 held-out digits. The model is in the folder of the README's first command.
The subject `inference` measures the speed of artefacts. This one measures only that of ONNX's
precisions, at the size of the digits.
"""

import tempfile
from pathlib import Path

from benchmarks.networks import artefact
from benchmarks.report import Claim, Findings, Row, Table, speed_rows
from benchmarks.workers import (
    EMULATED,
    Contender,
    Spread,
    interleaved,
    ratio,
    require_complete,
    started,
)

CALIBRATION = 60
BATCH, ROUNDS = 8, 9
ROWS = [
    ("saved_model", "float32", None),
    ("onnx", "float32", None),
    ("onnx", "float16", None),
    ("onnx", "int8", None),
    ("openvino", "float32", "float32"),
    ("openvino", "float32", "bfloat16"),
    ("openvino", "float16", None),
    ("openvino", "int8", None),
    ("litert", "float32", None),
    ("litert", "float16", None),
    ("litert", "int8", None),
]
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx"}


def speeds(folder: str, size: int) -> tuple[Table, Claim]:
    """Of the ONNX files, in turns."""
    names = {precision: f"ONNX Runtime {precision}" for precision in ("float32", "float16", "int8")}
    chosen = [
        Contender(name, artefact,
                  {"folder": folder, "file": f"onnx_{precision}.onnx", "precision": None})
        for precision, name in names.items()
    ]  # fmt: skip
    with started(chosen) as (workers, _):
        taken, _ = interleaved(workers, ROUNDS, batch=BATCH, size=size)
    title = f"ONNX at {size} x {size}, batch {BATCH}"
    rows = speed_rows(taken, {}, BATCH, names["float32"])
    gain = ratio(taken, names["int8"], names["float32"])
    return (
        Table(title, "images/s", names["float32"], rows),
        Claim(f"onnx: speed of int8 / of float32 at {size} pixels", gain, 1.8),
    )


def measure(run: Path) -> Findings:
    """Same top class, largest difference of a probability and size; the speed of ONNX's."""
    require_complete(run)
    import keras
    import numpy as np

    from keras_inception_v4 import export_model, open_artefact
    from keras_inception_v4.data.digits import load_digits_data
    from keras_inception_v4.export.verification import size_of
    from keras_inception_v4.files import read_json
    from keras_inception_v4.training.precision import processor_has_bfloat16

    arguments = read_json(run / "config.json")["arguments"]
    data = load_digits_data(arguments["image_size"], seed=arguments["seed"])
    model = keras.saving.load_model(run / "model.keras")
    answers = model.predict(data.validation.pixels, batch_size=32, verbose=0)
    rows, sizes, agreement, claims = [], {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for format, precision, hint in ROWS:
            if hint == "bfloat16" and not processor_has_bfloat16():
                rows.append(Row(f"{format} {hint}", note=EMULATED))
                continue
            path = Path(folder) / f"{format}_{precision}{SUFFIXES.get(format, '')}"
            if not path.exists():
                export_model(
                    model, path, format=format, precision=precision, verbose=False,
                    calibration=data.train.pixels[:CALIBRATION] if precision == "int8" else None,
                    verification=False,
                )  # fmt: skip
            found = open_artefact(path, precision=hint).predict(data.validation.pixels)
            same = np.mean(found.argmax(axis=1) == answers.argmax(axis=1))
            name = f"{format} {hint or precision}"
            sizes[name] = size_of(path)
            agreement[precision == "int8"] = min(same, agreement.get(precision == "int8", 1))
            apart = np.abs(found - answers).max()
            note = f"{same:.1%} the same top class, probabilities {apart:.0e} apart"
            rows.append(Row(name, Spread.of([sizes[name] / 1e6]), note=note))
        speed, claim = speeds(folder, arguments["image_size"])
    for format in ("litert", "onnx", "openvino"):
        share = Spread.of([sizes[f"{format} int8"] / sizes[f"{format} float32"]])
        claims.append(Claim(f"{format}: size of int8 / of float32", share, 0.27, at_most=True))
    for int8, least in ((False, 0.99), (True, 0.98)):
        text = f"same top class, the least of {'int8' if int8 else 'float32, float16 and bfloat16'}"
        claims.append(Claim(text, Spread.of([float(agreement[int8])]), least))
    return Findings([Table("Artefacts", "MB", "", rows), speed], [*claims, claim])
