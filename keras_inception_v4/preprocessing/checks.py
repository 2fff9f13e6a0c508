"""What numbers must be before they are used."""

import warnings

import numpy as np


def check_finite(values: np.ndarray, what: str) -> None:
    """Checks that there is no NaN and no infinity.

    Args:
        values: numbers of any shape.
        what: what they are, plural.

    Raises:
        ValueError: with how many are not finite.
    """
    if values.dtype.kind != "f":
        return
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"{bad:,} of {values.size:,} {what} are not finite (NaN or infinity)")


def warn_of_scaled(pixels: np.ndarray, stacklevel: int = 3) -> None:
    """Warns of pixels that look as if they were scaled already, from 0 to 1 or from -1 to 1.

    Args:
        pixels: of at least one image, as a user gave them.
        stacklevel: of the warning; 3 is the caller's caller.
    """
    if pixels.dtype.kind != "f" or not pixels.size:
        return
    least, most = float(np.min(pixels)), float(np.max(pixels))
    if -1 <= least < most <= 1:
        warnings.warn(
            f"The pixels are from {least:.3g} to {most:.3g}; expected are raw ones, 0 to 255. If "
            "they were scaled, leave that out: it is done here.",
            stacklevel=stacklevel,
        )
