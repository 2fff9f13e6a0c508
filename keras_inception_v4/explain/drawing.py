"""Drawing of a map over its image."""

import numpy as np
from PIL import Image, ImageOps

from keras_inception_v4.architecture import GRIDS
from keras_inception_v4.errors import check_one_of
from keras_inception_v4.inspection import keeps_size


def overlay(
    image: np.ndarray,
    activation_map: np.ndarray,
    *,
    opacity: float = 0.5,
    endpoint: str | None = None,
) -> np.ndarray:
    """Lay a map over its image in colour, from dark blue (least) over red to yellow (most).

    Args:
        image: Array of shape (height, width, 3), RGB, 0 to 255, as the model saw it.
        activation_map: Array of shape (h, w), any range. Its least and greatest values span the
            colours.
        opacity: Opacity of the colours, 0 to 1. Defaults to 0.5.
        endpoint: Endpoint whose grid the map has, such as `"mixed_7d"` for `class_activation_map`.
            Each cell is then drawn where it looks. `None` stretches the map over the image, as for
            `occlusion_map`.

    Returns:
        uint8 array of shape (height, width, 3), RGB.

    Raises:
        ValueError: If a shape does not match, or the endpoint is unknown or has another grid.

    Examples:
        ```python
        import numpy as np
        from PIL import Image
        from keras_inception_v4 import load_image, overlay

        image = load_image("photo.jpg")
        picture = overlay(image, np.eye(4), opacity=0.4)
        Image.fromarray(picture).save("overlay.png")
        print(picture.shape, picture.dtype)
        ```
    """
    image, activation_map = np.asarray(image), np.asarray(activation_map, "float32")
    if image.ndim != 3 or image.shape[2] != 3 or activation_map.ndim != 2:
        raise ValueError(
            f"Received an image of shape {image.shape} and a map of shape "
            f"{activation_map.shape}. They must be (height, width, 3) and (h, w)."
        )
    span = np.ptp(activation_map)
    share = (activation_map - activation_map.min()) / (span or 1)
    large = enlarged(share, image.shape[:2], endpoint)
    grey = Image.fromarray(np.round(large * 255).astype("uint8"))
    colours = np.asarray(ImageOps.colorize(grey, "#0b1e5b", "#ffe94a", mid="#d7263d"))
    mixed = (1 - opacity) * np.clip(image, 0, 255) + opacity * colours
    return np.round(mixed).astype("uint8")


def enlarged(
    activation_map: np.ndarray, size: tuple[int, int], endpoint: str | None = None
) -> np.ndarray:
    """Return the map with one value per pixel, interpolated linearly between cell centres.

    Args:
        activation_map: Array of shape `(h, w)`.
        size: Height and width in pixels of the image that the model saw.
        endpoint: Endpoint whose grid the map has. Each cell is then drawn at the pixels it sees.
            The outermost cells extend to the border, up to two cells away. Stretching the map
            would misplace the cells of `mixed_7d` by up to 18 pixels. `None` stretches the map;
            use it if the cells are equal parts of the image, as in `occlusion_map`.

    Returns:
        Float32 array of shape `(height, width)`.

    Raises:
        ValueError: If the endpoint is unknown, or its grid at that size has another shape.
    """
    if endpoint is not None and not is_grid_of(endpoint, activation_map.shape, size):
        cells = " x ".join(str(GRIDS[endpoint].cells(side)) for side in size)
        raise ValueError(
            f"Received a map of {' x '.join(map(str, activation_map.shape))} cells with "
            f"endpoint={endpoint!r}, which has {cells} cells at {size[0]} x {size[1]} pixels. Pass "
            "the image at the size that the model saw, or endpoint=None to stretch the map over it."
        )
    down, across = (
        _shares(cells, side, endpoint)
        for cells, side in zip(activation_map.shape, size, strict=True)
    )
    return (down @ activation_map @ across.T).astype("float32")


def is_grid_of(endpoint: str, cells: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Return whether the endpoint has that many cells for an image of that size."""
    check_one_of(GRIDS, endpoint=endpoint)
    return cells == tuple(map(GRIDS[endpoint].cells, size))


def endpoint_as_drawn(
    model, endpoint: str | None, cells: tuple[int, ...], size: tuple[int, int]
) -> str | None:
    """Return the endpoint to pass to `enlarged`.

    It is `None` if the position of the endpoint's grid in the image is unknown.

    Args:
        model: Model that the map explains.
        endpoint: Name of the layer whose grid the map has, or `None`.
        cells: Shape of the map.
        size: Height and width in pixels of the image that the model saw.
    """
    own = endpoint in GRIDS and is_grid_of(endpoint, cells, size) and keeps_size(model)
    return endpoint if own else None


def _shares(cells: int, side: int, endpoint: str | None) -> np.ndarray:
    """Return each cell's weight in each pixel along a side, `(side, cells)`; rows sum to 1."""
    pixels = np.arange(side)
    if endpoint is None:
        places = (pixels + 0.5) * cells / side - 0.5
    else:
        first, stride = GRIDS[endpoint]
        places = (pixels - first) / stride
    places = np.clip(places, 0, cells - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0)
