"""What does the work over many pictures: the model itself, another runtime, or Ray."""

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
    """Answers pictures into Parquet.

    Args:
        engine: `"keras"`; `"openvino"`, `"onnx"` or `"litert"`, for which the model is exported in
            float32 and verified first; `"ray"`, all devices of a cluster; `None` is the model's or
            artefact's own.
        kind: what is answered.
        model: its model.
        arguments: its others.
        places: of the pictures.
        output: as in `streaming.stream`, and so are the options.
        address: of a Ray cluster, as `ray.init` takes it; `None` starts one on this machine, or
            uses the one that the caller is connected to.
        options: `batch_size` and the rest.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: as `streaming.stream` and `kind`; for
            an engine that is none, or cannot run this model.
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
            model = None if model is None else os.path.abspath(model)  # for the workers
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
                    precision = "float32"  # its own choice may be bfloat16
                arguments = {**arguments, "pixels": None, "precision": precision}
            work = kind(model, **arguments)
            made, known = here(work), {**work.known, **about}
        return stream(places, known, made, output, **options)


@contextmanager
def _exported(
    model: str | os.PathLike | None, format: str, part: str, pixels: str | None
) -> Iterator[Path]:
    """A verified artefact of the model, while it is needed."""
    require_runtime(format)
    # What an artefact needs not.
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
