"""Engines that run a model on many pictures: Keras, another runtime, or Ray."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from keras_inception_v4.architecture import CLASSIFIER
from keras_inception_v4.artefacts import is_artefact, require_runtime
from keras_inception_v4.errors import check_one_of
from keras_inception_v4.inference.answering import Embedder, Predictor, fingerprint_of
from keras_inception_v4.inference.on_ray import connected, look_at, on_ray
from keras_inception_v4.inference.parts import Streamed, require_parquet
from keras_inception_v4.inference.streaming import here, stream
from keras_inception_v4.inspection import names_of

RAY, KERAS = "ray", "keras"
RUNTIMES = {"openvino": "", "onnx": ".onnx", "litert": ".tflite"}
ENGINES = (KERAS, *RUNTIMES, RAY)


def run_on(
    engine: str | None,
    kind: type[Embedder] | type[Predictor],
    model: str | os.PathLike | None,
    arguments: dict,
    places: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    address: str | None = None,
    **options,
) -> Streamed:
    """Run a model on pictures and write its outputs to Parquet.

    Args:
        engine: `"keras"` runs the model itself. `"openvino"`, `"onnx"` and `"litert"` first export
            it in float32 and verify the export. `"ray"` uses all devices of a cluster. `None` uses
            Keras for a model and its own runtime for an artefact.
        kind: `Embedder` or `Predictor`.
        model: Model for `kind`.
        arguments: Other arguments for `kind`.
        places: Places of the pictures.
        output: Folder or `.parquet` file, as in `streaming.stream`.
        address: Address of a Ray cluster, as `ray.init` takes it. `None` starts one on this
            machine. If the caller is already connected to a cluster, that one is used.
        options: `batch_size` and other options of `streaming.stream`.

    Raises:
        FileNotFoundError, OSError: As in `streaming.stream` and `kind`.
        ValueError: As there, or if `engine` is unknown or cannot run this model.
        ImportError: As there, or if the engine's runtime is not installed.
    """
    check_one_of((None, *ENGINES), engine=engine)
    if address is not None and engine != RAY:
        raise ValueError(f"Received address={address!r}. It is for the engine ray.")
    if engine not in (None, RAY) and model is not None and is_artefact(model):
        raise ValueError(
            f"Received engine={engine!r} for {model}, which is an artefact and has its own runtime."
        )
    require_parquet()
    with ExitStack() as stack:
        if engine == RAY:
            model = None if model is None else os.path.abspath(model)  # workers run elsewhere
            stack.enter_context(connected(address))
            found = look_at(kind, {"model": model, **arguments})
            made, known = on_ray(kind, {"model": model, **arguments}, found), found.known
        else:
            about = {}
            if engine in RUNTIMES:
                about = {"model": fingerprint_of(model), "engine": engine}
                exporting = _exported(model, engine, kind.part, arguments["pixels"])
                model = stack.enter_context(exporting)
                precision = arguments["precision"]
                if engine == "openvino" and precision is None:
                    precision = "float32"  # OpenVINO may choose bfloat16 by itself
                arguments = {**arguments, "pixels": None, "precision": precision}
            work = kind(model, **arguments)
            made, known = here(work), {**work.known, **about}
        return stream(places, known, made, output, **options)


@contextmanager
def _exported(
    model: str | os.PathLike | None, format: str, part: str, pixels: str | None
) -> Iterator[Path]:
    """Export the model to a verified temporary artefact and yield its path."""
    require_runtime(format)
    # Imported here because running an artefact does not need them.
    from keras_inception_v4.export import export_file, export_model
    from keras_inception_v4.model import InceptionV4

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{RUNTIMES[format]}"
        if model is None:
            network = InceptionV4()
            names = names_of(network.output_shape[-1], None) if part == CLASSIFIER else None
            export_model(network, path, format=format, part=part, class_names=names, verbose=0)
        else:
            export_file(model, path, format=format, part=part, pixels=pixels, verbose=0)
        yield path
