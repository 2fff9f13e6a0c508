"""Fine-tuning on cached outputs of the frozen blocks, compared with computing them every epoch.

A thousand digits of 139 pixels, from `mixed_7a` on, five epochs without augmentation, from the
first command's network.
"""

import os
import time
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread, output_of, require_complete
from keras_inception_v4.training.options import ONEDNN

SIDE, IMAGES, EPOCHS, HEAD_EPOCHS = 139, 1000, 5, 20
WAYS = {"each epoch anew": 0, "kept": None}


def seconds_and_accuracy(run: str, kept: int | None) -> str:
    """Seconds of `fine_tune` and accuracy on held-out digits, as `seconds:accuracy`."""
    import keras

    from keras_inception_v4 import evaluate, fine_tune, train_head, transfer_model, unfreeze
    from keras_inception_v4.data.digits import load_digits_data
    from keras_inception_v4.data.sources import Images

    data = load_digits_data(SIDE, seed=0)
    train = Images(data.train.pixels[:IMAGES], data.train.labels[:IMAGES])
    keras.utils.set_random_seed(0)
    model = transfer_model(
        10, weights=Path(run) / "model.keras", input_shape=(SIDE, SIDE, 3), augment=False
    )
    train_head(model, train, epochs=HEAD_EPOCHS, verbose=0)
    unfreeze(model, "mixed_7a")
    begun = time.perf_counter()
    fine_tune(model, train, data.validation, epochs=EPOCHS, cache_augmented=kept, verbose=0)
    seconds = time.perf_counter() - begun
    accuracy = evaluate(model, data.validation, verbose=False)["accuracy"]
    return f"{seconds}:{accuracy}"


def measure(run: Path) -> Findings:
    """One after the other, each in a process of its own; `run` is of the first command."""
    require_complete(run)
    os.environ.setdefault(ONEDNN, "1")  # as the command `train` sets it
    seconds, accuracies = {}, {}
    for name, kept in WAYS.items():
        code = (
            "from benchmarks.fine_tuning import seconds_and_accuracy as s; "
            f"print(s({str(run)!r}, {kept}))"
        )
        seconds[name], accuracies[name] = map(float, output_of(code).split(":"))
    anew, kept = WAYS
    rows = [
        Row(f"{name}: {accuracies[name]:.1%} of held-out digits", Spread.of([seconds[name]]))
        for name in WAYS
    ]
    points = 100 * abs(accuracies[kept] - accuracies[anew])
    claims = [
        Claim("seconds kept / anew", Spread.of([seconds[kept] / seconds[anew]]), 0.5, at_most=True),
        Claim("points of accuracy between them", Spread.of([points]), 1, at_most=True),
    ]
    title = f"{EPOCHS} epochs of {IMAGES:,} digits of {SIDE} pixels from mixed_7a on"
    return Findings([Table(title, "seconds", "", rows)], claims)
