"""The pictures of the README, made from a digits run by the package's own commands.

    python -m benchmarks.pictures RUN

RUN is the folder of `keras-inception-v4 train digits`; the pictures go to `docs/`.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

CANVAS = 299
DOCS = Path(__file__).parent.parent / "docs"


def canvas(run: Path, digits=(3, 8, 0, 5)):
    """Four held-out digits of a run on one black square, a quarter each."""
    import numpy as np
    from PIL import Image

    pixels = np.zeros((CANVAS, CANVAS, 3), "uint8")
    quarter = CANVAS // 2
    for index, digit in enumerate(digits):
        with Image.open(run / "examples" / f"{digit}.png") as image:
            side = image.width
            top, left = (quarter * place + (quarter - side) // 2 for place in divmod(index, 2))
            pixels[top : top + side, left : left + side] = np.asarray(image)
    return pixels


def large_model(run: Path, folder: Path) -> Path:
    """The run's network for the canvas's size, saved with what the run recorded."""
    from keras_inception_v4 import InceptionV4

    for name in ("class_names.json", "config.json"):
        shutil.copy(run / name, folder / name)
    model = InceptionV4(
        weights=run / "model.keras",
        input_shape=(CANVAS, CANVAS, 3),
        classes=10,
        include_preprocessing=True,
    )
    model.save(folder / "model.keras")
    return folder / "model.keras"


def held_out(run: Path, folder: Path) -> Path:
    """The run's held-out digits as files, a subfolder a class."""
    import numpy as np
    from PIL import Image

    from keras_inception_v4.data import load_digits_data
    from keras_inception_v4.files import read_json

    arguments = read_json(run / "config.json")["arguments"]
    images = load_digits_data(arguments["image_size"], seed=arguments["seed"]).validation
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
    from keras_inception_v4.plots import plot_feature_maps

    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model_path = large_model(run, folder)
        pixels = canvas(run)
        Image.fromarray(pixels).save(folder / "canvas.png")
        extractor = feature_extractor(model=keras.saving.load_model(model_path))
        maps = extractor.predict_on_batch(pixels[None].astype("float32"))
        plot_feature_maps(
            pixels, {name: grid[0] for name, grid in maps.items()}, DOCS / "features.png"
        )
        command(["explain", str(folder / "canvas.png"), "--model", str(model_path),
                 "--output", str(DOCS / "explanation.png"), "--class", "8"])  # fmt: skip
        command(["embed", str(held_out(run, folder / "held-out")),
                 "--model", str(run / "model.keras"), "--output", str(folder / "features.npz"),
                 "--picture", str(DOCS / "embedding.png")])  # fmt: skip
    for name in ("curves", "confusion_matrix"):
        shutil.copy(run / f"{name}.png", DOCS / f"{name}.png")
    for path in sorted(DOCS.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
