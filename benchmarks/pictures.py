"""Makes the pictures of the README from a digits run, with the package's own commands.

    python -m benchmarks.pictures RUN

RUN is the folder of `keras-inception-v4 train digits`; the pictures go to `docs/`.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

CANVAS, CANVASES, EPOCHS = 171, 480, 4
DOCS = Path(__file__).parent.parent / "docs"


def canvases(images, count: int, seed: int, size: int = CANVAS):
    """Digits of a run, each at a random place of a black square; and their labels."""
    import numpy as np

    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(images), count, replace=False)
    side = images.pixels.shape[1]
    pixels = np.zeros((count, size, size, 3), "float32")
    for canvas, index in zip(pixels, chosen, strict=True):
        top, left = rng.integers(0, size - side + 1, 2)
        canvas[top : top + side, left : left + side] = images.pixels[index]
    return pixels, images.labels[chosen]


def canvas_model(
    run: Path, data, folder: Path, *, size: int = CANVAS, count: int = CANVASES
) -> Path:
    """The run's network, trained on for digits at any place, saved as a run leaves it."""
    import keras

    from keras_inception_v4 import InceptionV4, evaluate, fine_tune

    keras.utils.set_random_seed(0)
    model = InceptionV4(
        weights=run / "model.keras", input_shape=(size, size, 3), classes=10,
        batch_norm_momentum=0.9, include_preprocessing=True,
    )  # fmt: skip
    fine_tune(
        model, canvases(data.train, count, 0, size), epochs=EPOCHS, batch_size=16,
        learning_rate=5e-4, precision="auto", verbose=2,
    )  # fmt: skip
    accuracy = evaluate(model, canvases(data.validation, 200, 1, size), verbose=False)["accuracy"]
    print(f"held-out digits at any place: {accuracy:.1%}")
    for name in ("class_names.json", "config.json"):
        shutil.copy(run / name, folder / name)
    model.save(folder / "model.keras")
    return folder / "model.keras"


def held_out(images, folder: Path) -> Path:
    """Held-out digits as files, a subfolder a class."""
    import numpy as np
    from PIL import Image

    for index, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        path = folder / str(label) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(pixels).astype("uint8")).save(path)
    return folder


def main() -> None:
    """Writes every picture; prints its size."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    from PIL import Image

    from keras_inception_v4 import feature_extractor
    from keras_inception_v4.cli import main as command
    from keras_inception_v4.data.digits import load_digits_data
    from keras_inception_v4.files import read_json
    from keras_inception_v4.plots import plot_feature_maps

    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    DOCS.mkdir(exist_ok=True)
    arguments = read_json(run / "config.json")["arguments"]
    data = load_digits_data(arguments["image_size"], seed=arguments["seed"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model_path = canvas_model(run, data, folder)
        pixels, labels = canvases(data.validation, 8, 2)
        Image.fromarray(pixels[0].astype("uint8")).save(folder / "canvas.png")
        extractor = feature_extractor(model=keras.saving.load_model(model_path))
        maps = extractor.predict_on_batch(pixels[:1])
        plot_feature_maps(
            pixels[0], {name: grid[0] for name, grid in maps.items()}, DOCS / "features.png"
        )
        command(["explain", str(folder / "canvas.png"), "--model", str(model_path),
                 "--output", str(DOCS / "explanation.png")])  # fmt: skip
        print(f"the digit is {labels[0]}")
        command(["embed", str(held_out(data.validation, folder / "held-out")),
                 "--model", str(run / "model.keras"), "--output", str(folder / "features.npz"),
                 "--picture", str(DOCS / "embedding.png")])  # fmt: skip
    for name in ("curves", "confusion_matrix"):
        shutil.copy(run / f"{name}.png", DOCS / f"{name}.png")
    for path in sorted(DOCS.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
