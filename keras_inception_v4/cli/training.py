"""The subcommands that train and evaluate."""

import argparse
import os
import sys
from dataclasses import Field, fields

from keras_inception_v4.cli.command import (
    add_command,
    add_images,
    add_nested,
    add_pixels,
    add_threshold,
    print_table,
)
from keras_inception_v4.runs.folder import recorded_environment
from keras_inception_v4.runs.settings import OF_TABLES, Settings
from keras_inception_v4.training.options import ONEDNN


def add_train(commands) -> None:
    """Add `keras-inception-v4 train`."""
    command = add_command(
        commands,
        "train",
        _train,
        "train a classifier and write a run folder; rerun the command to resume",
        "keras-inception-v4 train photos --output runs/photos\n"
        "  keras-inception-v4 train digits --weights none --output runs/digits\n"
        "  KERAS_BACKEND=jax keras-inception-v4 train million --weights none --recipe paper "
        "--batch-size 256 --output runs/million",
        reads={"data": "folder or table"},
        environment=_environment,
    )
    command.add_argument(
        "--output", required=True, metavar="FOLDER", help="run folder to write or resume"
    )
    groups: dict = {None: command}
    for item in fields(Settings):
        group = item.metadata["group"]
        if group not in groups:
            groups[group] = command.add_argument_group(group)
        add_setting(groups[group], item)
    fit = groups["training"]
    fit.add_argument(
        "--checkpoint-every",
        type=int,
        metavar="STEPS",
        help="also save a checkpoint within an epoch, after every so many steps (default: only "
        "after epochs)",
    )
    fit.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the curves of all phases for TensorBoard into the run folder",
    )
    many = command.add_argument_group(
        "many processes", "For the JAX backend. Each process uses all devices that it sees."
    )
    many.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    many.add_argument("--processes", type=int, default=1, metavar="N", help="number of processes")
    many.add_argument(
        "--process-id", type=int, default=0, metavar="I", help="number of this process, from 0"
    )


def _environment(options: argparse.Namespace) -> dict[str, str | None]:
    """Return the environment of the run being resumed; a new run enables oneDNN.

    Without AVX-512, TensorFlow leaves oneDNN off by default. There it makes a training step 1.7
    times as fast at 75 pixels, 1.4 times as fast at 139, and no slower at 299.
    """
    return recorded_environment(options.output) or {ONEDNN: "1"}


def add_setting(group, item: Field) -> None:
    """Add the option of a setting to a group."""
    about, name = item.metadata, "--" + item.name.replace("_", "-")
    if item.name == "data":
        group.add_argument("data", help=about["help"])
    elif item.type is bool:
        group.add_argument(name, action="store_true", help=about["help"])
    else:
        group.add_argument(
            name,
            type=item.type if item.type in (int, float) else str,
            default=item.default,
            choices=about["choices"],
            help=about["help"],
        )


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings that a command's options give."""
    settings = {item.name: getattr(options, item.name) for item in fields(Settings)}
    settings["weights"] = None if options.weights == "none" else options.weights
    return Settings(**settings)


def _train(options: argparse.Namespace) -> None:
    from keras_inception_v4.runs.run import Sharing, Watching, run_settings

    complete = _is_complete(options.output)
    report = run_settings(
        settings_of(options),
        options.output,
        Watching(
            tensorboard=options.tensorboard,
            checkpoint_every=options.checkpoint_every,
            verbose=1 if sys.stdout.isatty() else 2,
        ),
        Sharing(options.coordinator, options.processes, options.process_id),
        options.parts,
    )
    if "folds" in report:
        _print_folds(options.output, report)
        return
    if complete:
        print(f"The run in {options.output} is complete; nothing was trained.")
    print_table(
        ["run", options.output],
        [
            ["training images", f"{report['training_images']:,}"],
            ["held-out images", f"{report['images']:,}"],
            ["left out", report["left_out"]],
            *([f"epochs, {name}", epochs] for name, epochs in report["epochs"].items()),
            ["weights", f"{report['weights']:,}"],
            ["time", f"{report['seconds']:.0f} s"],
            *([["temperature", f"{report['temperature']:.3g}"]] if "temperature" in report else []),
            *_task(report).rows(report, "held-out "),
        ],
    )


