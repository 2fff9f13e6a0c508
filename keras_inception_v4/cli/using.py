"""The subcommands that run a model on images."""

import csv
import json
import os
import sys

from keras_inception_v4.cli.command import (
    add_command,
    add_engine,
    add_images,
    add_pixels,
    add_precision,
    add_streaming,
    add_threshold,
    print_table,
)

TOP = 3  # classes printed per image by default


def add_predict(commands) -> None:
    """Add `keras-inception-v4 predict`."""
    command = add_command(
        commands,
        "predict",
        _predict,
        "classify image files",
        "keras-inception-v4 predict --model runs/digits/model.keras runs/digits/examples/7.png",
        reads={"model": "model file", "images": "image file"},
        needs_keras=_needs_keras,
    )
    command.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image files and folders; with --output also .parquet tables and URLs such as "
        "s3://bucket/photos",
    )
    model = command.add_argument_group("model")
    model.add_argument(
        "--model",
        help="a run folder, a .keras file or an exported artefact (default: InceptionV4 with the "
        "ImageNet weights)",
    )
    add_precision(model)
    add_pixels(model)
    add_images(command, batch_size=8)
    add_engine(command.add_argument_group("processing of many files"))
    answer = command.add_argument_group("output")
    answer.add_argument(
        "--top",
        type=int,
        metavar="N",
        help="classes per image; 5 with --output (default: 3); all predicted classes if an image "
        "may show several",
    )
    add_threshold(answer)
    add_streaming(
        answer,
        "write Parquet instead of printing, for any number of files: a folder of parts or a "
        ".parquet file; rerun the command to resume after the last complete part",
    )
    answer.add_argument(
        "--format",
        choices=["table", "json", "csv"],
        default="table",
        help="format of what is printed",
    )


def _needs_keras(options) -> bool:
    """Return whether the model needs Keras or TensorFlow in this process.

    Other artefacts have their own runtimes. With Ray, its worker processes open the model.
    """
    from keras_inception_v4.artefacts import format_of

    if options.engine == "ray":
        return False
    return options.model is None or format_of(options.model) in (None, "saved_model")


def _predict(options) -> None:
    if options.output is not None:
        _stream_predictions(options)
        return
    for option in ("engine", "address", "column"):
        if getattr(options, option) is not None:
            raise ValueError(f"Received --{option} without --output. It is for Parquet.")
    from keras_inception_v4.inference.classification import predict_files

    predictions = predict_files(
        options.model,
        options.images,
        top=options.top,
        threshold=options.threshold,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        precision=options.precision,
        pixels=options.pixels,
        verbose=len(options.images) > 1 or os.path.isdir(options.images[0]),
    )
    task = predictions.task
    if options.top is None and not (task.thresholded or task.standardized):
        predictions[:] = [answer._replace(top=answer.top[:TOP]) for answer in predictions]
    output = "target" if task.standardized else "class"
    rows = [
        (path, rank, name, value)
        for path, top in predictions
        for rank, (name, value) in enumerate(top or [("", None)], start=1)
    ]
    if options.format == "table":
        print_table(
            ["image", output, task.value],
            [
                [path if rank == 1 else "", name or "none", _value(value, task)]
                for path, rank, name, value in rows
            ],
        )
    elif options.format == "csv":
        table = csv.writer(sys.stdout)
        table.writerow(["image", "rank", output, task.value])
        table.writerows(rows)
    else:
        key = "targets" if task.standardized else "top"
        answer = [
            {"image": path, key: [{output: name, task.value: value} for name, value in top]}
            for path, top in predictions
        ]
        print(json.dumps(answer, indent=2))


def _stream_predictions(options) -> None:
    from keras_inception_v4.inference.classification import stream_predictions

    if options.skip_corrupt or options.format != "table":
        word = "--skip-corrupt" if options.skip_corrupt else "--format"
        raise ValueError(f"Received {word} with --output. It is for printed predictions.")
    done = stream_predictions(
        options.model,
        options.images,
        options.output,
        top=options.top,
        threshold=options.threshold,
        batch_size=options.batch_size,
        strict=options.strict,
        precision=options.precision,
        pixels=options.pixels,
        column=options.column,
        engine=options.engine,
        address=options.address,
    )
    print(f"{options.output}: predictions of {done.answered:,} files, {done.left_out:,} left out.")


def _value(value: float | None, task) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if task.standardized else f"{value:.4f}"


