"""A progress bar for work that takes long."""

import contextlib
from collections.abc import Callable, Iterator

Verbose = bool | int | str
"""As `keras.Model.fit` takes it: "auto" or 1 shows progress, 2 a line an epoch, 0 nothing."""


@contextlib.contextmanager
def progress(
    total: int | None, what: str, unit: str, verbose: Verbose
) -> Iterator[Callable[[int], None]]:
    """Shows a bar where stderr is a terminal.

    Args:
        total: units of work; `None` where nobody knows.
        what: what is done.
        unit: plural of what is counted.
        verbose: whether to show anything.

    Yields:
        A function that takes how many more are done; threads may call it.
    """
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=f" {unit}", disable=None if verbose else True) as bar:

        def advance(count: int) -> None:
            with bar.get_lock():
                bar.update(count)

        yield advance
