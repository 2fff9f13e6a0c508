"""A model or an artefact behind HTTP: an application of Ray Serve."""

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

TIMEOUT = 300.0  # seconds of a request


def name_of(model: str | os.PathLike | None) -> str:
    """What a model is called in addresses unless told: by its run, or its file."""
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
    """The application, for `ray.serve.run` or in a configuration of one's own.

    Args:
        model: a run folder, a `.keras` file or an artefact; `None` for the ImageNet weights.
        name: in addresses; the run's or file's own if `None`.
        bounds: what it takes; the defaults if `None`.
        replicas: processes that hold the model.
        gpu: whether each has a GPU to itself.
        options: `top`, `threshold`, `precision` and `pixels` of `Predictor`.

    Raises:
        ImportError: without Ray Serve; the message names the extra.
    """
    serve = require_serve()
    bounds = bounds or Bounds()
    check_at_least(1, replicas=replicas)
    deployment = serve.deployment(
        Server,
        ray_actor_options={"num_gpus": 1} if gpu else None,
        name="InceptionV4",
        num_replicas=replicas,
        # Those that are decoded or wait for their batch in a replica; the others queue before it.
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
    """Serves until SIGINT or SIGTERM.

    Args:
        model: as in `application`, and so are `name`, `bounds`, `replicas` and `options`.
        host: whom it listens to; this machine alone unless told.
        port: of HTTP.
        name: of the model in addresses.
        bounds: what it takes.
        replicas: processes that hold the model.
        address: of a Ray cluster, as in `connected`.
        started: called with the server's address and the model's name when it answers.
        options: of `Predictor`.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `Predictor`.
        OSError: if the port is taken, or there is no cluster.
    """
    serve = require_serve()
    name = name or name_of(model)
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"Received name={name!r}. It must be of letters, digits, _, . and -.")
    socket.create_server((host, port)).close()  # or the error that Ray would bury
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
        for kind in (signal.SIGINT, signal.SIGTERM):  # Ray has set its own
            signal.signal(kind, lambda *_: over.set())
        started(f"http://{host}:{port}", name)
        over.wait()
        serve.delete(name)  # answers what it has begun


def require_serve():
    """Imports and returns `ray.serve`.

    Raises:
        ImportError: without it; the message names the extra.
    """
    return require_extra("ray.serve", "Serving needs", "ray[serve]", "ray")
