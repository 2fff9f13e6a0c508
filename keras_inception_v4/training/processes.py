"""Many processes that train as one: they meet, agree, wait for each other, and end together.

On JAX; on other backends there is one.
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

HEARTBEAT = 60  # seconds without a sign of life after which a process counts as dead
START = 300  # seconds to wait for the others at the start


def is_jax() -> bool:
    """Whether the backend is JAX, which knows several devices and processes."""
    return keras.backend.backend() == "jax"


def check_processes(coordinator: str | None, processes: int, process_id: int) -> None:
    """Checks what `join` takes.

    Raises:
        ValueError: if it contradicts itself, or needs another backend.
    """
    if processes < 1 or not 0 <= process_id < processes:
        raise ValueError(
            f"Received processes={processes} and process_id={process_id}. processes is at least 1, "
            "and their ids count from 0."
        )
    if (coordinator is None) != (processes == 1):
        raise ValueError(
            f"Received coordinator={coordinator!r} and processes={processes}. More than one "
            "process need the address HOST:PORT of process 0, one process needs none."
        )
    host, _, port = (coordinator or "host:0").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"Received coordinator={coordinator!r}. It must be HOST:PORT.")
    if processes > 1 and not is_jax():
        raise ValueError(
            f"Many processes need the JAX backend, and this is {keras.backend.backend()}. Set "
            "KERAS_BACKEND=jax."
        )


def join(coordinator: str | None, processes: int, process_id: int) -> None:
    """Waits for all processes of a run; to be called before anything is computed.

    Args:
        coordinator: `HOST:PORT` at which process 0 listens and the others find it; `None` for a
            process that is alone.
        processes: how many there are.
        process_id: of this one, from 0.

    Raises:
        ValueError: if they see different numbers of devices.
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
    """Index of this process, and how many there are."""
    if not is_jax():
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_first() -> bool:
    """Whether this is the process that writes."""
    return part()[0] == 0


OTHER_ENDED = (
    "Another process of this run has ended or cannot be reached. All of them stop. Start all again "
    "with the same commands: they go on after the last finished epoch."
)
# How what JAX says of a lost connection begins; now and then that is a ValueError.
LOST_STATUS = re.compile(r"(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


def supervised(function: Callable, place: tuple[str, int, int], **arguments):
    """Joins the others and calls a function in a child of this process, which ends with it.

    When one process of a run dies, JAX ends the others with a crash, which nothing in them can
    catch; so the message comes from outside.

    Args:
        function: importable by name.
        place: what `join` takes.
        arguments: of the function; they, its answer and its errors are pickled between the two.

    Returns:
        The function's answer.

    Raises:
        OSError: if the processes did not come together, or another one ended.
        Exception: what the function raises.
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
            child.join()  # it takes leave of the others
            return content
    except EOFError:
        child.join()
        raise OSError(_what_ended(news, child.exitcode, place)) from None
    finally:
        child.join(10)  # the others may still read from it what they differ in
        child.kill()
        child.join()
    raise content


def _what_ended(news: str, status: int | None, place: tuple[str, int, int]) -> str:
    coordinator, processes, process_id = place
    if status is None or status >= 0 or status == -signal.SIGKILL:
        return (
            f"The training process ended with status {status}, as when memory runs out. The same "
            "command goes on after the last finished epoch."
        )
    if news == "started":
        return (
            f"Process {process_id} of {processes} did not meet the others at {coordinator}. Start "
            "all of them, with the same address and each with its own id."
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
    """The error as the parent raises it; those of JAX cannot be pickled."""
    cause: BaseException | None = error
    while cause is not None:  # Keras may raise others while it leaves for JAX's
        of_jax = type(cause).__name__ == "JaxRuntimeError" or LOST_STATUS.match(str(cause))
        if of_jax and "RESOURCE_EXHAUSTED" not in str(cause):
            return OSError(f"{OTHER_ENDED} ({in_one_line(cause)})")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (ValueError, OSError, ImportError)):
        return error
    traceback.print_exception(error)
    return RuntimeError(in_one_line(error))


def check_same(what: str, value) -> None:
    """Checks that all processes have the same.

    Args:
        what: its name in the message.
        value: as JSON.

    Raises:
        ValueError: in every process, if one has another.
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
            f"Processes 0 and {', '.join(map(str, different))} differ in {what}. All take the same "
            "arguments but for --process-id, and see the same images and the same run folder, "
            "on a disk that they share."
        )


def wait_for_all(name: str) -> None:
    """Waits until every process has come here."""
    if part()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
