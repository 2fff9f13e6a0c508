"""`embed` over files against `predict` over the same images in memory, and its peak memory.

    python -m benchmarks.embedding

Photographs: 200 JPEG files cut from scikit-learn's two sample images. Interleaved, medians.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.memory import peak_of

IMAGES, ROUNDS, BATCH = 200, 3, 8


def write_photographs(folder: Path, count: int) -> list[Path]:
    """Cuts of 500 x 400 pixels, each at its own place."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    pictures = load_sample_images().images
    paths = []
    for index in range(count):
        top, left = rng.integers(0, (28, 141))
        cut = pictures[index % 2][top : top + 400, left : left + 500]
        paths.append(folder / f"{index:05}.jpg")
        Image.fromarray(cut).save(paths[-1], quality=90)
    return paths


def embed_in_this_process(count: int, size: int) -> None:
    from keras_inception_v4 import InceptionV4, embed

    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), count)
        model = InceptionV4(
            weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
        )
        embed(model, paths, BATCH, verbose=False)


def main() -> None:
    """Prints the ratio of throughputs and the growth of the peak."""
    import numpy as np

    from keras_inception_v4 import InceptionV4, embed, load_image, preprocess_input

    model = InceptionV4(weights=None, include_top=False, pooling="avg", input_shape=(299, 299, 3))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), IMAGES)
        images = preprocess_input(np.stack([load_image(path) for path in paths]))
        subjects = {
            "predict, in memory": lambda: model.predict(images, batch_size=BATCH, verbose=0),
            "embed, from files": lambda: embed(model, paths, BATCH, verbose=False),
        }
        for run in subjects.values():
            run()
        times = {name: [] for name in subjects}
        for _ in range(ROUNDS):
            for name, run in subjects.items():
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
    rates = {name: IMAGES / statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name}: {rates[name]:.2f} images/s "
              f"({IMAGES / max(values):.2f} to {IMAGES / min(values):.2f})")  # fmt: skip
    in_memory, from_files = rates.values()
    print(f"embed / predict: {from_files / in_memory:.2f}")

    few, many = (
        peak_of(
            "from benchmarks.embedding import embed_in_this_process\n"
            f"embed_in_this_process({count}, 75)"
        )
        for count in (200, 2000)
    )
    grown = many - few
    print(f"peak from 200 to 2,000 images: {grown / 1e6:+.1f} MB; "
          f"the features are {1800 * 1536 * 4 / 1e6:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
