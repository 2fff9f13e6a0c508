"""Building the model: against InceptionResNetV2, and with cached weights against without.

    python -m benchmarks.construction

Interleaved in one process, medians; peak memory in a process each.
"""

import dataclasses
import hashlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.memory import peak_of

ROUNDS = 7


def write_weights(path: Path) -> None:
    """A file of the released layout and size; the values do not matter here."""
    import numpy as np
    from safetensors.numpy import save_file

    from keras_inception_v4.architecture import convolutions
    from keras_inception_v4.weights.names import timm_names

    rng = np.random.default_rng(0)
    names, state = timm_names(), {}
    for unit in convolutions():
        op = unit.op
        shape = (op.filters, unit.channels, op.height, op.width)
        state[names[f"{unit.name}_conv/kernel"]] = 0.05 * rng.standard_normal(shape, "float32")
        for variable in ("beta", "moving_mean", "moving_variance"):
            state[names[f"{unit.name}_bn/{variable}"]] = np.ones(op.filters, "float32")
    state["last_linear.weight"] = np.zeros((1000, 1536), "float32")
    state["last_linear.bias"] = np.zeros(1000, "float32")
    save_file(state, path)


def use_as_imagenet(path: Path) -> None:
    """Makes `weights="imagenet"` mean this file, hash check included."""
    from keras_inception_v4 import model
    from keras_inception_v4.weights.imagenet import IMAGENET, check_hash

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    record = dataclasses.replace(IMAGENET, sha256=digest.hexdigest())

    def cached():
        check_hash(path, record)
        return path

    model.fetch = cached


def seconds(build) -> float:
    import keras

    keras.backend.clear_session()
    started = time.perf_counter()
    build()
    return time.perf_counter() - started


def main() -> None:
    """Prints ratios, with absolute medians for context."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    from keras_inception_v4 import InceptionV4

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_weights(path)
        use_as_imagenet(path)
        subjects = {
            "InceptionV4(weights=None)": lambda: InceptionV4(weights=None),
            "InceptionV4(weights='imagenet')": InceptionV4,
            "InceptionResNetV2(weights=None)": lambda: keras.applications.InceptionResNetV2(
                weights=None
            ),
        }
        for build in subjects.values():
            build()
        times = {name: [] for name in subjects}
        for _ in range(ROUNDS):
            for name, build in subjects.items():
                times[name].append(seconds(build))
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, values in times.items():
            print(f"{name}: {medians[name]:.2f} s ({min(values):.2f} to {max(values):.2f})")
        plain, loaded, other = medians.values()
        print(f"InceptionV4 / InceptionResNetV2: {plain / other:.2f}")
        print(f"with cached weights / without: {loaded / plain:.2f}")

        size = path.stat().st_size
        build = "from keras_inception_v4 import InceptionV4; InceptionV4(weights=None)"
        load = (
            "from pathlib import Path\n"
            "from benchmarks.construction import use_as_imagenet\n"
            f"use_as_imagenet(Path({str(path)!r}))\n"
            "from keras_inception_v4 import InceptionV4; InceptionV4()"
        )
        added = peak_of(load) - peak_of(build)
        print(f"peak memory added by the weights / the file's size: {added / size:.2f}")


if __name__ == "__main__":
    main()
