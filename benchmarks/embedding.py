"""`embed` over files against `predict` over the same images in memory, and its peak memory.

    python -m benchmarks.embedding

Photographs: 200 JPEG files cut from scikit-learn's two sample images. Interleaved, medians.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.memory import forget_peak, output_of, peak_of_this_process

IMAGES, ROUNDS, BATCH = 200, 3, 8
FEW, MANY = 200, 2000


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


def growth_in_this_process(folder: str) -> int:
    """How much higher the peak is over 2,000 images than over 200, in bytes."""
    from keras_inception_v4 import InceptionV4, embed

    paths = sorted(Path(folder).glob("*.jpg"))
    model = InceptionV4(weights=None, include_top=False, pooling="avg", input_shape=(75, 75, 3))
    peaks = []
    for count in (FEW, FEW, MANY):  # the first one is a warm-up
        forget_peak()
        embed(model, paths[:count], BATCH, verbose=False)
        peaks.append(peak_of_this_process())
    return peaks[2] - peaks[1]


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

    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), MANY)
        grown = [
            int(
                output_of(
                    "from benchmarks.embedding import growth_in_this_process\n"
                    f"print(growth_in_this_process({folder!r}))"
                )
            )
            for _ in range(ROUNDS)
        ]
    print(f"peak of {MANY} images over that of {FEW}: {statistics.median(grown) / 1e6:+.1f} MB "
          f"({min(grown) / 1e6:+.1f} to {max(grown) / 1e6:+.1f}); "
          f"the features are {(MANY - FEW) * 1536 * 4 / 1e6:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
