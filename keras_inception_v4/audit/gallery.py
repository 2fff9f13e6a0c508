"""A PNG with the first findings of each kind."""

import os

import numpy as np
from PIL import Image

from keras_inception_v4.audit.listing import Listed
from keras_inception_v4.data.findings import KINDS, Finding
from keras_inception_v4.data.sources import content_of
from keras_inception_v4.plots import plot_gallery
from keras_inception_v4.preprocessing import opened

SHOWN = 8  # pictures of each kind
SIDE = 160  # pixels: longer side of a picture


def draw_gallery(listed: Listed, findings: list[Finding], path: str | os.PathLike) -> None:
    """Draw the first findings of each kind as a PNG, each duplicate beside its original.

    Raises:
        ImportError: If matplotlib is missing. The message names the extra.
        OSError: If the file cannot be written.
    """
    places = dict(zip(listed.names, listed.places, strict=True))
    sections = {}
    for kind in KINDS:
        shown: list[tuple[np.ndarray, str]] = []
        of_kind = [finding for finding in findings if finding.kind == kind]
        for finding in of_kind:
            names = [finding.path] + ([finding.other] if finding.other else [])
            if len(shown) + len(names) > SHOWN:
                break
            for name in names:
                pixels = _whole(places.get(name))
                if pixels is not None:
                    caption = _caption(finding) if name == finding.path else "of " + name
                    shown.append((pixels, caption))
        if shown:
            sections[f"{kind} ({len(of_kind)})"] = shown
    plot_gallery(sections, path, columns=SHOWN)


def _caption(finding: Finding) -> str:
    says = finding.label + (f" → {finding.suggested}" if finding.suggested else "")
    return f"{finding.path}\n{says}"


def _whole(place) -> np.ndarray | None:
    """Return the whole picture, scaled down, as uint8; `None` if it cannot be read."""
    if place is None:
        return None
    try:
        with opened(content_of(place), str(place)) as picture:
            scale = SIDE / max(picture.width, picture.height)
            size = (max(1, round(picture.height * scale)), max(1, round(picture.width * scale)))
            box = (0, 0, picture.width, picture.height)
            pixels = picture.window(box, size, Image.Resampling.BICUBIC)
    except (ValueError, OSError):
        return None
    return np.clip(pixels, 0, 255).round().astype("uint8")
