"""Whether Grad-CAM at `mixed_6h` finds the pixels that decide, measured by deletion.

Each map is compared with the same map shuffled. The images are held-out digits at random places of
a canvas. The first command's network is trained for some epochs on such canvases before. At 139
pixels the endpoint has 7 x 7 cells.
"""

import tempfile
from pathlib import Path

from benchmarks.pictures import canvas_model, canvases
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread, require_complete

ENDPOINT, CANVASES, SEED = "mixed_6h", 50, 3
SIZE, TRAINING = 139, 1200  # pixels, canvases


def areas(model, pixels) -> list[tuple[float, float]]:
    """The area below the curve of deletion of each canvas, by its map and by the map shuffled."""
    import numpy as np

    from keras_inception_v4 import faithfulness, grad_cam

    rng = np.random.default_rng(SEED)
    maps = grad_cam(model, pixels, endpoint=ENDPOINT)
    found = []
    for image, cells in zip(pixels, maps, strict=True):
        shuffled = rng.permutation(cells.ravel()).reshape(cells.shape)
        both = (
            faithfulness(model, image, each, batch_size=42, endpoint=ENDPOINT).deletion_area
            for each in (cells, shuffled)
        )
        found.append(tuple(both))
    return found


def measure(run: Path) -> Findings:
    """A table; `run` is of the first command."""
    require_complete(run)
    import keras

    from keras_inception_v4.data.digits import load_digits_data
    from keras_inception_v4.files import read_json

    arguments = read_json(run / "config.json")["arguments"]
    data = load_digits_data(arguments["image_size"], seed=arguments["seed"])
    with tempfile.TemporaryDirectory() as folder:
        model = keras.saving.load_model(
            canvas_model(run, data, Path(folder), size=SIZE, count=TRAINING)
        )
    pixels, _ = canvases(data.validation, CANVASES, SEED, SIZE)
    found = areas(model, pixels)
    own, shuffled = zip(*found, strict=True)
    better = 100 * sum(a < b for a, b in found) / len(found)
    rows = [Row("its map", Spread.of(own)), Row("the map shuffled", Spread.of(shuffled))]
    claim = Claim("% of canvases whose map is better than shuffled", Spread.of([better]), 90)
    table = Table(f"Deletion at {ENDPOINT}, {CANVASES} held-out digits", "area", "", rows)
    return Findings([table], [claim])
