"""What transfer learning costs and what it gives.

    python -m benchmarks.transfer head MODEL    cached features against a plain fit, side by side
    python -m benchmarks.transfer digits            digits 0 to 4 help with 5 to 9, three seeds
    python -m benchmarks.transfer digits once       the same, one seed

MODEL is the `model.keras` of a digits run. `digits` fails where transfer gains less than 15 points.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

HEAD_SIDE, HEAD_TRAIN, HEAD_HELD_OUT, HEAD_EPOCHS, HEAD_RATE = 139, 1000, 200, 10, 5e-3
SIDE, SHOTS, LEAST_GAIN = 75, 20, 0.15
PRETRAINING, FINE_TUNING, SCRATCH = 5, 30, 20  # epochs


def backbone(model_path: str, pixels, path: Path) -> None:
    """The run's network for larger images: its batch norm takes their statistics."""
    from keras_inception_v4 import InceptionV4

    model = InceptionV4(
        include_top=False, weights=model_path, input_shape=pixels.shape[1:], pooling="avg",
        include_preprocessing=True, batch_norm_momentum=0.8,
    )  # fmt: skip
    for start in range(0, 320, 32):
        model(pixels[start : start + 32], training=True)
    model.save(path)


def head(model_path: str) -> tuple[float, dict[str, float]]:
    """Trains the same head both ways, on the same images in the same order.

    Returns:
        Seconds of `train_head` over seconds of `fit`, and the held-out accuracy of each.
    """
    import keras
    import numpy as np

    from keras_inception_v4 import train_head, transfer_model
    from keras_inception_v4.data import DIGITS_CROP, Batches, Images, digit_scans
    from keras_inception_v4.preprocessing import resize_image

    scans, labels = digit_scans()
    chosen = np.random.default_rng(0).permutation(len(scans))[: HEAD_TRAIN + HEAD_HELD_OUT]
    size = (HEAD_SIDE, HEAD_SIDE)
    pixels = np.stack([resize_image(scans[i], size, DIGITS_CROP) for i in chosen])
    train = Images(pixels[:HEAD_TRAIN], labels[chosen][:HEAD_TRAIN])
    held_out = Images(pixels[HEAD_TRAIN:], labels[chosen][HEAD_TRAIN:])

    def build(path):
        keras.utils.set_random_seed(0)
        return transfer_model(
            10, weights=path, input_shape=(*size, 3), dropout_rate=0, augment=False
        )

    def cached(model):
        return train_head(
            model, train, held_out, epochs=HEAD_EPOCHS, learning_rate=HEAD_RATE, verbose=0
        )

    def plain(model):
        model.compile(
            keras.optimizers.Adam(HEAD_RATE),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,
        )
        batches = Batches(train, 32, seed=0)
        same_order = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: batches.start_epoch(epoch)
        )
        return model.fit(
            batches, validation_data=Batches(held_out, 32), epochs=HEAD_EPOCHS,
            callbacks=[same_order], shuffle=False, verbose=0,
        )  # fmt: skip

    seconds, accuracy = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.keras"
        backbone(model_path, train.pixels, path)
        for name, run in (("cached", cached), ("plain", plain)):
            model = build(path)
            started = time.perf_counter()
            accuracy[name] = run(model).history["val_accuracy"][-1]
            seconds[name] = time.perf_counter() - started
            print(f"{name}: {seconds[name]:.0f} s, {accuracy[name]:.1%} held out", flush=True)
    return seconds["cached"] / seconds["plain"], accuracy


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
    from keras_inception_v4.data import DIGITS_CROP, Images, LabelledData, load_digits_data
    from keras_inception_v4.training import scratch_model, train_from_scratch

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
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            precision="mixed_bfloat16",
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
        precision="mixed_bfloat16", seed=seed, verbose=0,
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


def main() -> None:
    """Prints one line a measurement."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if sys.argv[1:2] == ["head"] and len(sys.argv) == 3:
        ratio, accuracy = head(sys.argv[2])
        print(f"cached / plain: {ratio:.3f}")
        if ratio > 1 / 6 or abs(accuracy["cached"] - accuracy["plain"]) > 0.01:
            sys.exit("the cached way must cost at most a sixth and end within one point")
    elif sys.argv[1:] in (["digits"], ["digits", "once"]):
        for seed in range(1 if sys.argv[2:] else 3):
            transferred, alone = digits(seed)
            if transferred - alone < LEAST_GAIN:
                sys.exit(f"the gain is {transferred - alone:.1%}, less than {LEAST_GAIN:.0%}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
