"""Export as a TensorFlow SavedModel, whose signatures also take photographs of any size."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import keras

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.artefacts import describe, write_description
from keras_inception_v4.errors import check_at_least, in_one_line
from keras_inception_v4.export.inference import inference_model
from keras_inception_v4.files import replacing
from keras_inception_v4.inspection import (
    check_probabilities,
    check_weights,
    classifier_of,
    image_size,
    is_channels_first,
    say_pixels,
    takes_raw_pixels,
    task_of,
)
from keras_inception_v4.preprocessing import preprocess_input

TOP_K = 5


@contextlib.contextmanager
def converter_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors of converters and runtimes into `OSError`, except ValueError and ImportError."""
    try:
        yield
    except (OSError, ValueError, ImportError):
        raise
    except Exception as error:  # each converter has its own error classes
        raise OSError(
            f"{path} cannot be written ({in_one_line(error)}). Nothing was left behind."
        ) from error


def require_tensorflow_backend() -> None:
    """Check that the backend is TensorFlow, which all exports need.

    Raises:
        ValueError: If Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Exports need the TensorFlow backend, and this is {keras.backend.backend()}. Load the "
            ".keras file with KERAS_BACKEND=tensorflow and export it there."
        )


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    class_names: list[str] | None = None,
    thresholds: Sequence[float] | float | None = None,
    top_k: int | None = None,
    crop: float = EVALUATION_CROP,
    pixels: str | None = None,
) -> None:
    """Write a SavedModel that loads where only TensorFlow is installed.

    Its signatures have one input each, with any batch size:

    - `serving_default`: `inputs`, the model's own float images; returns `probabilities`.
    - `serve_images`: `images`, uint8 of shape (batch, height, width, 3), any height and width.
    - `serve_bytes`: `image_bytes`, encoded JPEG, PNG, GIF or BMP, of any sizes.

    The latter two crop, resize and scale in the graph as `load_image` does. They return
    `probabilities` of shape (batch, classes), `classes` (names of the best, of shape (batch,
    top_k)) and `scores` (their probabilities). Where an image may show several classes, these are
    the ones that reach their thresholds, best first, padded with empty names and zeros. A model of
    quantities returns only `values` of shape (batch, targets) from all three. The graph does not
    turn images by their EXIF tag, lay transparency on white, or keep 16 bits.

    Args:
        model: Classifier of this package, on the TensorFlow backend. Unless it has three channels,
            only `serving_default` is written.
        path: Folder to write. An existing one is replaced.
        class_names: Names of the classes in their order. Defaults to the indices as text.
        thresholds: For several classes an image, as in `export_model`.
        top_k: Number of best classes to return, at most all. Defaults to 5, and to all where an
            image may show several.
        crop: Share of the covered side to keep, as in `load_image`.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.

    Raises:
        ValueError: If the backend is not TensorFlow, or an argument is wrong.
        OSError: If the folder cannot be written.

    Examples:
        ```python
        import keras
        import tensorflow as tf
        from keras_inception_v4 import export_saved_model

        model = keras.saving.load_model("runs/digits/model.keras")
        export_saved_model(model, "example_saved_model")
        served = tf.saved_model.load("example_saved_model").signatures["serve_bytes"]
        image = tf.io.read_file("photo.jpg")
        print(served(image_bytes=tf.stack([image]))["scores"])
        ```
    """
    require_tensorflow_backend()
    say_pixels(model, pixels)
    model = inference_model(classifier_of(model))
    check_probabilities(model)
    check_weights(model)
    classes = model.output_shape[-1]
    if class_names is not None and len(class_names) != classes:
        raise ValueError(
            f"Received {len(class_names)} class_names for a model of {classes} classes."
        )
    if top_k is None:
        top_k = classes if task_of(model).thresholded else TOP_K
    check_at_least(1, top_k=top_k)
    limits = task_of(model).check_thresholds(thresholds, classes)
    if not 0 < crop <= 1:
        raise ValueError(f"Received crop={crop}. It must be above 0 and at most 1.")
    with replacing(path) as new, converter_errors(path):
        _write(model, new, class_names, limits, min(top_k, classes), crop)
        write_description(
            new,
            describe(
                model, "saved_model", "float32", crop, class_names, limits, task_of(model).name
            ),
        )


def _write(model, path: Path, class_names, thresholds, top_k: int, crop: float) -> None:
    import tensorflow as tf

    size, said = image_size(model), "values" if task_of(model).standardized else "probabilities"
    first, raw = is_channels_first(model), takes_raw_pixels(model)
    names = class_names or [str(index) for index in range(model.output_shape[-1])]
    named = [name.encode("utf-8", "surrogateescape") for name in names]  # bytes of folder names

    # Traced once here. Otherwise Keras and TensorFlow each trace it again for every signature.
    floats = tf.TensorSpec(tuple(model.input_shape), "float32")
    network = tf.function(partial(model, training=False)).get_concrete_function(floats)

    def answer(pixels):
        if not raw:
            pixels = preprocess_input(pixels)
        if first:
            pixels = tf.transpose(pixels, [0, 3, 1, 2])
        answers = network(tf.ensure_shape(pixels, floats.shape))
        if said == "values":
            return {said: answers}
        ranked = answers
        if thresholds is not None:
            ranked = tf.where(answers >= tf.constant(thresholds, "float32"), answers, -1.0)
        scores, best = tf.math.top_k(ranked, top_k)
        classes = tf.gather(tf.constant(named), best)
        if thresholds is not None:
            classes, scores = tf.where(scores < 0, "", classes), tf.maximum(scores, 0.0)
        return {said: answers, "classes": classes, "scores": scores}

    def serving_default(inputs):
        return {said: network(inputs)}

    def serve_images(images):
        return answer(central_window(tf.cast(images, "float32"), *size, crop))

    def serve_bytes(image_bytes):
        def load(content):
            window = central_window(_decode(content)[None], *size, crop)
            return tf.ensure_shape(window[0], (*size, 3))

        pixels = tf.map_fn(load, image_bytes, fn_output_signature=tf.TensorSpec((*size, 3)))
        return answer(pixels)

    # `track(model)` is not called: variables that the endpoints use are saved anyway, and tracked
    # ones would be saved a second time (keras #23553).
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", serving_default, [floats])
    if floats.shape[1 if first else 3] == 3:
        images = tf.TensorSpec((None, None, None, 3), "uint8")
        archive.add_endpoint("serve_images", serve_images, [images])
        archive.add_endpoint("serve_bytes", serve_bytes, [tf.TensorSpec((None,), "string")])
    archive.write_out(path, verbose=False)


def _decode(content):
    """Decode an encoded image to float32 pixels, as PIL does."""
    import tensorflow as tf

    # decode_jpeg also reads PNG and GIF files of one frame. Other JPEG methods differ from PIL by
    # up to 16 grey levels.
    pixels = tf.cond(
        tf.strings.substr(content, 0, 2) == b"BM",
        lambda: tf.io.decode_bmp(content, channels=3),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
    )
    return tf.cast(pixels, "float32")


def central_window(images, height: int, width: int, crop: float):
    """Crop and resize images in a TensorFlow graph, as `load_image` does.

    Args:
        images: Tensor of shape `(batch, height, width, 3)`, float32, 0 to 255.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        crop: Share of the covered side to keep, as in `load_image`.

    Returns:
        Tensor of shape `(batch, height, width, 3)`, float32, 0 to 255.
    """
    import tensorflow as tf

    shape = tf.shape(images)
    image_height, image_width = shape[1], shape[2]
    cover_height, cover_width = int(height / crop), int(width / crop)
    by_height = cover_height * image_width > cover_width * image_height
    scaled_height = tf.where(by_height, cover_height, cover_width * image_height // image_width)
    scaled_width = tf.where(by_height, cover_height * image_width // image_height, cover_width)
    scaled = tf.image.resize(
        images,
        [scaled_height, scaled_width],
        method="bicubic",
        antialias=True,
    )
    # Halves are rounded to even, as by Python's `round`.
    top = tf.cast(tf.round(tf.cast(scaled_height - height, "float32") / 2), "int32")
    left = tf.cast(tf.round(tf.cast(scaled_width - width, "float32") / 2), "int32")
    window = scaled[:, top : top + height, left : left + width]
    return tf.clip_by_value(window, 0.0, 255.0)
