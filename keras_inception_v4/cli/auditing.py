"""The subcommand that audits a dataset before training."""

from dataclasses import fields

from keras_inception_v4.cli.command import add_command, add_nested, print_table
from keras_inception_v4.cli.training import add_setting
from keras_inception_v4.runs.settings import OF_TABLES, Settings

FIRST = 20  # findings to print


def add_audit(commands) -> None:
    """Add `keras-inception-v4 audit`."""
    command = add_command(
        commands,
        "audit",
        _audit,
        "find problems in labelled images: unreadable files, duplicates, wrong labels",
        "keras-inception-v4 audit photos --output findings.parquet\n"
        "  keras-inception-v4 audit photos --model runs/photos --output findings.parquet\n"
        "  keras-inception-v4 train photos --exclude findings.parquet --output runs/cleaner",
        reads={"model": "model file", "data": "folder or table"},
        needs_keras=_needs_keras,
    )
    command.add_argument(
        "data",
        help="a folder with one subfolder per class, a table of files and targets, or a file of "
        "records, as for train",
    )
    model = command.add_argument_group("model")
    model.add_argument(
        "--model",
        help="imagenet, a run folder, a .keras file or an embedding artefact; with a model, audit "
        "also finds wrong labels, odd ones out and more duplicates (default: none)",
    )
    model.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch")
    images = command.add_argument_group("images")
    images.add_argument(
        "--image-size", type=int, metavar="N",
        help="side in pixels of the images that a model will see, by which cut and small pictures "
        "are found (default: the model's, else 299)",
    )  # fmt: skip
    images.add_argument(
        "--crop", type=float,
        help="share of the short side that a model will see, likewise (default: the model's, else "
        "0.875)",
    )  # fmt: skip
    images.add_argument("--seed", type=int, default=0, help="seed for finding wrong labels")
    add_nested(images)
    table = command.add_argument_group("table")
    for item in fields(Settings):
        if item.name in OF_TABLES:
            add_setting(table, item)
    answer = command.add_argument_group("output")
    answer.add_argument(
        "--output", required=True, metavar="FILE",
        help="a .parquet file for all findings, which train --exclude reads",
    )  # fmt: skip
    answer.add_argument(
        "--gallery", metavar="FILE", help="a .png file of the first findings of each kind"
    )


def _needs_keras(options) -> bool:
    """Return whether the model needs Keras or TensorFlow."""
    from keras_inception_v4.artefacts import format_of

    if options.model in (None, "imagenet"):
        return options.model is not None
    return format_of(options.model) in (None, "saved_model")


def _audit(options) -> None:
    from keras_inception_v4.audit import audit
    from keras_inception_v4.data.columns import Columns
    from keras_inception_v4.data.findings import CUT, SMALL

    done = audit(
        options.data,
        options.output,
        model=options.model,
        size=options.image_size,
        crop=options.crop,
        nested=options.nested,
        images=options.images,
        columns=Columns(
            options.path_column, options.label_column, options.split_column, options.group_column
        ),
        task=options.task,
        gallery=options.gallery,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    counts = list(done.counts.items())
    excluded = len({finding.path for finding in done.findings if finding.exclude})
    print_table(
        ["audited", options.data],
        [["pictures", f"{done.pictures:,}"], *counts, ["left out by --exclude", excluded]],
    )
    told = [finding for finding in done.findings if finding.kind not in (CUT, SMALL)][:FIRST]
    if told:
        print_table(
            ["picture", "finding", "label", "what was seen"],
            [[finding.path, finding.kind, finding.label, finding.detail] for finding in told],
        )
    if more := len(done.findings) - len(told):
        print(f"{more:,} more in {options.output}.")
