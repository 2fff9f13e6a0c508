"""Run a model with Ray Data: CPUs read and decode, and one actor per device holds the model."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import NamedTuple

import numpy as np

from keras_inception_v4.artefacts import format_of
from keras_inception_v4.data.places import PIECE, piece_of
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.inference.answering import PATH, PIXELS, REASON, Answering, decoded
from keras_inception_v4.inference.streaming import Engine, Groups, as_text

CHUNK = 100  # parts per actor in one Ray dataset; actors are restarted for every dataset
TOGETHER = 4  # pieces that one task reads
KERAS_FORMATS = (None, "saved_model")  # formats that use a GPU if there is one
FIRST = re.compile(r"[\w.]+(Error|Exception): ")
PATIENCE = "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"
DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # by default Ray reports usage to its developers
    # Ray's default of 15 suits desktops: beside two busy processes its workers get 3 % of a core.
    "RAY_worker_niceness": "0",
    # Seconds until the HTTP proxy must be ready. On a busy machine Ray's default of 5 s ends while
    # the proxy still imports. Ray then kills it and the start fails. The start itself waits 60 s.
    PATIENCE: "60",
}
"""Environment variables set before Ray starts, unless the user has set them."""
ENVIRONMENT = (
    "KERAS_BACKEND",
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_ENABLE_ONEDNN_OPTS",
    "HF_HUB_CACHE",
    PATIENCE,
)
"""Environment variables that workers inherit from this process."""


class Found(NamedTuple):
    """The attributes of an opened model, as in `Answering`."""

    size: tuple[int, int]
    crop: float
    known: dict


def require_ray():
    """Import and return `ray`, with its data library.

    Raises:
        ImportError: If it is not installed. The message names the extra.
    """
    require_extra("ray.data", "The engine ray needs", "ray[data]", "ray")
    return require_extra("ray", "The engine ray needs", "ray[data]", "ray")


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Connect to Ray while the block runs.

    If the caller is already connected, that connection is used and kept open.

    Args:
        address: Address of a cluster, as `ray.init` takes it. `None` starts one on this machine.

    Raises:
        ImportError: If Ray is not installed. The message names the extra.
        OSError: If there is no cluster at the address, or none can be started.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    variables = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    with _quiet():
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = "Ray cannot start here" if address is None else f"There is no Ray at {address}"
            raise OSError(f"{where}: {in_one_line(error)}") from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the loggers of Ray and its libraries show only errors."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data", "ray.serve")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def look_at(kind: type[Answering], arguments: dict) -> Found:
    """Open the model in a short-lived Ray process and return its attributes.

    The process uses no GPU, and the calling process never opens the model.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: As in `kind`.
    """
    ray = require_ray()
    hidden = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}

    @ray.remote(num_cpus=1, max_calls=1, runtime_env=hidden)
    def look() -> Found:
        work = kind(**arguments)
        return Found(work.size, work.crop, work.known)

    try:
        return ray.get(look.remote())
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:  # the process died, for example out of memory
        raise OSError(f"The model cannot be opened on Ray: {in_one_line(error)}") from error


def on_ray(kind: type[Answering], arguments: dict, found: Found) -> Engine:
    """Return an engine that decodes on every CPU of the cluster and runs the model on every device.

    A device is a GPU, or a node if there are no GPUs. Work of a worker that dies is repeated. Rows
    return in order to this process, which writes them.

    Args:
        kind: Class of the actors, `Embedder` or `Predictor`.
        arguments: Arguments of its constructor.
        found: Attributes returned by `look_at`.
    """
    ray = require_ray()

    def tables(groups: Groups, batch_size: int) -> Iterator:
        devices = _devices(ray, arguments["model"])
        while chunk := list(islice(groups, CHUNK * devices.actors)):
            pieces = [{"piece": piece.as_json()} for group in chunk for piece in group]
            yield from _dataset(ray, devices, pieces, kind, arguments, found, batch_size)

    return tables


def _dataset(
    ray,
    devices: "_Devices",
    pieces: list[dict],
    kind: type[Answering],
    arguments: dict,
    found: Found,
    batch_size: int,
) -> Iterator:
    context = ray.data.DataContext.get_current()
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars, context.max_errored_blocks
    options.preserve_order, context.enable_progress_bars = True, False
    context.max_errored_blocks = 0  # no row may be lost
    try:
        blocks = max(len(pieces) // TOGETHER, min(len(pieces), 8 * devices.actors))
        rows = ray.data.from_items(pieces, override_num_blocks=blocks)
        answers = rows.map_batches(
            read,
            batch_size=1,
            fn_kwargs={"size": found.size, "crop": found.crop, "here": os.getcwd()},
            num_cpus=devices.reading,
        ).map_batches(
            kind,
            fn_constructor_kwargs=arguments,
            batch_size=batch_size,
            compute=ray.data.ActorPoolStrategy(size=devices.actors),
            num_gpus=devices.gpus,
            num_cpus=devices.answering,
        )
        yield from answers.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        raise OSError(f"Ray's workers failed: {_reason(error)}") from error
    finally:
        options.preserve_order, context.enable_progress_bars, context.max_errored_blocks = before


def _reason(error: Exception) -> str:
    """Return the first error in the joined stack traces of several Ray processes."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(FIRST.match, lines), in_one_line(error))


class _Devices(NamedTuple):
    """The number of actors, and the GPUs and CPUs of each actor and each reading task."""

    actors: int
    gpus: float | None
    answering: float
    reading: float


def _devices(ray, model: str | os.PathLike | None) -> _Devices:
    """Return one actor per GPU for Keras formats, or one actor per node.

    Without GPUs, an actor takes 0.51 of the smallest node's CPUs. Two actors then cannot share a
    node, and the readers get the rest. Reading and inference must ask for different CPU shares.
    Otherwise Ray would run both in the actor, on one core.
    """
    nodes = [node["Resources"]["CPU"] for node in ray.nodes()
             if node["Alive"] and node["Resources"].get("CPU")]  # fmt: skip
    if has_gpu_for(model):
        return _Devices(int(ray.cluster_resources()["GPU"]), 1, 0.5, 1)
    return _Devices(max(len(nodes), 1), None, 0.51 * min(nodes, default=1), 0.49)


def has_gpu_for(model: str | os.PathLike | None) -> bool:
    """Return whether the cluster has a GPU and the model's format can use it."""
    keras = model is None or format_of(model) in KERAS_FORMATS
    return keras and require_ray().cluster_resources().get("GPU", 0) >= 1


def read(batch: dict, size: tuple[int, int], crop: float, here: str) -> Iterator[dict]:
    """Yield batches of pictures, with their paths, pixels and reasons, from pieces in JSON.

    Args:
        batch: Batch with a column `piece`.
        size: Height and width, as in `load_image`.
        crop: Crop as in `load_image`.
        here: Folder to which relative paths of the user refer.
    """
    with suppress(OSError):  # a node without that folder can still read addresses
        os.chdir(here)
    blank = np.zeros((*size, 3), "float32")
    readers: dict = {}
    for text in batch["piece"]:
        piece = piece_of(text)
        pictures = zip(piece.names(), piece.contents(readers), strict=True)
        while some := list(islice(pictures, PIECE)):
            found = [decoded(source, size, crop) for _, source in some]
            yield {
                PATH: np.array([as_text(name) for name, _ in some], object),
                PIXELS: np.stack([blank if isinstance(p, str) else p for p in found]),
                REASON: np.array([p if isinstance(p, str) else "" for p in found], object),
            }
