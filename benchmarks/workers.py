"""Contenders, each in its own process, that take turns: A B A B.

A contender is a function of this package that builds something and returns `prepare`. `prepare`
takes the task (a batch, an image size) and returns the function to time, which has no arguments.
Only one process works at a time; the others wait for their turn.
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

EMULATED = "this processor does not compute in bfloat16"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


@dataclass(frozen=True)
class Contender:
    """What is measured.

    `build(**options)` runs in the contender's process, with `environment` set before any import;
    `on_gpu` says that it computes there. One in bfloat16 is refused by a processor that would
    emulate it, which takes minutes a call.
    """

    name: str
    build: Callable
    options: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    on_gpu: bool = False


class Spread(NamedTuple):
    """Median, least and largest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


class NotMeasuredError(Exception):
    """Why a contender has no figures."""


def require_complete(run: Path) -> None:
    """Checks that there is a run of the README's first command.

    Raises:
        NotMeasuredError: if there is none, or one that has not ended.
    """
    if not all((run / name).exists() for name in ("report.json", "model.keras")):
        raise NotMeasuredError(
            f"{run.name} holds no complete run (report.json and model.keras); the README's first "
            "command makes one, and --run names another"
        )


class Worker:
    """The process of a contender; `has_bfloat16` says whether the processor computes in it."""

    def __init__(self, contender: Contender, has_bfloat16=None):
        if contender.options.get("precision") == "bfloat16" and not contender.on_gpu:
            # Not imported above: contenders are to import what they need alone.
            from keras_inception_v4.training.precision import processor_has_bfloat16

            if not (has_bfloat16 or processor_has_bfloat16)():
                raise NotMeasuredError(EMULATED)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, contender.build, contender.options), daemon=True
        )
        with _environment({**QUIET, **contender.environment}):
            self.process.start()
        theirs.close()
        self._answer()

    def prepare(self, task: dict) -> None:
        """Builds what `run` times, and lets it run once, which compiles and warms up."""
        self._ask("prepare", task)
        self.run()

    def run(self) -> float:
        """Seconds of one run."""
        return self._ask("run")

    def peak(self) -> int:
        """Peak resident bytes so far."""
        return self._ask("peak")

    def stop(self) -> None:
        self.connection.close()
        self.process.join(20)
        self.process.kill()

    def _ask(self, *message):
        with suppress(OSError):  # a process that has ended answers below
            self.connection.send(message)
        return self._answer()

    def _answer(self):
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise NotMeasuredError(f"its process ended with {self.process.exitcode}") from None
        if isinstance(answer, Exception):
            raise NotMeasuredError(_one_line(answer))
        return answer


@contextmanager
def started(contenders, has_bfloat16=None) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """A worker for each contender that can be built, and for the others why not."""
    with ExitStack() as stack:
        workers, reasons = {}, {}
        for contender in contenders:
            try:
                worker = Worker(contender, has_bfloat16)
            except NotMeasuredError as reason:
                reasons[contender.name] = str(reason)
                continue
            stack.callback(worker.stop)
            workers[contender.name] = worker
        yield workers, reasons


def interleaved(
    workers: dict[str, Worker], rounds: int, *, prepared_at_once: bool = False, **task
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of each worker, a round after the other, and for the others why not.

    Workers prepare one after the other, or `prepared_at_once`, where compiling is long and the
    cores are many.
    """
    seconds, reasons = {}, {}

    def prepare(worker: Worker) -> str:
        try:
            worker.prepare(task)
        except NotMeasuredError as reason:
            return str(reason)
        return ""

    with ThreadPoolExecutor(max(len(workers), 1) if prepared_at_once else 1) as pool:
        refusals = list(pool.map(prepare, workers.values()))
    for name, refusal in zip(workers, refusals, strict=True):
        if refusal:
            reasons[name] = refusal
        else:
            seconds[name] = []
    for _ in range(rounds):
        for name in list(seconds):
            try:
                seconds[name].append(workers[name].run())
            except NotMeasuredError as reason:
                del seconds[name]
                reasons[name] = str(reason)
    return seconds, reasons


def in_a_process(function: Callable, *arguments) -> None:
    """Runs a function in a process that ends with it.

    Raises:
        NotMeasuredError: if it fails.
    """
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    with _environment(QUIET):
        process.start()
    process.join()
    if process.exitcode:
        raise NotMeasuredError(f"{function.__name__} ended with {process.exitcode}")


def ratio(seconds: dict[str, list[float]], fast: str, slow: str) -> Spread:
    """How many times as fast one is as another: the seconds of the same round, divided."""
    return Spread.of([b / a for a, b in zip(seconds[fast], seconds[slow], strict=True)])


def peak_of_this_process() -> int:
    """Peak resident bytes, of this program alone.

    Not `ru_maxrss`, which starts from the memory of the process that started this one. Linux.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Lets the peak begin anew from what is resident now. Linux."""
    Path("/proc/self/clear_refs").write_text("5")


def output_of(code: str) -> str:
    """The last word that a process prints that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**os.environ, **QUIET},
    )  # fmt: skip
    return done.stdout.split()[-1]


def _serve(connection, build: Callable, options: dict) -> None:
    """The other end of a `Worker`."""
    os.dup2(2, 1)  # libraries print
    run: Callable = lambda: None  # noqa: E731
    try:
        prepare = build(**options)
        connection.send(None)
        while True:
            what, *arguments = connection.recv()
            if what == "prepare":
                run = prepare(**arguments[0])
                connection.send(None)
            elif what == "run":
                begun = time.perf_counter()
                run()
                connection.send(time.perf_counter() - begun)
            else:
                connection.send(peak_of_this_process())
    except EOFError:
        return
    except Exception as error:
        connection.send(RuntimeError(_one_line(error)))


def _one_line(error: Exception) -> str:
    name = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
    return name + (str(error).splitlines() or [""])[0][:160]


@contextmanager
def _environment(values: dict):
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
