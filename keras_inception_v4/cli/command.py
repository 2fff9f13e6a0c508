"""What every subcommand is made of."""

import argparse
import sys
from collections.abc import Callable, Iterable

from keras_inception_v4.files import printable


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, keeps the lines of the example."""

    def _get_help_string(self, action):
        has_one = action.default is not None and not isinstance(action.default, bool)
        return super()._get_help_string(action) if has_one else action.help


def add_command(
    commands,
    name: str,
    run,
    help: str,
    example: str,
    *,
    reads: dict[str, str] | None = None,
    environment: Callable[[argparse.Namespace], dict[str, str | None]] | None = None,
    needs_keras: bool | Callable = True,
) -> argparse.ArgumentParser:
    """Adds a subcommand.

    Args:
        commands: of the parser.
        name: of the command.
        run: takes the options and does the work.
        help: in one line.
        example: a call, or some.
        reads: option to what its path is (`"image file"`), which must be there.
        environment: a function of the options that gives variables which Keras's backend reads
            when it is imported, `None` for one to leave alone; the user's own come first.
        needs_keras: whether to import it before the command runs; or a function of the options that
            says so.
    """
    command = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )
    command.set_defaults(
        run=run,
        reads=reads or {},
        environment=environment or (lambda options: {}),
        needs_keras=needs_keras,
    )
    return command


def add_images(command: argparse.ArgumentParser, batch_size: int):
    """Adds what every command that reads many images takes; returns the group."""
    images = command.add_argument_group("images")
    images.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help="images a batch"
    )
    images.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that cannot be read"
    )
    return images


def add_pixels(model) -> None:
    """Adds what every command that reads a `.keras` file takes, to a group."""
    model.add_argument(
        "--pixels",
        choices=["raw", "scaled"],
        help="raw: the model takes 0 to 255; scaled: -1 to 1; needed where its layers do not tell",
    )


def add_threshold(answer) -> None:
    """Adds what every command takes that answers classes from a threshold on, to a group."""
    answer.add_argument(
        "--threshold",
        metavar="T",
        help="where a picture may show several classes: from which probability on, 0 to 1, or "
        "best, those that the run found (default: these, else 0.5)",
    )


def add_streaming(answer, help: str, *, required: bool = False) -> None:
    """Adds what every command takes that writes answers as they come, to a group."""
    answer.add_argument("--output", required=required, metavar="PATH", help=help)
    answer.add_argument(
        "--strict",
        action="store_true",
        help="with Parquet: stop at the first file that cannot be read, instead of leaving it out",
    )


def add_engine(work) -> None:
    """Adds what says where the work over many files is done, to a group."""
    work.add_argument(
        "--engine",
        choices=["keras", "openvino", "onnx", "litert", "ray"],
        help="with Parquet: another runtime, for which the model is exported and verified first; "
        "ray: all devices of a cluster (default: the model's or artefact's own)",
    )
    work.add_argument(
        "--address", help="of a Ray cluster, as ray.init takes it (default: this machine)"
    )
    work.add_argument(
        "--column",
        help="of .parquet tables, with pictures or paths (default: the only one, or a usual name)",
    )


def add_precision(model) -> None:
    """Adds what every command takes that opens artefacts, to a group."""
    model.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="of an OpenVINO artefact's arithmetic (default: its own choice)",
    )


def add_nested(images) -> None:
    """Adds what every command that reads labelled folders takes, to a group."""
    images.add_argument(
        "--nested",
        action="store_true",
        help="subfolders that hold only folders are classes all the same",
    )


def print_table(header: list, rows: Iterable[Iterable]) -> None:
    """Prints a table, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160, emoji=False)

    def text(cell) -> Text:  # a name is no markup
        return Text(printable(str(cell), console.encoding))

    table = Table()
    for cell in header:
        table.add_column(text(cell))
    for row in rows:
        table.add_row(*map(text, row))
    console.print(table)
