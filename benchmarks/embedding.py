"""`embed` over files beside `predict` over the same images in memory; and the memory it takes.

Photographs: JPEG files cut from scikit-learn's two sample images.
"""

import tempfile
from pathlib import Path

from benchmarks.report import Claim, Findings, Table, speed_rows
from benchmarks.workers import Contender, Spread, interleaved, output_of, ratio, started

IMAGES, ROUNDS, BATCH, SIZE = 96, 5, 8, 299
FEW, MANY, PAIRS, FEATURES = 200, 2000, 3, 1536


def write_photographs(folder: str, count: int) -> None:
    """Cuts of 500 x 400 pixels, each at its own place."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    pictures = load_sample_images().images
    for index in range(count):
        top, left = rng.integers(0, (28, 141))
        cut = pictures[index % 2][top : top + 400, left : left + 500]
        Image.fromarray(cut).save(Path(folder) / f"{index:05}.jpg", quality=90)


def embed_files(folder: str):
    from keras_inception_v4 import InceptionV4, embed

    model = InceptionV4(weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3))
    paths = sorted(Path(folder).glob("*.jpg"))[:IMAGES]
    return lambda: lambda: embed(model, paths, BATCH, verbose=False)


def predict_in_memory(folder: str):
    import numpy as np

    from keras_inception_v4 import InceptionV4, load_image, preprocess_input

    model = InceptionV4(weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3))
    paths = sorted(Path(folder).glob("*.jpg"))[:IMAGES]
    images = preprocess_input(np.stack([load_image(path) for path in paths]))
    return lambda: lambda: model.predict(images, batch_size=BATCH, verbose=0)


def growth(folder: str) -> int:
    """Bytes by which the peak over many files is above that over few, in one process, at 75 x 75.

    The first call compiles, and is not counted; from process to process peaks differ by more than
    all features.
    """
    return int(
        output_of(
            "from pathlib import Path\n"
            "from benchmarks.workers import forget_peak, peak_of_this_process\n"
            "from keras_inception_v4 import InceptionV4, embed\n"
            f"paths = sorted(Path({folder!r}).glob('*.jpg'))\n"
            "model = InceptionV4(weights=None, include_top=False, pooling='avg', "
            "input_shape=(75, 75, 3))\n"
            "peaks = []\n"
            f"for count in ({FEW}, {FEW}, {MANY}):\n"
            "    forget_peak()\n"
            f"    embed(model, paths[:count], {BATCH}, verbose=False)\n"
            "    peaks.append(peak_of_this_process())\n"
            "print(peaks[2] - peaks[1])"
        )
    )


def measure(run: Path) -> Findings:
    """Throughput, and the growth of the peak; `run` is not needed."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(folder, MANY)
        names = {"embed, from files": embed_files, "predict, in memory": predict_in_memory}
        chosen = [Contender(name, build, {"folder": folder}) for name, build in names.items()]
        with started(chosen) as (workers, _):
            seconds, _ = interleaved(workers, ROUNDS)
        grown = [growth(folder) for _ in range(PAIRS)]
    from_files, in_memory = names
    rows = speed_rows(seconds, {}, IMAGES, in_memory)
    speed = ratio(seconds, from_files, in_memory)
    features = (MANY - FEW) * FEATURES * 4
    return Findings(
        [Table(f"Images of {SIZE} x {SIZE}, batch {BATCH}", "images/s", in_memory, rows)],
        [
            Claim("embed from files / predict in memory", speed, 0.9),
            Claim(f"growth of the peak, {MANY} files over {FEW} / the features",
                  Spread.of([more / features for more in grown]), 1, at_most=True),
        ],
    )  # fmt: skip
