"""A progress bar for long work."""

import contextlib
from collections.abc import Callable, Iterator

Verbose = bool | int | str
"""As in `keras.Model.fit`: "auto" or 1 shows progress, 2 a line per epoch, 0 nothing."""


@contextlib.contextmanager
def progress(
    total: int | None, what: str, unit: str, verbose: Verbose
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if stderr is a terminal.

    Args:
        total: Number of units of work; `None` if it is not known.
        what: Name of the work.
        unit: Name of the units, in the plural.
        verbose: Whether to show the bar.

    Yields:
        A function that takes the number of units done since its last call. Threads may call it.
    """
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=f" {unit}", disable=None if verbose else True) as bar:

        def advance(count: int) -> None:
            with bar.get_lock():
                bar.update(count)

        yield advance
