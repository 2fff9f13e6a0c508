"""Checks of numbers and pixels before they are used."""

import warnings

import numpy as np


def check_finite(values: np.ndarray, what: str) -> None:
    """Check that a floating-point array holds no NaN and no infinity.

    Args:
        values: Array of any shape. Only floating-point dtypes are checked.
        what: Plural noun for the values in the error.

    Raises:
        ValueError: If a value is not finite. The message gives the number of such values.
    """
    if values.dtype.kind != "f":
        return
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"{bad:,} of {values.size:,} {what} are not finite (NaN or infinity)")


def warn_of_scaled(pixels: np.ndarray, stacklevel: int = 3) -> None:
    """Warn if pixels seem to be scaled already, to 0 to 1 or to -1 to 1.

    Args:
        pixels: Pixels of at least one image, as the user passed them.
        stacklevel: Stack level of the warning. The default 3 names the caller's caller.
    """
    if pixels.dtype.kind != "f" or not pixels.size:
        return
    least, most = float(np.min(pixels)), float(np.max(pixels))
    if -1 <= least < most <= 1:
        warnings.warn(
            f"The pixels range from {least:.3g} to {most:.3g}; raw pixels, 0 to 255, are expected. "
            "If you scaled them, pass them unscaled: they are scaled here.",
            stacklevel=stacklevel,
        )
