"""A map over its image."""

import numpy as np
from PIL import Image, ImageOps


def overlay(image: np.ndarray, activation_map: np.ndarray, *, opacity: float = 0.5) -> np.ndarray:
    """Lays a map over its image in colour, from dark blue (least) over red to yellow (most).

    Args:
        image: `(height, width, 3)`, RGB, 0 to 255.
        activation_map: `(h, w)`, any range; its least and greatest values span the
            colours.
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 `(height, width, 3)`, RGB.

    Raises:
        ValueError: if a shape is another.
    """
    image, activation_map = np.asarray(image), np.asarray(activation_map, "float32")
    if image.ndim != 3 or image.shape[2] != 3 or activation_map.ndim != 2:
        raise ValueError(
            f"Received an image of shape {image.shape} and a map of shape "
            f"{activation_map.shape}. They must be (height, width, 3) and (h, w)."
        )
    span = np.ptp(activation_map)
    share = (activation_map - activation_map.min()) / (span or 1)
    height, width = image.shape[:2]
    resized = Image.fromarray(share).resize((width, height), Image.Resampling.BILINEAR)
    grey = Image.fromarray(np.round(np.asarray(resized) * 255).astype("uint8"))
    colours = np.asarray(ImageOps.colorize(grey, "#0b1e5b", "#ffe94a", mid="#d7263d"))
    mixed = (1 - opacity) * np.clip(image, 0, 255) + opacity * colours
    return np.round(mixed).astype("uint8")
