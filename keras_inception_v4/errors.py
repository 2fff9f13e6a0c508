"""Format errors raised by other libraries."""

import re

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def in_one_line(error: BaseException) -> str:
    """The class of an error and the first line of its text, without colour codes."""
    text = COLOURS.sub("", str(error))
    return f"{type(error).__name__}: {(text.splitlines() or [''])[0]}"
