"""Every artefact of a trained digits model: size, agreement, and speed beside the others.

    python -m benchmarks.exports RUN

RUN is the folder of `keras-inception-v4 train digits`. Agreement is on its held-out digits, with
its own network; speed and size are of the same weights at 299 x 299, interleaved, medians, batch 8
(and 1). Needs the extra `export`. Prints the README's table.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

SIZE, BATCH, ROUNDS, CALIBRATION = 299, 8, 5, 100
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


def seconds(run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Prints a Markdown table, and the ratios that the acceptance asks for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np

    from keras_inception_v4 import InceptionV4, export_model, open_artefact
    from keras_inception_v4.data import load_digits_data
    from keras_inception_v4.export.verification import size_of
    from keras_inception_v4.files import read_json

    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    arguments = read_json(run / "config.json")["arguments"]
    data = load_digits_data(arguments["image_size"], seed=arguments["seed"])
    large_data = load_digits_data(SIZE, seed=arguments["seed"]).train.pixels[: 2 * CALIBRATION]
    own = keras.saving.load_model(run / "model.keras")
    large = InceptionV4(
        weights=run / "model.keras", input_shape=(SIZE, SIZE, 3), classes=10,
        include_preprocessing=True,
    )  # fmt: skip
    answers = own.predict(data.validation.pixels, batch_size=32, verbose=0)

    def export(model, path, row, calibration):
        format, precision, _ = row
        if not path.exists():
            export_model(
                model, path, format=format, precision=precision, verbose=False,
                calibration=calibration if precision == "int8" else None, verification=False,
            )  # fmt: skip
        return open_artefact(path, precision=row[2])

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        agreement, difference, sizes, artefacts = {}, {}, {}, {}
        for row in ROWS:
            name = f"{row[0]}_{row[1]}{SUFFIXES.get(row[0], '')}"
            found = export(own, folder / name, row, data.train.pixels[:CALIBRATION])
            found = found.predict(data.validation.pixels)
            agreement[row] = np.mean(found.argmax(axis=1) == answers.argmax(axis=1))
            difference[row] = np.abs(found - answers).max()
            artefacts[row] = export(large, folder / f"large_{name}", row, large_data[:CALIBRATION])
            sizes[row] = size_of(folder / f"large_{name}")
            print(f"{row}: {agreement[row]:.2%}, {difference[row]:.1e}", file=sys.stderr)
        times = {}
        batches = {count: large_data[:count] for count in (BATCH, 1)}
        runs = {
            (row, count): lambda row=row, batch=batch: artefacts[row].predict(batch)
            for count, batch in batches.items()
            for row in ROWS
        }
        runs |= {
            ("keras", count): lambda batch=batch: large.predict_on_batch(batch)
            for count, batch in batches.items()
        }
        for key, run_once in runs.items():  # a batch at a time: OpenVINO compiles for each
            run_once()
            times[key] = []
        for count in batches:
            chosen = {key: run_once for key, run_once in runs.items() if key[1] == count}
            for run_once in chosen.values():
                run_once()
            for _ in range(ROUNDS):
                for key, run_once in chosen.items():
                    times[key].append(seconds(run_once))
    rate = {key: key[1] / statistics.median(values) for key, values in times.items()}
    print("| format | precision | size | speed, batch 8 | batch 1 | same top class | largest "
          "difference |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for row in ROWS:
        ratios = [rate[row, count] / rate["keras", count] for count in (BATCH, 1)]
        precision = row[1] if row[2] in (None, row[1]) else f"{row[1]}, computed in {row[2]}"
        print(
            f"| {row[0]} | {precision} | {sizes[row] / 1e6:.0f} MB | {ratios[0]:.2f} | "
            f"{ratios[1]:.2f} | {agreement[row]:.1%} | {difference[row]:.0e} |"
        )
    print(f"\nKeras: {rate['keras', BATCH]:.1f} images/s at batch 8, {rate['keras', 1]:.1f} at 1")
    row = {f"{format} {hint or precision}": (format, precision, hint)
           for format, precision, hint in ROWS}  # fmt: skip
    missed = []
    for title, fast, slow, count, least in (
        ("OpenVINO int8 / SavedModel", "openvino int8", "saved_model float32", BATCH, 3),
        ("OpenVINO bfloat16 / SavedModel", "openvino bfloat16", "saved_model float32", BATCH, 2),
        ("LiteRT int8 / float32, batch 1", "litert int8", "litert float32", 1, 2.2),
    ):
        fast_times, slow_times = times[row[fast], count], times[row[slow], count]
        ratio = statistics.median(slow_times) / statistics.median(fast_times)
        low, high = min(slow_times) / max(fast_times), max(slow_times) / min(fast_times)
        print(f"{title}: {ratio:.2f} ({low:.2f} to {high:.2f}), at least {least} wanted")
        missed += [title] if ratio < least else []
    for format in ("litert", "openvino"):
        small = sizes[row[f"{format} int8"]] / sizes[row[f"{format} float32"]]
        print(f"{format}: int8 file / float32 file: {small:.1%}, at most 27 % wanted")
        missed += [f"{format} size"] if small > 0.27 else []
    missed += [str(row) for row in ROWS if agreement[row] < (0.98 if row[1] == "int8" else 0.99)]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
