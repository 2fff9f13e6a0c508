"""Arguments in, one call down, a table out."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence

from keras_inception_v4 import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what follows the command's name; `sys.argv` if `None`.

    Returns:
        Exit status: 0, 1 for an error that the user can mend, 130 for Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, keeps the lines of the example."""

    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-inception-v4", description="Inception-v4 for Keras."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_embed(commands)
    _add_explain(commands)
    _add_convert(commands)
    _add_export(commands)
    return parser


def _add(commands, name: str, run, help: str, example: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )
    command.set_defaults(run=run)
    return command


def _add_train(commands) -> None:
    command = _add(
        commands,
        "train",
        _train,
        "train a classifier and write a run folder; the same command goes on after an interruption",
        "keras-inception-v4 train photos --output runs/photos\n"
        "  keras-inception-v4 train digits --weights none --output runs/digits",
    )
    command.add_argument(
        "data",
        help="a folder with a subfolder a class, or with such train and validation folders; or "
        "digits, the scans embedded in scikit-learn",
    )
    command.add_argument("--output", required=True, metavar="FOLDER", help="the run folder")
    command.add_argument(
        "--weights",
        default="imagenet",
        help="imagenet; a path of weights, such as a run's model.keras; none: from scratch",
    )
    images = command.add_argument_group("images")
    images.add_argument("--image-size", type=int, help="side in pixels, at least 75 "
                        "(default: 75 for digits, else 299)")  # fmt: skip
    images.add_argument("--crop", type=float, help="share of the short side that is kept, above 0 "
                        "and at most 1 (default: 1.0 for digits, else 0.875)")  # fmt: skip
    images.add_argument(
        "--augment",
        choices=["photographs", "symbols", "none"],
        help="random changes: photographs are mirrored, symbols are not (default: symbols for "
        "digits, else photographs)",
    )
    images.add_argument(
        "--validation-split", type=float, default=0.2, help="share held out, if not split yet"
    )
    images.add_argument("--skip-corrupt", action="store_true", help="leave out what cannot be used")
    fit = command.add_argument_group("training")
    fit.add_argument("--head-epochs", type=int, help="of the head on cached features (default: 20)")
    fit.add_argument("--epochs", type=int, help="passes over the images (default: 5 of "
                     "fine-tuning, where 0 trains the head alone; 6 from scratch)")  # fmt: skip
    fit.add_argument("--batch-size", type=int, default=32, help="images a step")
    fit.add_argument("--from-endpoint", help="first endpoint to fine-tune (default: mixed_7a)")
    fit.add_argument("--head-learning-rate", type=float, help="of the head (default: 0.001)")
    fit.add_argument("--learning-rate", type=float, help="peak of fine-tuning (default: 0.0001)")
    fit.add_argument(
        "--balanced", action="store_true", help="weigh every class alike, with trained weights"
    )
    fit.add_argument(
        "--patience", type=int, help="epochs of fine-tuning without progress after which to stop"
    )
    fit.add_argument("--seed", type=int, default=0, help="of split, weights, order, augmentation")
    fit.add_argument(
        "--precision",
        choices=["float32", "mixed_bfloat16", "mixed_float16"],
        default="mixed_bfloat16",
        help="dtype policy of training; the model is written in float32",
    )
    fit.add_argument(
        "--deterministic",
        action="store_true",
        help="the same numbers again on the same machine, somewhat slower",
    )


