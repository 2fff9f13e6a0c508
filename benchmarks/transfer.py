"""The gain by transfer: digits 0 to 4 help with 20 images each of 5 to 9, on three seeds.

python -m benchmarks.transfer    one seed; fails if the gain is less than 15 points
"""

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread

SIDE, SHOTS, LEAST_GAIN = 75, 20, 15
PRETRAINING, FINE_TUNING, SCRATCH = 5, 30, 20  # epochs


def digits(seed: int) -> tuple[float, float]:
    """Trains on digits 0 to 4, then on 20 images each of 5 to 9, with and without the former.

    Args:
        seed: of everything.

    Returns:
        Accuracy on the held-out 5 to 9, transferred and from scratch.
    """
    import keras
    import numpy as np

    from keras_inception_v4 import evaluate, fine_tune, train_head, transfer_model, unfreeze
    from keras_inception_v4.architecture import DIGITS_CROP
    from keras_inception_v4.data.digits import load_digits_data
    from keras_inception_v4.data.sources import Images, LabelledData
    from keras_inception_v4.training.precision import fastest_precision
    from keras_inception_v4.training.recipes import RECIPES
    from keras_inception_v4.training.scratch import scratch_model, train_from_scratch

    whole = load_digits_data(SIDE, seed=seed)

    def part(images, low, shots=None):
        kept = [
            index
            for label in range(low, low + 5)
            for index in np.flatnonzero(images.labels == label)[:shots]
        ]
        return Images(images.pixels[kept], images.labels[kept] - low)

    def from_scratch(train, held_out, epochs, batch_size):
        keras.utils.set_random_seed(seed)
        model = scratch_model(5, SIDE)
        train_from_scratch(
            model,
            LabelledData(train, held_out, list("01234"), DIGITS_CROP, []),
            recipe=RECIPES["adam"],
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            precision=fastest_precision(),
            augment="symbols",
            verbose=0,
        )
        return model

    first, few = part(whole.train, 0), part(whole.train, 5, SHOTS)
    held_out = part(whole.validation, 5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zero_to_four.keras"
        from_scratch(first, part(whole.validation, 0), PRETRAINING, 32).save(path)
        keras.utils.set_random_seed(seed)
        model = transfer_model(5, weights=path, input_shape=(SIDE, SIDE, 3), augment="symbols")
    train_head(model, few, epochs=100, batch_size=16, seed=seed, verbose=0)
    after_head = evaluate(model, held_out, verbose=False)["accuracy"]
    unfreeze(model, "mixed_6a")
    fine_tune(
        model, few, epochs=FINE_TUNING, batch_size=16, learning_rate=2e-4,
        precision="auto", seed=seed, verbose=0,
    )  # fmt: skip
    transferred = evaluate(model, held_out, verbose=False)["accuracy"]
    alone = from_scratch(few, held_out, SCRATCH, 16)
    alone = evaluate(alone, held_out, verbose=False)["accuracy"]
    print(
        f"seed {seed}: transferred {transferred:.1%} (head alone {after_head:.1%}), "
        f"from scratch {alone:.1%}",
        flush=True,
    )
    return transferred, alone


def measure(run: Path) -> Findings:
    """Three seeds; `run` is not needed."""
    found = [digits(seed) for seed in range(3)]
    rows = [
        Row(name, Spread.of([100 * accuracy for accuracy in values]))
        for name, values in zip(
            ("transferred", "from scratch"), zip(*found, strict=True), strict=True
        )
    ]
    least = 100 * min(transferred - alone for transferred, alone in found)
    return Findings(
        [Table("Held-out images of 5 to 9, three seeds", "% right", "", rows)],
        [Claim("points gained by transfer, the least of three seeds",
               Spread.of([least]), LEAST_GAIN)],
    )  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    transferred, alone = digits(0)
    gain = 100 * (transferred - alone)
    if gain < LEAST_GAIN:
        sys.exit(f"the gain is {gain:.1f} points, less than {LEAST_GAIN}")
