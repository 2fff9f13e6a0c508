"""The subcommand that serves predictions over HTTP."""

from keras_inception_v4.cli.command import add_command, add_pixels, add_precision, add_threshold


def add_serve(commands) -> None:
    """Add `keras-inception-v4 serve`."""
    command = add_command(
        commands,
        "serve",
        _serve,
        "serve a model's predictions over HTTP",
        "keras-inception-v4 serve digits.onnx",
        reads={"model": "model file"},
        needs_keras=False,  # the server's worker processes open the model
    )
    command.add_argument("model", help="a run folder, a .keras file or an exported artefact")
    model = command.add_argument_group("model")
    model.add_argument(
        "--name", help="name of the model in URLs (default: that of the run or file)"
    )
    add_precision(model)
    add_pixels(model)
    answer = command.add_argument_group("predictions")
    answer.add_argument(
        "--top",
        type=int,
        metavar="N",
        help="classes per picture (default: 5, or all predicted ones if pictures show several)",
    )
    add_threshold(answer)
    server = command.add_argument_group("server")
    server.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 listens to everybody"
    )
    server.add_argument("--port", type=int, default=8000, help="HTTP port")
    server.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="processes that hold the model"
    )
    server.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="largest batch of pictures"
    )
    server.add_argument(
        "--queue",
        type=int,
        default=64,
        metavar="N",
        help="most waiting requests; any more get status 503",
    )
    server.add_argument(
        "--max-megabytes", type=int, default=32, metavar="N", help="largest request body in MiB"
    )
    server.add_argument(
        "--max-megapixels", type=int, default=64, metavar="N", help="largest picture in megapixels"
    )
    server.add_argument(
        "--address", help="address of a Ray cluster, as ray.init takes it (default: this machine)"
    )


def _serve(options) -> None:
    from keras_inception_v4.inference.serving import Bounds, run_server

    def started(url: str, name: str) -> None:
        print(
            f"Serving {options.model} as {name} at {url}. Ctrl-C stops it.\n"
            f"Try: curl --data-binary @picture.png {url}/predict",
            flush=True,
        )

    run_server(
        options.model,
        host=options.host,
        port=options.port,
        name=options.name,
        replicas=options.replicas,
        address=options.address,
        bounds=Bounds(
            batch_size=options.batch_size,
            queue=options.queue,
            most_bytes=options.max_megabytes << 20,
            most_pixels=options.max_megapixels * 1_000_000,
        ),
        started=started,
        top=options.top,
        threshold=options.threshold,
        precision=options.precision,
        pixels=options.pixels,
    )
