"""The network as a backbone: feature maps of its endpoints and embeddings of images."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_inception_v4.architecture import ENDPOINTS, EVALUATION_CROP
from keras_inception_v4.data.pipeline import padded, pixel_batches
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.inspection import (
    embedding_model,
    endpoint_output,
    image_size,
    model_input,
    say_pixels,
)
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.preprocessing import check_finite, warn_of_scaled
from keras_inception_v4.progress import Verbose, progress

FILE = (str, os.PathLike, bytes)
PYRAMID = ("conv2d_2b_3x3", "mixed_3a", "mixed_5e", "mixed_6h", "mixed_7d")
"""The last endpoints of strides 2, 8, 16 and 32, and `mixed_3a` for stride 4, as in timm."""


def feature_extractor(
    endpoints: Sequence[str] = PYRAMID, *, model: keras.Model | None = None, **builder_arguments
) -> keras.Model:
    """Build a model that returns feature maps instead of classes.

    Args:
        endpoints: Names from `ENDPOINTS`, which gives the stride and channels of each. The default
            has strides 2, 4, 8, 16 and 32 with 64, 160, 384, 1024 and 1536 channels.
        model: Existing model of this package, fine-tuned or not, whose layers are shared. Without
            it a new one is built.
        builder_arguments: Arguments of `InceptionV4` for a new model (`weights`, `input_shape`,
            ...), except those of its top.

    Returns:
        A model with a dict of outputs, from endpoint to feature map of shape (batch, height,
        width, channels). It holds no layer beyond the last one needed.

    Raises:
        ValueError: If an endpoint is unknown, or arguments contradict each other.

    Examples:
        ```python
        from keras_inception_v4 import feature_extractor

        extractor = feature_extractor(["mixed_3a", "mixed_7d"], input_shape=(299, 299, 3))
        for endpoint, output in extractor.output.items():
            print(endpoint, output.shape)
        ```
    """
    if isinstance(endpoints, str):
        endpoints = (endpoints,)
    unknown = [name for name in endpoints if name not in ENDPOINTS]
    if unknown or not endpoints:
        raise ValueError(
            f"Received endpoints={tuple(endpoints)!r}. Allowed are one or more of "
            f"{', '.join(ENDPOINTS)}."
        )
    if model is not None and builder_arguments:
        raise ValueError(
            f"Received model and {', '.join(builder_arguments)}. An existing model is built "
            "already; pass one or the other."
        )
    top = {"include_top", "pooling", "classes", "classifier_activation"} & set(builder_arguments)
    if top:
        raise ValueError(
            f"Received {', '.join(sorted(top))}. A feature extractor has no top and no pooling."
        )
    if model is None:
        model = InceptionV4(include_top=False, **builder_arguments)
    return keras.Model(
        model.inputs,
        {name: endpoint_output(model, name) for name in endpoints},
        name=f"{model.name}_features",
    )


def embed(
    model: keras.Model,
    images,
    batch_size: int = 8,
    *,
    crop: float = EVALUATION_CROP,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> np.ndarray:
    """Return the 1536 features before the classifier, for each image.

    Every batch has `batch_size` images, the last one padded. An image's numbers therefore do not
    depend on how many others there are; its place in a batch may change their last digits. A
    thread reads files ahead while the model works. Besides the result, only a few batches are in
    memory.

    Args:
        model: Any model of this package, with or without top.
        images: Pixels of shape (images, height, width, channels), 0 to 255; or paths of image
            files: one, or any number in a list, an array or an iterator.
        batch_size: Images per batch. Defaults to 8.
        crop: Share of the covered side to keep of files, as in `load_image`.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.
        verbose: As in `keras.Model.fit`; 0 shows no progress.

    Returns:
        float32 array of shape (images, 1536).

    Raises:
        FileNotFoundError: If an image does not exist.
        ValueError: If an image cannot be read, the pixels have another shape, or the model is not
            of this package.

    Examples:
        ```python
        from keras_inception_v4 import InceptionV4, embed

        model = InceptionV4(include_top=False, input_shape=(299, 299, 3))
        features = embed(model, ["photo.jpg", "more_photos/flower.jpg"])
        print(features.shape)
        ```
    """
    check_at_least(1, batch_size=batch_size)
    say_pixels(model, pixels)
    images = _pixels_or_files(images)
    extractor = embedding_model(model)
    features = np.empty((len(images), extractor.output_shape[-1]), "float32")
    batches = pixel_batches(images, batch_size, image_size(model), crop)
    with progress(len(images), "embedding", "images", verbose) as advance:
        done = 0
        fed = (model_input(model, batch) for batch in batches)
        for found in embedded(extractor, fed, batch_size):
            features[done : done + len(found)] = found
            done += len(found)
            advance(len(found))
    return features


def embedded(
    extractor: keras.Model,
    batches: Iterable,
    batch_size: int,
    place: Callable[[np.ndarray], Any] = np.asarray,
) -> Iterator[np.ndarray]:
    """Yield the features of the images, batch by batch.

    Args:
        extractor: Model from `embedding_model`.
        batches: Batches of inputs to the extractor.
        batch_size: Number of images to which smaller batches are padded.
        place: Function that puts a batch on the extractor's device. Defaults to `np.asarray`.

    Yields:
        float32 array of shape `(images in the batch, 1536)`.

    Raises:
        ValueError: If a feature is not finite, for example because the weights have diverged.
    """
    for batch in batches:
        answers = extractor.predict_on_batch(place(padded(batch, batch_size)))
        found = np.asarray(answers, "float32")[: len(batch)]
        check_finite(found, f"features of {extractor.name!r}")
        yield found


def _pixels_or_files(images) -> np.ndarray | list:
    """Return the images as an array of pixels, or as a list of paths and encoded images."""
    if isinstance(images, FILE):
        return [images]
    if isinstance(images, dict):
        raise ValueError("Received a dict of images. Pass its values: pixels or paths.")
    if not hasattr(images, "__array__"):
        images = list(images)
        if all(isinstance(image, FILE) for image in images):
            return images
        images = np.stack([np.asarray(image) for image in images])
    pixels = images if isinstance(images, np.ndarray) else keras.ops.convert_to_numpy(images)
    if pixels.dtype.kind in "USO":
        return pixels.ravel().tolist()
    if pixels.ndim != 4:
        raise ValueError(
            f"Received images of shape {pixels.shape}. They must be (images, height, width, "
            "channels); for one image pass image[None]."
        )
    warn_of_scaled(pixels[:1], stacklevel=4)
    return pixels
