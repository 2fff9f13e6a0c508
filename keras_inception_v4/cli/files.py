"""The subcommands that convert weights and export models."""

from keras_inception_v4.cli.command import add_command, add_pixels, print_table


def add_convert(commands) -> None:
    """Add `keras-inception-v4 convert`."""
    command = add_command(
        commands,
        "convert",
        _convert,
        "convert weights of this network into another format",
        "keras-inception-v4 convert inception_v4_2016_09_09.tar.gz inception_v4.weights.h5",
        reads={"source": "weight file, checkpoint prefix or folder"},
    )
    command.add_argument(
        "source",
        help=".safetensors, .pth or .bin of timm or Cadene; a TF-slim checkpoint prefix, folder or "
        ".tar.gz; .h5 of Keras 2; .weights.h5 or .keras; or a run folder",
    )
    command.add_argument(
        "target", help="file to write, ending in .weights.h5, .keras or .safetensors"
    )


def _convert(options) -> None:
    from keras_inception_v4.convert import convert_weights

    done = convert_weights(options.source, options.target)
    print_table(
        ["converted", options.target],
        [
            ["from", f"{options.source} ({done.kind})"],
            ["tensors", done.tensors],
            ["weights", f"{done.weights:,}"],
            ["classes", "no classifier" if done.classes is None else done.classes],
            ["input channels", done.channels],
            ["variant", done.variant],
            ["size", f"{done.size / 1e6:.1f} MB"],
        ],
    )


def add_export(commands) -> None:
    """Add `keras-inception-v4 export`."""
    command = add_command(
        commands,
        "export",
        _export,
        "export a model for a server or device, and verify the predictions of the artefact",
        "keras-inception-v4 export runs/digits/model.keras digits.tflite --format litert\n"
        "  keras-inception-v4 export runs/photos/model.keras photos_int8 --format openvino "
        "--precision int8 --calibration photos/train\n\n"
        "formats and precisions:\n"
        "  saved_model  float32                 TensorFlow Serving; takes encoded images\n"
        "  litert       float32 float16 int8    phones and small devices (.tflite)\n"
        "  onnx         float32 float16 int8    ONNX Runtime, also in browsers (.onnx)\n"
        "  openvino     float32 float16 int8    servers with x86 processors (a folder)\n"
        "  web          float32 float16 int8    a page that runs the model (a folder)",
        reads={"model": "model file", "calibration": "folder"},
    )
    command.add_argument("model", help="a run folder or a .keras file")
    command.add_argument("path", help="path of the artefact")
    artefact = command.add_argument_group("artefact")
    artefact.add_argument("--format", required=True, help="format of the artefact, see below")
    artefact.add_argument(
        "--precision", default="float32", help="precision of the artefact, see below"
    )
    artefact.add_argument(
        "--part",
        choices=["classifier", "embedding"],
        default="classifier",
        help="classifier: the whole model; embedding: the part before the classifier, for embed",
    )
    artefact.add_argument(
        "--versioned",
        action="store_true",
        help="for a format that is a folder: write to PATH/1 or the next number, as servers expect",
    )
    artefact.add_argument("--overwrite", action="store_true", help="replace an existing artefact")
    add_pixels(artefact)
    check = command.add_argument_group("calibration and verification")
    check.add_argument(
        "--calibration", metavar="FOLDER", help="images for int8 calibration and for verification"
    )
    check.add_argument(
        "--no-verification",
        dest="verification",
        action="store_false",
        default=True,
        help="do not run the artefact to verify it",
    )


def _export(options) -> None:
    from keras_inception_v4.export import export_file, next_version
    from keras_inception_v4.tasks import task_named

    path = next_version(options.path) if options.versioned else options.path
    verified = export_file(
        options.model,
        path,
        format=options.format,
        precision=options.precision,
        part=options.part,
        calibration=options.calibration,
        overwrite=options.overwrite,
        verification=options.verification,
        pixels=options.pixels,
    )
    if verified is None:
        print(f"{path} was written and not verified.")
        return
    task = task_named(verified.task)
    print_table(
        ["exported", path],
        [
            ["format", f"{options.format}, {options.precision}"],
            ["size", f"{verified.size / 1e6:.1f} MB"],
            ["verified on", f"{verified.images} images"],
            [f"largest difference of a {task.value}", f"{verified.difference:.1e}"],
            [task.same, f"{verified.agreement:.1%}"],
            ["images a second", f"{verified.rate:.1f} (Keras {verified.keras_rate:.1f})"],
        ],
    )
