"""An audit without a model, compared with reading the same files once."""

import tempfile
import time
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread

FILES, CLASSES, ROUNDS = 5_000, 10, 3


def write_photographs(root: Path) -> None:
    """Different parts of two photographs, in folders of classes."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for index in range(FILES):
        whole = photographs[index % 2]
        width = rng.integers(150, 500)
        height = width * 4 // 5
        left, top = rng.integers(whole.width - width), rng.integers(whole.height - height)
        part = whole.resize((500, 400), box=(left, top, left + width, top + height))
        folder = root / f"{index % CLASSES}"
        folder.mkdir(exist_ok=True)
        part.save(folder / f"{index:05}.jpg", quality=90)


def measure(run: Path) -> Findings:
    """Photographs of 500 x 400 pixels in folders of classes, in turns."""
    from keras_inception_v4.audit import audit
    from keras_inception_v4.data.folders import list_images, scan_images

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_photographs(root)
        turns = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            scan_images(list_images(root), verbose=0)
            read = time.perf_counter()
            audit(root, verbose=0)
            turns.append((read - started, time.perf_counter() - read))
    reading, auditing = zip(*turns, strict=True)
    rows = [
        Row("every file decoded once", Spread.of(reading)),
        Row("audit without a model", Spread.of(auditing)),
    ]
    claim = Claim("audit / reading the files once",
                  Spread.of([audit / read for read, audit in turns]), 2, at_most=True)  # fmt: skip
    return Findings([Table(f"{FILES:,} photographs of 500 x 400", "seconds", "", rows)], [claim])
