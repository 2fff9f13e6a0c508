"""Several digits a picture, and a number to estimate, by transfer from the first command's network.

    python -m benchmarks.targets RUN [--count N] [--epochs N]

Canvases with none to three of scikit-learn's digits, held-out canvases of held-out digits: as
multi-label over the ten digits, and as regression of their sum. RUN is the folder of
`keras-inception-v4 train digits`, a network that has seen single digits of another size. Exit
status 1 where one is worse than wanted.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread

SIDE, DIGIT, MOST = 107, 50, 3  # pixels of a canvas and of a digit, digits on a canvas
TRAINING, HELD_OUT, BATCH = 2400, 400, 32  # canvases
EPOCHS, RATE = 14, 1e-3
LEAST_MAP, LEAST_R2 = 0.90, 0.8


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


def both(run: Path, count: int = TRAINING, epochs: int = EPOCHS) -> tuple[dict, dict]:
    """The measures of both tasks."""
    from keras_inception_v4.data.digits import load_digits_data

    data = load_digits_data(75)
    pixels, shown, total = canvases(data.train, count, 0)
    unseen, unseen_shown, unseen_total = canvases(data.validation, HELD_OUT, 1)
    return (
        trained(run, "multi-label", 10, (pixels, shown), (unseen, unseen_shown), epochs),
        trained(run, "regression", 1, (pixels, total), (unseen, unseen_total), epochs),
    )


def measure(run: Path) -> Findings:
    """Both tasks, one seed."""
    several, total = both(run)
    rows = [
        Row("mean average precision of ten digits", Spread.of([several["mean_average_precision"]])),
        Row("micro F1 at 0.5", Spread.of([several["micro_f1"]])),
        Row("R2 of the sum of the digits", Spread.of([total["r2"]])),
    ]
    claims = [
        Claim("mean average precision", Spread.of([several["mean_average_precision"]]), LEAST_MAP),
        Claim("R2 of the sum of the digits", Spread.of([total["r2"]]), LEAST_R2),
    ]
    what = f"Held-out canvases of {SIDE} x {SIDE} with none to three digits"
    return Findings([Table(what, "0 to 1", "", rows)], claims)


def main() -> int:
    """Trains both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="of the first command")
    parser.add_argument("--count", type=int, default=TRAINING, help="training canvases")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of fine-tuning")
    options = parser.parse_args()
    several, total = both(options.run, options.count, options.epochs)
    precision, r2 = several["mean_average_precision"], total["r2"]
    print(f"mean average precision {precision:.3f}, R2 of the sum {r2:.3f}")
    return int(precision < LEAST_MAP or r2 < LEAST_R2)


if __name__ == "__main__":
    sys.exit(main())