def _print_folds(output: str, summary: dict) -> None:
    folds, spread = summary["folds"], summary["spread"]
    columns = [_task(report).scalars(report) for report in folds]
    print_table(
        [output, "mean", "spread", *(f"fold {i}" for i in range(1, len(folds) + 1))],
        [
            [name, f"{mean:.4g}", *([f"{spread[name]:.2g}"] if name in spread else ["-"])]
            + ["-" if column[name] is None else f"{column[name]:.4g}" for column in columns]
            for name, mean in summary["mean"].items()
        ],
    )


def _task(report: dict):
    from keras_inception_v4.architecture import SINGLE_LABEL
    from keras_inception_v4.tasks import task_named

    return task_named(report.get("task", SINGLE_LABEL))


def _is_complete(output: str) -> bool:
    return os.path.isfile(os.path.join(output, "report.json"))


def add_evaluate(commands) -> None:
    """Add `keras-inception-v4 evaluate`."""
    command = add_command(
        commands,
        "evaluate",
        _evaluate,
        "measure a classifier on labelled images",
        "keras-inception-v4 evaluate runs/photos/model.keras photos/validation\n"
        "  keras-inception-v4 evaluate --weights imagenet ILSVRC2012/validation",
        reads={"model": "model file", "data": "folder or table"},
    )
    command.add_argument(
        "model",
        nargs="?",
        help="a run folder or a .keras file (default: InceptionV4 with --weights)",
    )
    command.add_argument(
        "data",
        help="a folder with one subfolder per class, named by synsets for ImageNet weights; or a "
        "table of files and targets (.csv, .tsv, .parquet)",
    )
    model = command.add_argument_group("model")
    model.add_argument(
        "--weights",
        default="imagenet",
        help="without a model: imagenet or a path of weights for InceptionV4",
    )
    add_pixels(model)
    add_nested(add_images(command, batch_size=32))
    table = command.add_argument_group("table")
    for item in fields(Settings):
        if item.name in OF_TABLES and item.name != "task":
            add_setting(table, item)
    answer = command.add_argument_group("output")
    add_threshold(answer)
    answer.add_argument("--report", metavar="FILE", help="a .json file of all measures")
    answer.add_argument(
        "--answers",
        metavar="FILE",
        help="a .parquet or .csv file, a row per image: path, label, prediction, loss, margin",
    )
    answer.add_argument(
        "--gallery",
        metavar="FILE",
        help="a .png file of the worst errors and the least certain predictions, with maps of "
        "where the model looked",
    )
    answer.add_argument(
        "--html",
        metavar="FILE",
        help="one .html file of everything: measures, curves, a confusion matrix whose cells show "
        "their pictures, reliability and galleries",
    )
    answer.add_argument(
        "--picture",
        metavar="FILE",
        help="a .png file of the confusion matrix; with several classes per image, of each class's "
        "measures; for regression, of predictions over targets",
    )


def _evaluate(options) -> None:
    from keras_inception_v4.data.tables import Columns
    from keras_inception_v4.inference.measuring import evaluate_files

    report = evaluate_files(
        options.model,
        options.data,
        weights=options.weights,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        nested=options.nested,
        images=options.images,
        columns=Columns(
            options.path_column, options.label_column, options.split_column, options.group_column
        ),
        threshold=options.threshold,
        pixels=options.pixels,
        report=options.report,
        picture=options.picture,
        answers=options.answers,
        gallery=options.gallery,
        html=options.html,
    )
    task = _task(report)
    counts = [["images", f"{report['images']:,}"], ["left out", report["left_out"]]]
    print_table(["measured", options.model or options.weights], [*counts, *task.rows(report)])
    header, rows = task.table(report)
    if len(rows) <= 20:
        print_table(header, rows)
