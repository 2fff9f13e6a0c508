"""The command line: a subcommand parses its arguments, calls the package and prints the result."""

import argparse
import sys
from collections.abc import Sequence

from keras_inception_v4 import __version__
from keras_inception_v4.cli.auditing import add_audit
from keras_inception_v4.cli.files import add_convert, add_export
from keras_inception_v4.cli.network import add_summary
from keras_inception_v4.cli.serving import add_serve
from keras_inception_v4.cli.training import add_evaluate, add_train
from keras_inception_v4.cli.using import add_embed, add_explain, add_predict
from keras_inception_v4.starting import check_places, import_keras, installed


def main(arguments: Sequence[str] | None = None, *, parts=None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments after the program's name. Defaults to those in `sys.argv`.
        parts: `runs.run.Parts` of the run that `train` makes. Defaults to the package's own.

    Returns:
        Exit status: 0 for success, 1 for an error that the user can fix, 130 for Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # for names that a terminal cannot encode
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    options.parts = parts
    try:
        check_places(options)
        import_keras(options)
        options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


class _PrintVersions(argparse.Action):
    """`--version`: looks at what is installed only when asked."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(f"keras-inception-v4 {__version__}")
        for title, found in installed().items():
            named = ", ".join(f"{name} {version}" for name, version in found.items())
            print(f"{title}: {named or 'none'}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    whole = argparse.ArgumentParser(
        prog="keras-inception-v4", description="Inception-v4 for Keras."
    )
    whole.add_argument(
        "--version",
        action=_PrintVersions,
        nargs=0,
        help="print the version, and the backends and runtimes that are installed",
    )
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_audit(commands)
    add_train(commands)
    add_evaluate(commands)
    add_predict(commands)
    add_embed(commands)
    add_explain(commands)
    add_serve(commands)
    add_convert(commands)
    add_export(commands)
    add_summary(commands)
    return whole
