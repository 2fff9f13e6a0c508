"""Building blocks of the subcommands."""

import argparse
import sys
from collections.abc import Callable, Iterable

from keras_inception_v4.files import printable


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help formatter that shows defaults but booleans, and keeps the line breaks of examples."""

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
    """Add a subcommand and return its parser.

    Args:
        commands: Subparsers of the whole command line.
        name: Name of the subcommand.
        run: Function that takes the parsed options and does the work.
        help: Description in one line.
        example: One or several example calls.
        reads: Maps each option that names a path to the kind of path, such as `"image file"`. The
            path must exist before the command runs.
        environment: Function of the options. It returns environment variables that Keras's backend
            reads at import. A variable with the value `None` is left alone. Variables that the user
            has set take precedence.
        needs_keras: Whether to import Keras before the command runs, or a function of the options
            that returns this. Defaults to `True`.
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
    """Add the options of commands that read many images, and return their group."""
    images = command.add_argument_group("images")
    images.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help="images per batch"
    )
    images.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that cannot be read"
    )
    return images


def add_pixels(model) -> None:
    """Add to a group the option of commands that read a `.keras` file."""
    model.add_argument(
        "--pixels",
        choices=["raw", "scaled"],
        help="input range of the model: raw is 0 to 255, scaled is -1 to 1; needed only if its "
        "layers do not show it",
    )


def add_threshold(answer) -> None:
    """Add to a group the option of commands that predict classes by a threshold."""
    answer.add_argument(
        "--threshold",
        metavar="T",
        help="with several classes per image: predict every class of at least this probability, "
        "0 to 1; best uses the thresholds that the run found (default: best if there are any, "
        "else 0.5)",
    )


def add_streaming(answer, help: str, *, required: bool = False) -> None:
    """Add to a group the options of commands that write results as they are computed."""
    answer.add_argument("--output", required=required, metavar="PATH", help=help)
    answer.add_argument(
        "--strict",
        action="store_true",
        help="with Parquet: stop at the first file that cannot be read instead of leaving it out",
    )


def add_engine(work) -> None:
    """Add to a group the options that choose where many files are processed."""
    work.add_argument(
        "--engine",
        choices=["keras", "openvino", "onnx", "litert", "ray"],
        help="runtime for Parquet output; the model is exported and verified first for openvino, "
        "onnx and litert; ray uses all devices of a cluster (default: the model's or artefact's "
        "own)",
    )
    work.add_argument(
        "--address", help="address of a Ray cluster, as ray.init takes it (default: this machine)"
    )
    work.add_argument(
        "--column",
        help="column of .parquet tables that holds pictures or paths (default: the only column of "
        "pictures, or one of paths with a usual name)",
    )


def add_precision(model) -> None:
    """Add to a group the option of commands that open artefacts."""
    model.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="arithmetic of an OpenVINO artefact (default: OpenVINO's choice)",
    )


def add_nested(images) -> None:
    """Add to a group the option of commands that read labelled folders."""
    images.add_argument(
        "--nested",
        action="store_true",
        help="treat subfolders as classes even if all of them hold only folders",
    )


def print_table(header: list, rows: Iterable[Iterable]) -> None:
    """Print a table that is as wide as the terminal, or 160 columns without one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160, emoji=False)

    def text(cell) -> Text:  # names are not parsed as markup
        return Text(printable(str(cell), console.encoding))

    table = Table()
    for cell in header:
        table.add_column(text(cell))
    for row in rows:
        table.add_row(*map(text, row))
    console.print(table)
