"""Serve a model or an artefact over HTTP with Ray Serve."""

import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from keras_inception_v4.errors import check_at_least, require_extra
from keras_inception_v4.files import MODEL
from keras_inception_v4.inference.answering import Predictor
from keras_inception_v4.inference.on_ray import connected, has_gpu_for, look_at
from keras_inception_v4.inference.server import Bounds, Server

TIMEOUT = 300.0  # most seconds for a request


def name_of(model: str | os.PathLike | None) -> str:
    """Return a model's default name in addresses, after its run folder or its file."""
    if model is None:
        return "inception_v4"
    path = Path(model).resolve()
    if path.name == MODEL:
        path = path.parent
    return re.sub(r"[^\w.-]", "_", path.stem if path.is_file() else path.name)


def application(
    model: str | os.PathLike | None,
    *,
    name: str | None = None,
    bounds: Bounds | None = None,
    replicas: int = 1,
    gpu: bool = False,
    **options,
):
    """Return the Ray Serve application, for `ray.serve.run` or a custom configuration.

    Args:
        model: A run folder, a `.keras` file or an artefact. `None` uses the ImageNet weights.
        name: Name of the model in addresses. `None` uses the name of the run or file.
        bounds: Limits of the server. `None` uses the defaults.
        replicas: Number of processes that hold the model.
        gpu: Whether each replica has a GPU of its own.
        options: Options of `Predictor`: `top`, `threshold`, `precision` and `pixels`.

    Raises:
        ImportError: If Ray Serve is not installed. The message names the extra.
    """
    serve = require_serve()
    bounds = bounds or Bounds()
    check_at_least(1, replicas=replicas)
    deployment = serve.deployment(
        Server,
        ray_actor_options={"num_gpus": 1} if gpu else None,
        name="InceptionV4",
        num_replicas=replicas,
        # A replica decodes and batches this many requests. Further ones wait in Ray's queue.
        max_ongoing_requests=4 * bounds.batch_size,
        max_queued_requests=bounds.queue,
    )
    path = None if model is None else os.path.abspath(model)
    return deployment.bind(name or name_of(model), {"model": path, **options}, asdict(bounds))


def run_server(
    model: str | os.PathLike | None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    bounds: Bounds | None = None,
    replicas: int = 1,
    address: str | None = None,
    started: Callable[[str, str], None] = lambda url, name: None,
    **options,
) -> None:
    """Serve a model over HTTP until SIGINT or SIGTERM.

    Args:
        model: Model as in `application`.
        host: Address to listen on. By default only this machine can connect.
        port: HTTP port.
        name: Name of the model in addresses, as in `application`.
        bounds: Limits of the server, as in `application`.
        replicas: Number of processes that hold the model.
        address: Address of a Ray cluster, as in `connected`.
        started: Function called with the server's address and the model's name when it is ready.
        options: Options of `Predictor`, as in `application`.

    Raises:
        FileNotFoundError, ValueError, ImportError: As in `Predictor`.
        ValueError: If `name` has other characters than letters, digits, `_`, `.` and `-`.
        OSError: If the port is in use, or there is no cluster.
    """
    serve = require_serve()
    name = name or name_of(model)
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"Received name={name!r}. It may hold only letters, digits, _, . and -.")
    socket.create_server((host, port)).close()  # fails early: Ray would hide this error
    with connected(address):
        path = None if model is None else os.path.abspath(model)
        look_at(Predictor, {"model": path, **options})
        app = application(
            model, name=name, bounds=bounds, replicas=replicas, gpu=has_gpu_for(path), **options
        )
        quiet = serve.schema.LoggingConfig(log_level="ERROR", enable_access_log=False)
        http = {"host": host, "port": port, "request_timeout_s": TIMEOUT}
        serve.start(http_options=http, logging_config=quiet)
        serve.run(app, name=name, route_prefix="/")
        over = threading.Event()
        for kind in (signal.SIGINT, signal.SIGTERM):  # replaces Ray's own handlers
            signal.signal(kind, lambda *_: over.set())
        started(f"http://{host}:{port}", name)
        over.wait()
        serve.delete(name)  # finishes the requests in progress


def require_serve():
    """Import and return `ray.serve`.

    Raises:
        ImportError: If it is not installed. The message names the extra.
    """
    return require_extra("ray.serve", "Serving needs", "ray[serve]", "ray")
