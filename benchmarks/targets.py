"""Several digits per image, and their sum, by transfer from the first command's network.

    python -m benchmarks.targets RUN [--task TASK]

Each canvas shows none to three of scikit-learn's digits. Held-out canvases show held-out
digits. The tasks are multi-label over the ten digits, and regression of their sum. RUN is the
folder of `keras-inception-v4 train digits`, whose network has seen single digits of another size.
The exit status is 1 if a result is worse than wanted.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread

SIDE, DIGIT, MOST = 107, 50, 3  # pixels of a canvas and of a digit, digits on a canvas
TRAINING, HELD_OUT, BATCH = 2400, 400, 32  # canvases
EPOCHS, RATE = 12, 5e-4
TASKS, OUTPUTS, LEAST = ("multi-label", "regression"), (10, 1), (0.90, 0.8)
MEASURES = ("mean_average_precision", "r2")


def canvases(images, count: int, seed: int):
    """Pixels, which digits each canvas shows, and their sum.

    Args:
        images: `Images` of single digits.
        count: of canvases.
        seed: of digits and places.

    Returns:
        float32 `(count, SIDE, SIDE, 3)`, 0 to 255; `(count, 10)` of 0 and 1; `(count,)`.
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    pixels = np.zeros((count, SIDE, SIDE, 3), "float32")
    shown, total = np.zeros((count, 10), "int64"), np.zeros(count)
    corners = [(y, x) for y in (2, SIDE - DIGIT - 2) for x in (2, SIDE - DIGIT - 2)]
    for index in range(count):
        chosen = rng.choice(len(images), rng.integers(0, MOST + 1), replace=False)
        for corner, digit in zip(rng.permutation(corners), chosen, strict=False):
            top, left = corner + rng.integers(-2, 3, 2)
            image = Image.fromarray(np.round(images.pixels[digit]).astype("uint8"))
            pixels[index, top : top + DIGIT, left : left + DIGIT] = image.resize((DIGIT, DIGIT))
        shown[index, images.labels[chosen]] = 1
        total[index] = images.labels[chosen].sum()
    return pixels, shown, total


def trained(run: Path, task: str, outputs: int, train, held_out, epochs: int) -> dict:
    """The measures of held-out canvases after fine-tuning the run's network.

    Batch norm trains too: black canvases are unlike what its statistics are of.
    """
    import keras

    from keras_inception_v4 import evaluate, fine_tune, transfer_model, unfreeze
    from keras_inception_v4.training.objectives import warmup_cosine
    from keras_inception_v4.training.recipes import BETA_2

    keras.utils.set_random_seed(0)
    model = transfer_model(
        outputs, task=task, weights=run / "model.keras", input_shape=(SIDE, SIDE, 3),
        augment="symbols", batch_norm_momentum=0.9,
    )  # fmt: skip
    unfreeze(model, "conv2d_1a_3x3", batch_norm=True)
    steps = epochs * -(-len(train[0]) // BATCH)
    fine_tune(
        model, train, held_out, epochs=epochs, batch_size=BATCH, precision="auto", verbose=2,
        optimizer=keras.optimizers.Adam(warmup_cosine(RATE, steps, 0.05), beta_2=BETA_2),
        label_smoothing=None if task == "regression" else 0.0,
    )  # fmt: skip
    return evaluate(model, held_out, verbose=False)


def measured(run: Path, task: str) -> dict:
    """The measures of a task."""
    from keras_inception_v4.data.digits import load_digits_data

    data = load_digits_data(75)
    pixels, *targets = canvases(data.train, TRAINING, 0)
    unseen, *unseen_targets = canvases(data.validation, HELD_OUT, 1)
    which = TASKS.index(task)
    train, held_out = (pixels, targets[which]), (unseen, unseen_targets[which])
    return trained(run, task, OUTPUTS[which], train, held_out, EPOCHS)


def measure(run: Path) -> Findings:
    """Both tasks, one seed."""
    several, total = (measured(run, task) for task in TASKS)
    rows = [
        Row("mean average precision of ten digits", Spread.of([several["mean_average_precision"]])),
        Row("micro F1 at 0.5", Spread.of([several["micro_f1"]])),
        Row("R2 of the sum of the digits", Spread.of([total["r2"]])),
    ]
    claims = [
        Claim("mean average precision", Spread.of([several["mean_average_precision"]]), LEAST[0]),
        Claim("R2 of the sum of the digits", Spread.of([total["r2"]]), LEAST[1]),
    ]
    what = f"Held-out canvases of {SIDE} x {SIDE} with none to three digits"
    return Findings([Table(what, "0 to 1", "", rows)], claims)


def main() -> int:
    """Trains one task, or both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="of the first command")
    parser.add_argument("--task", choices=TASKS, help="only this one")
    options = parser.parse_args()
    missed = 0
    for task, measure_of, least in zip(TASKS, MEASURES, LEAST, strict=True):
        if options.task in (None, task):
            value = measured(options.run, task)[measure_of]
            print(f"{task}: {measure_of} {value:.3f}, at least {least} wanted", flush=True)
            missed += value < least
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
