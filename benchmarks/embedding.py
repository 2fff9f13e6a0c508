"""`embed` over files, compared with `predict` over the same images in memory; and its memory.

The photographs are JPEG files cut from scikit-learn's two sample images. Also measured: helpers
called for one image at a time, and the memory that an image of a hundred megapixels takes.
"""

import tempfile
from pathlib import Path

from benchmarks.report import Claim, Findings, Table, speed_rows
from benchmarks.workers import Contender, Spread, interleaved, output_of, ratio, started

IMAGES, ROUNDS, BATCH, SIZE = 96, 5, 8, 299
FEW, MANY, PAIRS, FEATURES = 200, 2000, 3, 1536
CALLS, SMALL, SIDE = 100, 75, 10_000


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


def one_at_a_time(work: str):
    """Calls with one image: of the model itself, or of a helper that uses a part of it."""
    import numpy as np

    from keras_inception_v4 import InceptionV4, class_activation_map, embed

    model = InceptionV4(
        weights=None, classes=10, input_shape=(SMALL, SMALL, 3), include_preprocessing=True
    )
    image = np.random.default_rng(0).uniform(0, 255, (1, SMALL, SMALL, 3)).astype("float32")
    call = {
        "predict_on_batch": lambda: model.predict_on_batch(image),
        "embed": lambda: embed(model, image, 1, verbose=False),
        "class_activation_map": lambda: class_activation_map(model, image),
    }[work]

    def run():
        for _ in range(CALLS):
            call()

    return lambda: run


def large_picture(folder: str, file: str, options: dict) -> float:
    """Bytes by which the peak of reading a large picture is above its decoded pixels, as a ratio.

    Pillow keeps four bytes a pixel.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    path = Path(folder) / file
    Image.fromarray(np.asarray(load_sample_images().images[0])).resize((SIDE, SIDE)).save(
        path, **options
    )
    grown = output_of(
        "from benchmarks.workers import forget_peak, peak_of_this_process\n"
        "from keras_inception_v4.preprocessing import load_image\n"
        "before = peak_of_this_process()\n"
        f"load_image({str(path)!r})\n"
        "print(peak_of_this_process() - before)"
    )
    path.unlink()
    return int(grown) / (4 * SIDE * SIDE)


def measure(run: Path) -> Findings:
    """Throughput, the growth of the peak, and single calls; `run` is not needed."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(folder, MANY)
        names = {"embed, from files": embed_files, "predict, in memory": predict_in_memory}
        chosen = [Contender(name, build, {"folder": folder}) for name, build in names.items()]
        with started(chosen) as (workers, _):
            seconds, _ = interleaved(workers, ROUNDS)
        grown = [growth(folder) for _ in range(PAIRS)]
        peaks = [
            large_picture(folder, file, options)
            for file, options in (("x.jpg", {"quality": 90}), ("x.png", {"compress_level": 1}))
        ]
    calls = ("predict_on_batch", "embed", "class_activation_map")
    with started([Contender(name, one_at_a_time, {"work": name}) for name in calls]) as (
        workers,
        _,
    ):
        taken, _ = interleaved(workers, ROUNDS)
    from_files, in_memory = names
    rows = speed_rows(seconds, {}, IMAGES, in_memory)
    speed = ratio(seconds, from_files, in_memory)
    features = (MANY - FEW) * FEATURES * 4
    return Findings(
        [
            Table(f"Images of {SIZE} x {SIZE}, batch {BATCH}", "images/s", in_memory, rows),
            Table(f"{CALLS} calls with one image of {SMALL} x {SMALL}", "images/s", calls[0],
                  speed_rows(taken, {}, CALLS, calls[0])),
        ],
        [
            Claim("embed from files / predict in memory", speed, 0.9),
            Claim(f"growth of the peak, {MANY} files over {FEW} / the features",
                  Spread.of([more / features for more in grown]), 1, at_most=True),
            *(
                Claim(f"{CALLS} calls of {name} / of {calls[0]}, seconds",
                      ratio(taken, calls[0], name), 1.5, at_most=True)
                for name in calls[1:]
            ),
            Claim("peak of reading a picture of 100 megapixels, JPEG and PNG / its decoded pixels",
                  Spread.of(peaks), 1.5, at_most=True),
        ],
    )  # fmt: skip
