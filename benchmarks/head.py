"""A new head on cached features, compared with a plain `fit` of the same frozen model.

1,000 images of 139 x 139, ten epochs, on the network of a digits run.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread, ratio, require_complete

SIDE, TRAIN, HELD_OUT, EPOCHS, RATE = 139, 1000, 200, 10, 5e-3
CACHED, PLAIN = "train_head", "fit"


def backbone(weights: Path, pixels, path: Path) -> None:
    """The run's network for larger images: its batch norm takes their statistics."""
    from keras_inception_v4 import InceptionV4

    model = InceptionV4(
        include_top=False, weights=weights, input_shape=pixels.shape[1:], pooling="avg",
        include_preprocessing=True, batch_norm_momentum=0.8,
    )  # fmt: skip
    for start in range(0, 320, 32):
        model(pixels[start : start + 32], training=True)
    model.save(path)


def measure(run: Path) -> Findings:
    """Trains the same head both ways, on the same images in the same order."""
    require_complete(run)
    import keras
    import numpy as np

    from keras_inception_v4 import train_head, transfer_model
    from keras_inception_v4.architecture import DIGITS_CROP
    from keras_inception_v4.data.digits import digit_scans
    from keras_inception_v4.data.pipeline import batched
    from keras_inception_v4.data.sources import Images
    from keras_inception_v4.preprocessing import resize_image
    from keras_inception_v4.training.feeding import EpochSteps

    scans, labels = digit_scans()
    chosen = np.random.default_rng(0).permutation(len(scans))[: TRAIN + HELD_OUT]
    size = (SIDE, SIDE)
    pixels = np.stack([resize_image(scans[i], size, DIGITS_CROP) for i in chosen])
    train = Images(pixels[:TRAIN], labels[chosen][:TRAIN])
    held_out = Images(pixels[TRAIN:], labels[chosen][TRAIN:])

    def build(path):
        keras.utils.set_random_seed(0)
        return transfer_model(
            10, weights=path, input_shape=(*size, 3), dropout_rate=0, augment=False
        )

    def cached(model):
        return train_head(model, train, held_out, epochs=EPOCHS, learning_rate=RATE, verbose=0)

    def plain(model):
        model.compile(
            keras.optimizers.Adam(RATE),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,
        )
        steps = EpochSteps(batched(train, 32, seed=0))
        same_order = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: steps.begin(epoch)
        )
        return model.fit(
            steps, validation_data=EpochSteps(batched(held_out, 32)), epochs=EPOCHS,
            callbacks=[same_order], shuffle=False, verbose=0,
        )  # fmt: skip

    seconds, accuracy = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.keras"
        backbone(run / "model.keras", train.pixels, path)
        for name, fit in ((CACHED, cached), (PLAIN, plain)):
            model = build(path)
            begun = time.perf_counter()
            accuracy[name] = 100 * fit(model).history["val_accuracy"][-1]
            seconds[name] = [time.perf_counter() - begun]
    rows = [
        Row(
            name,
            Spread.of(taken),
            ratio(seconds, name, PLAIN),
            note=f"{accuracy[name]:.1f} % right",
        )
        for name, taken in seconds.items()
    ]
    apart = Spread.of([abs(accuracy[CACHED] - accuracy[PLAIN])])
    return Findings(
        [Table(f"{EPOCHS} epochs, {TRAIN} images of {SIDE} x {SIDE}", "s", PLAIN, rows)],
        [
            Claim(
                "seconds of train_head / of fit",
                ratio(seconds, PLAIN, CACHED),
                0.1667,
                at_most=True,
            ),
            Claim("held-out accuracies apart, in points", apart, 1, at_most=True),
        ],
    )