def add_embed(commands) -> None:
    """Add `keras-inception-v4 embed`."""
    command = add_command(
        commands,
        "embed",
        _embed,
        "compute 1536 features of each image in a folder",
        "keras-inception-v4 embed photos --output features.npz",
        reads={"model": "model file", "folder": "folder"},
        needs_keras=_needs_keras,
    )
    command.add_argument(
        "folder",
        help="folder of images, searched with its subfolders; for Parquet output also a .parquet "
        "table or a URL such as s3://bucket/photos",
    )
    model = command.add_argument_group("model")
    model.add_argument(
        "--model",
        help="a run folder, a .keras file or an artefact of export --part embedding (default: "
        "InceptionV4 with the ImageNet weights)",
    )
    add_precision(model)
    add_pixels(model)
    add_images(command, batch_size=8)
    add_engine(command.add_argument_group("processing of many files"))
    answer = command.add_argument_group("output")
    add_streaming(
        answer,
        "an .npz file; or for any number of files Parquet, as a folder of parts or a .parquet "
        "file; with Parquet, rerun the command to resume after the last complete part",
        required=True,
    )
    answer.add_argument(
        "--dtype",
        choices=["float32", "float16"],
        default="float32",
        help="dtype of the features in Parquet",
    )
    answer.add_argument(
        "--picture",
        metavar="FILE",
        help="with .npz: a .png file of the images as points, coloured by subfolder",
    )


def _embed(options) -> None:
    from keras_inception_v4.inference.embedding import embed_to

    done = embed_to(
        options.model,
        options.folder,
        options.output,
        dtype=options.dtype,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        strict=options.strict,
        precision=options.precision,
        pixels=options.pixels,
        picture=options.picture,
        column=options.column,
        engine=options.engine,
        address=options.address,
    )
    print(f"{options.output}: {done.answered:,} images embedded; {done.left_out:,} files left out.")


def add_explain(commands) -> None:
    """Add `keras-inception-v4 explain`."""
    command = add_command(
        commands,
        "explain",
        _explain,
        "draw a map of where in an image the model sees a class",
        "keras-inception-v4 explain --model runs/digits/model.keras "
        "runs/digits/examples/7.png --output map.png",
        reads={"model": "model file", "image": "image file"},
    )
    command.add_argument("image", metavar="IMAGE", help="an image file")
    model = command.add_argument_group("model")
    model.add_argument("--model", required=True, help="a run folder or a .keras file")
    add_pixels(model)
    answer = command.add_argument_group("output")
    answer.add_argument("--output", required=True, metavar="FILE", help="a .png file to write")
    answer.add_argument(
        "--class", dest="class_name", help="class to explain (default: the best one)"
    )
    answer.add_argument("--top", type=int, default=5, metavar="N", help="classes to show")
    way = command.add_argument_group("map")
    way.add_argument(
        "--method",
        choices=["cam", "gradcam", "occlusion"],
        help="cam: exact, for the default head; gradcam: for any head and endpoint; occlusion: "
        "slow, covers parts of the image (default: cam if the model allows it, else gradcam)",
    )
    way.add_argument(
        "--endpoint",
        metavar="NAME",
        help="layer whose grid is drawn, such as mixed_6h (default: the last, mixed_7d)",
    )
    way.add_argument(
        "--check",
        action="store_true",
        help="measure the map by deleting and inserting the pixels that it highlights",
    )


def _explain(options) -> None:
    from keras_inception_v4.inference.explanation import FINER, explain_file

    shown = explain_file(
        options.model,
        options.image,
        options.output,
        class_name=options.class_name,
        top=options.top,
        method=options.method,
        endpoint=options.endpoint,
        check=options.check,
        pixels=options.pixels,
    )
    print_table(
        ["target" if shown.task.standardized else "class", shown.task.value],
        [[name, _value(value, shown.task)] for name, value in shown.top],
    )
    if shown.measured is not None:
        print_table(
            [f"{shown.method}, mean {shown.task.value}", "deletion", "insertion"],
            [
                [name, f"{found.deletion_area:.3g}", f"{found.insertion_area:.3g}"]
                for name, found in zip(("map", "shuffled"), shown.measured, strict=True)
            ],
        )
    way = shown.method if shown.endpoint is None else f"{shown.method} at {shown.endpoint}"
    print(f"{options.output} shows where {shown.explained} was seen ({way}).")
    if shown.cells == (1, 1):
        print(f"That is one cell for the whole image. --endpoint {FINER} has a finer grid.")
