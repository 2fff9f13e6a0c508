"""Arguments in, one call down, a table out."""

import argparse
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
    """Shows defaults, keeps the lines of the example."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-inception-v4", description="Inception-v4 for Keras."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_predict(commands)
    _add_embed(commands)
    _add_explain(commands)
    _add_convert(commands)
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
        "train a classifier and write a run folder",
        "keras-inception-v4 train digits --weights none --output runs/digits",
    )
    command.add_argument("data", choices=["digits"], help="the embedded scans of digits")
    command.add_argument("--output", required=True, metavar="FOLDER", help="the run folder")
    command.add_argument(
        "--weights", choices=["none"], required=True, help="none: start from random weights"
    )
    fit = command.add_argument_group("training")
    fit.add_argument("--epochs", type=int, default=7, help="passes over the training images")
    fit.add_argument("--batch-size", type=int, default=32, help="images a step")
    fit.add_argument("--image-size", type=int, default=75, help="side in pixels, at least 75")
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
    from keras_inception_v4.training import train_digits

    complete = _is_complete(options.output)
    report = train_digits(
        options.output,
        epochs=options.epochs,
        batch_size=options.batch_size,
        image_size=options.image_size,
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
            ["epochs", report["epochs"]],
            ["weights", f"{report['weights']:,}"],
            ["time", f"{report['seconds']:.0f} s"],
            ["held-out accuracy", f"{report['accuracy']:.1%}"],
        ],
    )


def _is_complete(output: str) -> bool:
    return os.path.isfile(os.path.join(output, "report.json"))


def _add_predict(commands) -> None:
    command = _add(
        commands,
        "predict",
        _predict,
        "classify image files",
        "keras-inception-v4 predict --model runs/digits/model.keras runs/digits/examples/7.png",
    )
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    command.add_argument("--model", required=True, help="a .keras file")
    command.add_argument("--top", type=int, default=3, help="classes for each image")


def _predict(options) -> None:
    from keras_inception_v4.predict import predict_files

    predictions = predict_files(options.model, options.images, top=options.top)
    _print_table(
        ["image", "class", "probability"],
        [
            [path if rank == 0 else "", name, f"{probability:.4f}"]
            for path, top in predictions
            for rank, (name, probability) in enumerate(top)
        ],
    )


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
    for _, reason in bad:
        print(f"left out: {reason}", file=sys.stderr)
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


def _print_table(header: list, rows: list[list]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
