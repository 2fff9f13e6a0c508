"""Error messages of other libraries, for missing packages and for wrong arguments."""

import importlib
import re
from collections.abc import Iterable
from types import ModuleType

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def in_one_line(error: BaseException) -> str:
    """Return the class of an error and the first line of its text, without colour codes."""
    text = COLOURS.sub("", str(error))
    return f"{type(error).__name__}: {(text.splitlines() or [''])[0]}"


def require_extra(module: str, who: str, package: str, extra: str) -> ModuleType:
    """Import and return a module that not every installation has.

    Args:
        module: Name of the module.
        who: What needs it, with its verb, such as `"Pictures need"`.
        package: Name of its package for pip.
        extra: Extra of this package that installs it.

    Raises:
        ImportError: If the module is missing; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f"{who} {package}: pip install 'keras-inception-v4[{extra}]'") from None


def check_at_least(least: int, **values) -> None:
    """Check that no named value is below `least`.

    Raises:
        ValueError: If one is; the message names the first.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"Received {name}={value}. It must be at least {least}.")


def check_one_of(allowed: Iterable, **values) -> None:
    """Check that every named value is one of `allowed`.

    Raises:
        ValueError: If one is not; the message names the first.
    """
    allowed = list(allowed)
    for name, value in values.items():
        if value not in allowed:
            shown = ", ".join(map(str, allowed))
            raise ValueError(f"Received {name}={value!r}. Allowed are {shown}.")
