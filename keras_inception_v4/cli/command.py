"""What every subcommand is made of."""

import argparse
import sys
from collections.abc import Iterable


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, keeps the lines of the example."""

    def _get_help_string(self, action):
        has_one = action.default is not None and not isinstance(action.default, bool)
        return super()._get_help_string(action) if has_one else action.help


def add_command(commands, name: str, run, help: str, example: str) -> argparse.ArgumentParser:
    """Adds a subcommand with its example."""
    command = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )
    command.set_defaults(run=run)
    return command


def add_images(command: argparse.ArgumentParser, batch_size: int) -> None:
    """Adds what every command that reads many images takes."""
    images = command.add_argument_group("images")
    images.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help="images a batch"
    )
    images.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that cannot be read"
    )


def print_table(header: list, rows: Iterable[Iterable]) -> None:
    """Prints a table, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
