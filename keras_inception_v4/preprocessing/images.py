"""Functions to load and resize images, scale pixels, and decode ImageNet predictions."""

import csv
import functools
import os
from importlib import resources

import numpy as np
from PIL import Image

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.preprocessing.pictures import Picture, opened


def preprocess_input(x, data_format: str | None = None):
    """Scale raw pixels to the network's range; the input is not changed.

    Args:
        x: Array or tensor of any shape, RGB, 0 to 255. Tensors of the backend, Keras tensors and
            TensorFlow tensors inside `tf.data` all work.
        data_format: Accepted as in `keras.applications`; the scaling is the same for every
        channel.

    Returns:
        `x / 127.5 - 1`, from -1 to 1, in `keras.config.floatx()`: an array for an array, else a
        tensor.

    Raises:
        ValueError: If `data_format` is not `None`, `"channels_last"` or `"channels_first"`.

    Examples:
        ```python
        import numpy as np
        from keras_inception_v4 import preprocess_input

        print(preprocess_input(np.array([0, 127.5, 255])))
        ```
    """
    import keras

    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            f"Received data_format={data_format!r}. Allowed are None, 'channels_last' and "
            "'channels_first'."
        )
    if isinstance(x, (np.ndarray, list, tuple)):
        return np.asarray(x, keras.config.floatx()) / 127.5 - 1
    return keras.layers.Rescaling(1 / 127.5, offset=-1, dtype=keras.config.floatx())(x)


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the 1000 ImageNet classes as (WordNet synset, name), in the order of the weights.

    The synsets are sorted, and the name is the first lemma.
    Source: timm's class tables (Apache-2.0).
    """
    table = resources.files("keras_inception_v4.preprocessing") / "imagenet_classes.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    return tuple((row["synset"], row["name"]) for row in csv.DictReader(lines))


def decode_predictions(preds, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Return the best classes of an ImageNet classifier's output by name. Works offline.

    Args:
        preds: Array or tensor of shape (batch, 1000), probabilities or logits.
        top: Number of classes for each image, 1 to 1000. Defaults to 5.

    Returns:
        For each image a list of `(synset, name, score)`, best first.

    Raises:
        ValueError: If `preds` has another shape, or `top` is out of range.

    Examples:
        ```python
        import numpy as np
        from keras_inception_v4 import decode_predictions

        probabilities = np.zeros((1, 1000))
        probabilities[0, [281, 282]] = 0.7, 0.3
        for synset, name, score in decode_predictions(probabilities, top=2)[0]:
            print(synset, name, score)
        ```
    """
    if not isinstance(preds, np.ndarray):
        import keras

        preds = keras.ops.convert_to_numpy(preds)
    classes = imagenet_classes()
    if preds.ndim != 2 or preds.shape[1] != len(classes):
        raise ValueError(
            f"Received predictions of shape {preds.shape}. decode_predictions names the 1000 "
            "ImageNet classes, so it needs (batch, 1000). For a model of your own classes, "
            "look the indices up in your class names; for 1001 classes, drop the background: "
            "preds[:, 1:]."
        )
    if not isinstance(top, (int, np.integer)) or not 1 <= top <= len(classes):
        raise ValueError(f"Received top={top!r}. It must be an integer from 1 to 1000.")
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [
        [(*classes[index], float(row[index])) for index in indices]
        for row, indices in zip(preds, best, strict=True)
    ]


def load_image(
    path_or_bytes,
    size: tuple[int, int] = (299, 299),
    crop: float = EVALUATION_CROP,
) -> np.ndarray:
    """Read an image as the network sees it in evaluation.

    The image is scaled (antialiased bicubic) so that it just covers `size / crop`, and the central
    window of `size` is cut out. This is timm's evaluation, on which the published accuracy was
    measured. The image is turned upright by its EXIF tag, transparency is laid on white, grey is
    repeated, 16-bit values are scaled to 255, and of several frames the first is taken. 32-bit
    integer images are read as 16-bit ones, since 16-bit PNG files open so. Floating-point images
    are clipped to 0 to 255.

    Args:
        path_or_bytes: Path of an image file, or the bytes of an encoded image.
        size: Height and width of the result in pixels. Defaults to (299, 299).
        crop: Share of the covered side to keep, in (0, 1]; 1.0 keeps the whole short side.
            Defaults to 0.875.

    Returns:
        float32 array of shape (height, width, 3), RGB, 0 to 255.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as an image, or `size` or `crop` is wrong.

    Examples:
        ```python
        from keras_inception_v4 import load_image

        image = load_image("photo.jpg")
        print(image.shape, image.dtype, image.min(), image.max())
        ```
    """
    height, width = _check_size(size)
    if not 0 < crop <= 1:
        raise ValueError(f"Received crop={crop!r}. It must be above 0 and at most 1.")
    with opened(path_or_bytes) as picture:
        return _central_window(picture, height, width, crop)


def check_image(path_or_bytes: str | os.PathLike | bytes, name: str = "the given bytes") -> None:
    """Check that an image file, or the bytes of one, can be decoded.

    Args:
        path_or_bytes: Path of a file, or its content.
        name: Name for the bytes in errors.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file or the bytes cannot be read as an image.
    """
    with opened(path_or_bytes, name) as picture:
        picture.thumbnail(1)


def resize_image(
    pixels: np.ndarray,
    size: tuple[int, int] = (299, 299),
    crop: float = EVALUATION_CROP,
) -> np.ndarray:
    """Resize and crop pixels as `load_image` does with a file.

    Args:
        pixels: Array of shape `(height, width, 3)`, or `(height, width)` for grey, 0 to 255.
        size: Height and width of the result, in pixels.
        crop: Share of the covered side to keep, as in `load_image`.

    Returns:
        float32 array of shape `(height, width, 3)`, RGB, 0 to 255.
    """
    height, width = _check_size(size)
    pixels = np.asarray(pixels, "float32")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return _central_window(Picture.of(pixels[..., :3]), height, width, crop)


def _check_size(size) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(
            f"Received size={size!r}. It must be (height, width) in pixels, each at least 1."
        )
    return height, width


def _central_window(picture: Picture, height: int, width: int, crop: float) -> np.ndarray:
    """Return the window that a full resize and a central crop give, resizing only what it needs."""
    # Round as timm does: scaled sides down, and the window's corner with halves to even.
    scaled_height, scaled_width = covering_size(picture.height, picture.width, height, width, crop)
    top = round((scaled_height - height) / 2)
    left = round((scaled_width - width) / 2)
    y, x = picture.height / scaled_height, picture.width / scaled_width
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    return np.clip(picture.window(box, (height, width), Image.Resampling.BICUBIC), 0, 255)


def covering_size(image_height, image_width, height, width, crop) -> tuple[int, int]:
    """Return the size to which an image is scaled before the central window is cut out.

    Args:
        image_height: Height of the image, in pixels.
        image_width: Width of the image, in pixels.
        height: Height of the window, in pixels.
        width: Width of the window, in pixels.
        crop: Share of the covered side that the window keeps.

    Returns:
        Height and width in pixels, with the image's aspect. One of the two is `side / crop`, and
        the other is at least that. Both are rounded down.
    """
    cover_height, cover_width = int(height / crop), int(width / crop)
    if cover_height * image_width > cover_width * image_height:
        return cover_height, int(cover_height * image_width / image_height)
    return int(cover_width * image_height / image_width), cover_width