def _train(options) -> None:
    from keras_inception_v4.transfer import train

    complete = _is_complete(options.output)
    report = train(
        options.data,
        options.output,
        weights=None if options.weights == "none" else options.weights,
        head_epochs=options.head_epochs,
        epochs=options.epochs,
        batch_size=options.batch_size,
        image_size=options.image_size,
        crop=options.crop,
        augment=options.augment,
        from_endpoint=options.from_endpoint,
        head_learning_rate=options.head_learning_rate,
        learning_rate=options.learning_rate,
        balanced=options.balanced,
        patience=options.patience,
        validation_split=options.validation_split,
        skip_corrupt=options.skip_corrupt,
        seed=options.seed,
        precision=options.precision,
        deterministic=options.deterministic,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    if complete:
        print(f"The run in {options.output} is complete; nothing was trained.")
    _print_table(
        ["run", options.output],
        [
            ["training images", f"{report['training_images']:,}"],
            ["held-out images", f"{report['images']:,}"],
            ["left out", report["left_out"]],
            *([f"epochs, {name}", epochs] for name, epochs in report["epochs"].items()),
            ["weights", f"{report['weights']:,}"],
            ["time", f"{report['seconds']:.0f} s"],
            *_metrics(report, "held-out "),
        ],
    )


def _metrics(report: dict, prefix: str = "") -> list[list]:
    return [
        [f"{prefix}accuracy", f"{report['accuracy']:.1%}"],
        [f"{prefix}top-5 accuracy", f"{report['top_5_accuracy']:.1%}"],
        ["calibration error", f"{report['calibration_error']:.1%}"],
    ]


def _is_complete(output: str) -> bool:
    return os.path.isfile(os.path.join(output, "report.json"))


def _add_evaluate(commands) -> None:
    command = _add(
        commands,
        "evaluate",
        _evaluate,
        "measure a classifier on labelled images",
        "keras-inception-v4 evaluate runs/photos/model.keras photos/validation\n"
        "  keras-inception-v4 evaluate --weights imagenet ILSVRC2012/validation",
    )
    command.add_argument("model", nargs="?", help="a .keras file; InceptionV4 without it")
    command.add_argument(
        "data", help="a folder with a subfolder a class; synsets for ImageNet weights"
    )
    command.add_argument(
        "--weights", default="imagenet", help="without a model: imagenet or a path of weights"
    )
    command.add_argument("--batch-size", type=int, default=32, help="images a batch")
    command.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that cannot be read"
    )
    command.add_argument("--report", metavar="FILE", help="a .json file for all numbers")
    command.add_argument("--picture", metavar="FILE", help="a .png of the confusion matrix")


def _evaluate(options) -> None:
    from keras_inception_v4.predict import evaluate_folder

    report = evaluate_folder(
        options.model,
        options.data,
        weights=options.weights,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        report=options.report,
        picture=options.picture,
    )
    _print_table(
        ["measured", options.model or options.weights],
        [["images", f"{report['images']:,}"], ["left out", report["left_out"]], *_metrics(report)],
    )
    if len(report["per_class"]) <= 20:
        _print_table(
            ["class", "precision", "recall", "images"],
            [
                [name, f"{row['precision']:.1%}", f"{row['recall']:.1%}", row["images"]]
                for name, row in report["per_class"].items()
            ],
        )


def _add_predict(commands) -> None:
    command = _add(
        commands,
        "predict",
        _predict,
        "classify image files",
        "keras-inception-v4 predict --model runs/digits/model.keras runs/digits/examples/7.png",
    )
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files and folders")
    command.add_argument(
        "--model", help="a .keras file or an exported artefact; the ImageNet weights without it"
    )
    command.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="of an OpenVINO artefact's arithmetic (default: its own choice)",
    )
    command.add_argument("--top", type=int, default=3, help="classes for each image")
    command.add_argument("--batch-size", type=int, default=8, help="images a batch")
    command.add_argument(
        "--format", choices=["table", "json", "csv"], default="table", help="of the output"
    )
    command.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that cannot be read"
    )


def _predict(options) -> None:
    from keras_inception_v4.predict import predict_files

    predictions = predict_files(
        options.model,
        options.images,
        top=options.top,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        precision=options.precision,
        verbose=len(options.images) > 1 or os.path.isdir(options.images[0]),
    )
    rows = [
        (path, rank, name, probability)
        for path, top in predictions
        for rank, (name, probability) in enumerate(top, start=1)
    ]
    if options.format == "table":
        _print_table(
            ["image", "class", "probability"],
            [
                [path if rank == 1 else "", name, f"{probability:.4f}"]
                for path, rank, name, probability in rows
            ],
        )
    elif options.format == "csv":
        table = csv.writer(sys.stdout)
        table.writerow(["image", "rank", "class", "probability"])
        table.writerows(rows)
    else:
        answer = [
            {"image": path, "top": [{"class": name, "probability": p} for name, p in top]}
            for path, top in predictions
        ]
        print(json.dumps(answer, indent=2))


def _add_embed(commands) -> None:
    command = _add(
        commands,
        "embed",
        _embed,
        "turn a folder of images into 1536 numbers each",
        "keras-inception-v4 embed photos --output features.npz",
    )
    command.add_argument("folder", help="searched with its subfolders")
    command.add_argument("--output", required=True, metavar="FILE", help="an .npz file")
    command.add_argument("--model", help="a .keras file; the ImageNet weights without it")
    command.add_argument(
        "--picture", metavar="FILE", help="a .png: images as points, coloured by subfolder"
    )
    command.add_argument("--batch-size", type=int, default=8, help="images a batch")
    command.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that cannot be read"
    )


