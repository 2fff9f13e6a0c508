"""Training in several processes: they connect, compare values, wait for each other, end together.

This needs JAX. Other backends use one process.
"""

import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading
import traceback
from collections.abc import Callable

import keras
import numpy as np

from keras_inception_v4.errors import in_one_line

HEARTBEAT = 60  # seconds without a heartbeat after which a process counts as dead
START = 300  # seconds to wait for the others at the start


def is_jax() -> bool:
    """Return whether the backend is JAX, the only one with several devices and processes here."""
    return keras.backend.backend() == "jax"


def check_processes(coordinator: str | None, processes: int, process_id: int) -> None:
    """Check the arguments of `join`.

    Raises:
        ValueError: If they contradict each other, or need another backend.
    """
    if processes < 1 or not 0 <= process_id < processes:
        raise ValueError(
            f"Received processes={processes} and process_id={process_id}. processes must be "
            "at least 1, and process_id at least 0 and below processes."
        )
    if (coordinator is None) != (processes == 1):
        raise ValueError(
            f"Received coordinator={coordinator!r} and processes={processes}. Several "
            "processes need the address HOST:PORT of process 0. A single process takes none."
        )
    host, _, port = (coordinator or "host:0").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"Received coordinator={coordinator!r}. It must be HOST:PORT.")
    if processes > 1 and not is_jax():
        raise ValueError(
            f"Several processes need the JAX backend, but this is {keras.backend.backend()}. Set "
            "KERAS_BACKEND=jax."
        )


def join(coordinator: str | None, processes: int, process_id: int) -> None:
    """Connect to all processes of a run. Call it before any computation.

    Args:
        coordinator: `HOST:PORT` at which process 0 listens for the others. `None` for a single
            process.
        processes: Number of processes.
        process_id: Index of this process, from 0.

    Raises:
        ValueError: If the processes see different numbers of devices.
    """
    if processes == 1:
        return
    import jax

    jax.distributed.initialize(
        coordinator,
        processes,
        process_id,
        initialization_timeout=START,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=HEARTBEAT,
    )
    if jax.local_device_count() * processes != jax.device_count():
        raise ValueError(
            f"This process sees {jax.local_device_count()} of {jax.device_count()} devices, which "
            f"is not a share of {processes} processes. All must see equally many."
        )


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def part() -> tuple[int, int]:
    """Return the index of this process and the number of processes."""
    if not is_jax():
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_first() -> bool:
    """Return whether this is process 0, which writes the files."""
    return part()[0] == 0


OTHER_ENDED = (
    "Another process of this run has ended or cannot be reached. All of them stop. Start them all "
    "again with the same commands; they resume after the last finished epoch."
)
# Start of JAX's messages about a lost connection, some of which are ValueErrors.
LOST_STATUS = re.compile(r"(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


def supervised(function: Callable, place: tuple[str, int, int], **arguments):
    """Call a function in a child process that joins the others.

    When one process of a run dies, JAX crashes the others, and they cannot catch that. This parent
    process reports it instead. The child ends when the parent ends.

    Args:
        function: Function that can be imported by name.
        place: Arguments of `join`.
        arguments: Arguments of the function. They, its result and its errors are pickled.

    Returns:
        The function's result.

    Raises:
        OSError: If the processes did not connect, another one ended, or the child crashed.
        Exception: What the function raises: ValueError, OSError, ImportError or
            KeyboardInterrupt; other errors become a RuntimeError.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, function, place, arguments), daemon=True)
    child.start()
    sender.close()
    news, content = "started", OSError(OTHER_ENDED)
    try:
        while news in ("started", "joined"):
            news, content = receiver.recv()
        if news == "done":
            child.join()  # the child disconnects from the others
            return content
    except EOFError:
        child.join()
        raise OSError(_what_ended(news, child.exitcode, place)) from None
    finally:
        child.join(10)  # the others may still need its values in `check_same`
        child.kill()
        child.join()
    raise content


def _what_ended(news: str, status: int | None, place: tuple[str, int, int]) -> str:
    coordinator, processes, process_id = place
    if status is None or status >= 0 or status == -signal.SIGKILL:
        return (
            f"The training process ended with status {status}, as happens when memory runs "
            "out. Rerun the same command to resume after the last finished epoch."
        )
    if news == "started":
        return (
            f"Process {process_id} of {processes} did not connect to the others at {coordinator}. "
            "Start all of them, with the same address and each with its own id."
        )
    return OTHER_ENDED


def _child(sender, function: Callable, place: tuple[str, int, int], arguments: dict) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        join(*place)
        sender.send(("joined", None))
        sender.send(("done", function(**arguments)))
    except KeyboardInterrupt as error:
        sender.send(("failed", error))
    except Exception as error:
        sender.send(("failed", _told(error)))


def _told(error: Exception) -> Exception:
    """Return the error for the parent to raise, since JAX's errors cannot be pickled."""
    cause: BaseException | None = error
    while cause is not None:  # Keras may raise others while it handles JAX's
        of_jax = type(cause).__name__ == "JaxRuntimeError" or LOST_STATUS.match(str(cause))
        if of_jax and "RESOURCE_EXHAUSTED" not in str(cause):
            return OSError(f"{OTHER_ENDED} ({in_one_line(cause)})")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (ValueError, OSError, ImportError)):
        return error
    traceback.print_exception(error)
    return RuntimeError(in_one_line(error))


def check_same(what: str, value) -> None:
    """Check that all processes have the same value.

    Args:
        what: Name of the value, for the error.
        value: JSON value to compare.

    Raises:
        ValueError: In every process, if one has a different value.
    """
    if part()[1] == 1:
        return
    from jax.experimental import multihost_utils

    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    mine = np.frombuffer(digest, "uint8").astype("int32")
    everyone = np.asarray(multihost_utils.process_allgather(mine)).reshape(-1, len(mine))
    different = [i for i, theirs in enumerate(everyone) if np.any(theirs != everyone[0])]
    if different:
        raise ValueError(
            f"Processes 0 and {', '.join(map(str, different))} differ in {what}. All need the same "
            "arguments except --process-id, the same images, and the same run folder on a shared "
            "disk."
        )


def wait_for_all(name: str) -> None:
    """Wait until every process has reached this point."""
    if part()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
