"""A progress bar for work that takes long."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(total: int, what: str, unit: str, verbose: bool) -> Iterator[Callable[[int], None]]:
    """Shows a bar on the terminal, or one line at the end where there is none.

    Args:
        total: units of work.
        what: what is done.
        unit: plural of what is counted.
        verbose: whether to show anything.

    Yields:
        A function that takes how many more are done; threads may call it.
    """
    if not verbose:
        yield lambda count: None
        return
    if not sys.stderr.isatty():
        yield lambda count: None
        print(f"{what}: {total:,} {unit}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn(unit), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
