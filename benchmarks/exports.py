"""Size of every artefact of a digits model, and whether it answers what the model answers.

On the 360 held-out digits; the folder of the README's first command has the model. How fast each is
the subject `inference` tells.
"""

import tempfile
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import EMULATED, Spread, require_complete

CALIBRATION = 100
ROWS = [
    ("saved_model", "float32", None),
    ("onnx", "float32", None),
    ("openvino", "float32", "float32"),
    ("openvino", "float32", "bfloat16"),
    ("openvino", "float16", None),
    ("openvino", "int8", None),
    ("litert", "float32", None),
    ("litert", "float16", None),
    ("litert", "int8", None),
]
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx"}


def measure(run: Path) -> Findings:
    """One table: same top class, largest difference of a probability, size."""
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
    for format in ("litert", "openvino"):
        share = Spread.of([sizes[f"{format} int8"] / sizes[f"{format} float32"]])
        claims.append(Claim(f"{format}: size of int8 / of float32", share, 0.27, at_most=True))
    for int8, least in ((False, 0.99), (True, 0.98)):
        text = f"same top class, the least of {'int8' if int8 else 'float32, float16 and bfloat16'}"
        claims.append(Claim(text, Spread.of([float(agreement[int8])]), least))
    return Findings([Table("Artefacts", "MB", "", rows)], claims)
