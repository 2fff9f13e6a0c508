"""An image of 299 pixels in a browser, compared with ONNX Runtime itself, in int8.

The weights are those of the run. They were trained on smaller images, which does not change the
time of a prediction.
"""

import tempfile
import time
from pathlib import Path

from benchmarks import browser
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import NotMeasuredError, Spread, require_complete

SIDE, CALIBRATION, IMAGES, ROUNDS = 299, 16, 3, 5
MOST = 2.5  # times ONNX Runtime's seconds, with one thread each
ONE, TWO = "in the page, one thread", "in the page, two threads"
NATIVE = "ONNX Runtime, one thread"


def measure(run: Path) -> Findings:
    """Rounds in which each answers the same pictures; `run` is of the first command."""
    require_complete(run)
    if browser.CHROMIUM is None:
        raise NotMeasuredError("Chromium is not installed")
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), run)


def _measure(folder: Path, run: Path) -> Findings:
    from PIL import Image

    from keras_inception_v4 import InceptionV4, export_model
    from keras_inception_v4.data.digits import load_digits_data

    pixels = load_digits_data(SIDE, seed=0).train.pixels[:CALIBRATION]
    model = InceptionV4(
        weights=run / "model.keras", input_shape=(SIDE, SIDE, 3), classes=10,
        include_preprocessing=True,
    )  # fmt: skip
    page, paths = folder / "page", []
    export_model(
        model, page, format="web", precision="int8", calibration=pixels, verification=False
    )
    for index, image in enumerate(pixels[:IMAGES]):
        paths.append(folder / f"{index}.png")
        Image.fromarray(image.round().astype("uint8")).save(paths[-1])
    native, loading = _native(page), {}
    seconds: dict[str, list[float]] = {NATIVE: [], ONE: [], TWO: []}
    with (
        browser.chromium() as chromium,
        browser.served(page) as address,
        browser.opened(chromium, address, threads=1) as (alone, _),
    ):
        for threads in (1, 2):
            begun = time.perf_counter()
            with browser.opened(chromium, address, threads=threads):
                loading[threads] = time.perf_counter() - begun
        with browser.opened(chromium, address, threads=2) as (together, _):
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                for image in pixels[:IMAGES]:
                    native(image[None])
                seconds[NATIVE].append((time.perf_counter() - begun) / IMAGES)
                for name, opened in ((ONE, alone), (TWO, together)):
                    found = browser.answers(opened, paths)
                    taken = [answer["milliseconds"]["network"] / 1000 for answer in found]
                    seconds[name].append(sum(taken) / IMAGES)
    loaded = sum(file.stat().st_size for file in page.iterdir()) / 1e6
    rows = [
        Row(name, Spread.of(taken), _times(seconds, NATIVE, name))
        for name, taken in seconds.items()
    ]
    return Findings(
        [Table(f"{SIDE} x {SIDE}, int8: a picture", "seconds", NATIVE, rows)],
        [Claim("page / ONNX Runtime, seconds of int8 with one thread",
               _times(seconds, ONE, NATIVE), MOST, at_most=True)],
        [f"{loaded:.0f} MB are loaded; from loopback the page is ready in {loading[1]:.1f} s with "
         f"one thread, {loading[2]:.1f} with two."],
    )  # fmt: skip


def _times(seconds: dict[str, list[float]], one: str, other: str) -> Spread:
    """How many times as long one takes as another, in the same round."""
    return Spread.of([a / b for a, b in zip(seconds[one], seconds[other], strict=True)])


def _native(page: Path):
    """The page's network in ONNX Runtime with one thread."""
    import onnxruntime

    from keras_inception_v4.artefacts import page_network

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        page_network(page), options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    return lambda batch: session.run(None, {given.name: batch})