def _embed(options) -> None:
    from keras_inception_v4.features import embed_folder

    count, bad = embed_folder(
        options.model,
        options.folder,
        options.output,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        picture=options.picture,
    )
    print(f"{options.output}: {count:,} images, 1536 features each; {len(bad)} files left out.")


def _add_explain(commands) -> None:
    command = _add(
        commands,
        "explain",
        _explain,
        "draw where in an image a class was seen",
        "keras-inception-v4 explain --model runs/digits/model.keras "
        "runs/digits/examples/7.png --output map.png",
    )
    command.add_argument("image", metavar="IMAGE", help="an image file")
    command.add_argument("--model", required=True, help="a .keras file")
    command.add_argument("--output", required=True, metavar="FILE", help="a .png file")
    command.add_argument("--class", dest="class_name", help="class to explain (default: the best)")
    command.add_argument("--top", type=int, default=5, help="classes to show")


def _explain(options) -> None:
    from keras_inception_v4.predict import explain_file

    shown = explain_file(
        options.model,
        options.image,
        options.output,
        class_name=options.class_name,
        top=options.top,
    )
    _print_table(
        ["class", "probability"],
        [[name, f"{probability:.4f}"] for name, probability in shown.top],
    )
    print(f"{options.output} shows where {shown.explained} was seen.")


def _add_convert(commands) -> None:
    command = _add(
        commands,
        "convert",
        _convert,
        "convert weights of this network into another format",
        "keras-inception-v4 convert inception_v4_2016_09_09.tar.gz inception_v4.weights.h5",
    )
    command.add_argument(
        "source",
        help=".safetensors, .pth or .bin of timm or Cadene; a TF-slim prefix, folder or .tar.gz; "
        ".h5 of Keras 2; .weights.h5 or .keras",
    )
    command.add_argument("target", help="ends in .weights.h5, .keras or .safetensors")


def _convert(options) -> None:
    from keras_inception_v4.convert import convert_weights

    done = convert_weights(options.source, options.target)
    _print_table(
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


def _add_export(commands) -> None:
    command = _add(
        commands,
        "export",
        _export,
        "write a model for a server or device, and check there what it answers",
        "keras-inception-v4 export runs/digits/model.keras digits.tflite --format litert\n"
        "  keras-inception-v4 export runs/photos/model.keras photos_int8 --format openvino "
        "--precision int8 --calibration photos/train\n\n"
        "formats and precisions:\n"
        "  saved_model  float32                 TensorFlow Serving; takes photographs\n"
        "  litert       float32 float16 int8    phones and small devices (.tflite)\n"
        "  onnx         float32                 ONNX Runtime (.onnx)\n"
        "  openvino     float32 float16 int8    servers with x86 processors (a folder)",
    )
    command.add_argument("model", help="a .keras file")
    command.add_argument("path", help="of the artefact")
    command.add_argument("--format", required=True, help="see below")
    command.add_argument("--precision", default="float32", help="see below")
    command.add_argument(
        "--calibration", metavar="FOLDER", help="images to calibrate int8 and to verify on"
    )
    command.add_argument("--overwrite", action="store_true", help="replace an old artefact")
    command.add_argument(
        "--no-verification",
        dest="verification",
        action="store_false",
        default=True,
        help="do not run the artefact",
    )


def _export(options) -> None:
    from keras_inception_v4.export import export_file

    verified = export_file(
        options.model,
        options.path,
        format=options.format,
        precision=options.precision,
        calibration=options.calibration,
        overwrite=options.overwrite,
        verification=options.verification,
    )
    if verified is None:
        print(f"{options.path} was written and not verified.")
        return
    _print_table(
        ["exported", options.path],
        [
            ["format", f"{options.format}, {options.precision}"],
            ["size", f"{verified.size / 1e6:.1f} MB"],
            ["verified on", f"{verified.images} images"],
            ["largest difference of a probability", f"{verified.difference:.1e}"],
            ["same top class", f"{verified.agreement:.1%}"],
            ["images a second", f"{verified.rate:.1f} (Keras {verified.keras_rate:.1f})"],
        ],
    )


def _print_table(header: list, rows: list[list]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
