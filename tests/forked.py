"""Processes for tests to kill, forked from one that has imported Keras and the command.

The import takes ten seconds on a plain machine, as long as all else that such a process does. A
forked process is as independent as any other: TensorFlow starts its threads at the first operation,
after the fork.
"""

import functools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from thin import thin_network

IMPORTED = (
    "keras",
    "matplotlib.pyplot",
    "sklearn.datasets",
    "keras_inception_v4.cli",
    "keras_inception_v4.inference.embedding",
    "keras_inception_v4.runs.run",
)
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "MPLBACKEND": "agg"}  # as the command `train` has it


@functools.cache
def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    return context


class Forked:
    """A process that runs a function; as much of `subprocess.Popen` as tests use.

    Args:
        function: of a module, as it must be pickled; what it returns is the exit status.
        arguments: of the function.
        depth: of the thin network that it runs on; the whole network if `None`.
    """

    def __init__(self, function: Callable, *arguments, depth: str | None = None):
        self._files = ExitStack()
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory()))
        self._printed = [folder / "stdout", folder / "stderr"]
        self._process = _context().Process(
            target=_run, args=(self._printed, function, arguments, depth), daemon=True
        )
        before = {name: os.environ.get(name) for name in ENVIRONMENT}
        os.environ.update(ENVIRONMENT)
        try:
            self._process.start()  # and with the first one that from which all are forked
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> list[str]:
        """What it wrote to stdout and stderr, once it has ended; TimeoutError if it does not."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise TimeoutError(f"It went on for {timeout} s.")
        with self._files:
            return [path.read_text() if path.exists() else "" for path in self._printed]


def _run(printed: list[Path], function: Callable, arguments: tuple, depth: str | None) -> None:
    for stream, path in enumerate(printed, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    with ExitStack() as stack:
        if depth is not None:
            stack.enter_context(thin_network(depth))
        sys.exit(function(*arguments))
