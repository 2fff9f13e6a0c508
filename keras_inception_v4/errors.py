"""Errors of other libraries, and of those that are not there."""

import importlib
import re
from collections.abc import Iterable
from types import ModuleType

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def in_one_line(error: BaseException) -> str:
    """The class of an error and the first line of its text, without colour codes."""
    text = COLOURS.sub("", str(error))
    return f"{type(error).__name__}: {(text.splitlines() or [''])[0]}"


def require_extra(module: str, who: str, package: str, extra: str) -> ModuleType:
    """Imports a module that not every installation has.

    Args:
        module: to import.
        who: needs it, with its verb (`"Pictures need"`).
        package: as pip knows it.
        extra: of this package that brings it.

    Raises:
        ImportError: if it is not there; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f"{who} {package}: pip install 'keras-inception-v4[{extra}]'") from None


def check_at_least(least: int, **values) -> None:
    """Checks arguments, by their names.

    Raises:
        ValueError: for the first one below `least`.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"Received {name}={value}. It must be at least {least}.")


def check_one_of(allowed: Iterable, **values) -> None:
    """Checks arguments, by their names.

    Raises:
        ValueError: for the first one that is not `allowed`.
    """
    allowed = list(allowed)
    for name, value in values.items():
        if value not in allowed:
            shown = ", ".join(map(str, allowed))
            raise ValueError(f"Received {name}={value!r}. Allowed are {shown}.")
