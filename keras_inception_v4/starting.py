"""Start of a command: check the paths that it reads, and import Keras without log noise."""

import contextlib
import importlib
import importlib.metadata
import os
import re
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator

from keras_inception_v4.files import is_address, require

GREETING = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IWE]\d{4} .*(cudart_stub|port|cuda_platform|cpu_feature_guard)\.cc:\d+\]"
)
"""Log lines of TensorFlow without a GPU, which reach stderr before its logging is set up."""

WORDS = ("digits", "imagenet")  # accepted in place of a path
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


INSTALLED = {
    "Keras": ("keras",),
    "backends (KERAS_BACKEND selects one)": ("tensorflow", "jax", "torch"),
    "runtimes for exported models": ("openvino", "onnxruntime", "ai-edge-litert"),
}


def installed() -> dict[str, dict[str, str]]:
    """Return the versions of Keras, backends and runtimes that are installed; import none.

    Returns:
        For each title of `INSTALLED` the name and version of each package; empty without any.
    """
    versions: dict[str, dict[str, str]] = {}
    for title, names in INSTALLED.items():
        found = versions[title] = {}
        for name in names:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
    return versions


def check_places(options: Namespace) -> None:
    """Check that the paths that a command reads exist, in less than a second.

    Args:
        options: Parsed options, with `reads` as passed to `add_command`.

    Raises:
        FileNotFoundError: If a path does not exist.
    """
    for option, kind in options.reads.items():
        given = getattr(options, option)
        for path in given if isinstance(given, list) else [given]:
            # A TensorFlow checkpoint is named by the prefix of its files.
            known = path in (None, *WORDS) or is_address(path)
            if not known and not os.path.exists(f"{path}.index"):
                require(path, kind)


def import_keras(options: Namespace) -> None:
    """Set a command's environment variables and import Keras, if the command needs Keras.

    The import drops TensorFlow's first log lines. If the user has set `TF_CPP_MIN_LOG_LEVEL`, it is
    left to the command and nothing is dropped.
    """
    needs = options.needs_keras
    if not (needs(options) if callable(needs) else needs):
        return
    for name, value in options.environment(options).items():
        if value is not None:
            os.environ.setdefault(name, value)
    if LOG_LEVEL in os.environ:
        return
    os.environ[LOG_LEVEL] = "3"
    with _without(GREETING):
        importlib.import_module("keras")


@contextlib.contextmanager
def _without(lines: re.Pattern[bytes]) -> Iterator[None]:
    """Drop lines of stderr that begin with the pattern, including those written by C++.

    Nothing is dropped if stderr is closed or there is no room to hold its lines back.
    """
    try:
        kept, written = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
    except OSError:
        yield
        return
    sys.stderr.flush()
    with written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            written.seek(0)
            others = [line for line in written if not lines.match(line)]
            os.write(2, b"".join(others))
