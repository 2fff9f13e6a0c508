"""Run a model or an artefact on pictures and return its outputs as columns of a table."""

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from keras_inception_v4.architecture import CLASSIFIER, EMBEDDING
from keras_inception_v4.data.addresses import fetched
from keras_inception_v4.data.pipeline import padded
from keras_inception_v4.errors import check_at_least, check_one_of
from keras_inception_v4.files import fingerprint, model_file, printable
from keras_inception_v4.inference.opening import (
    check_threshold_word,
    chosen_thresholds,
    open_classifier,
    open_embedder,
)
from keras_inception_v4.preprocessing import check_finite, load_image, resize_image

DTYPES = ("float32", "float16")
PATH, PIXELS, REASON = "path", "pixels", "reason"
ENCODED = ("bytes", "image")
"""Names of the columns of a batch."""


class Answering(ABC):
    """A model or an artefact that turns pictures into columns; a callable class for Ray Data.

    `dataset.map_batches(Embedder, fn_constructor_kwargs={"model": "features.onnx"}, batch_size=32,
    concurrency=1)` loads the model once per actor. A batch must have one of these columns:

    - `pixels`: Shape `(images, height, width, 3)`, 0 to 255, in the model's size.
    - `bytes` or `image`: Encoded pictures, or arrays of any size.
    - `path`: Paths or addresses.

    The call returns a `pyarrow.Table` with the batch's other columns (and `path`), the outputs
    and `reason`. `reason` says why a picture has no outputs. It is empty for all others.

    Attributes:
        size: Height and width of the pictures, in pixels.
        crop: Crop as in `load_image`.
        known: Everything that determines the outputs, as JSON values.
    """

    part: ClassVar[str] = CLASSIFIER
    """Part of the model to run, as `export_model` names it."""
    size: tuple[int, int]
    crop: float
    known: dict

    @abstractmethod
    def answer(self, pixels: np.ndarray) -> np.ndarray:
        """Return outputs `(images, outputs)` for raw pixels `(images, height, width, 3)`."""

    @abstractmethod
    def columns(self, answers: np.ndarray) -> dict:
        """Convert outputs to Arrow arrays, by column name."""

    def __call__(self, batch: dict):
        """Convert a Ray Data batch to a table of outputs."""
        import pyarrow

        if PIXELS in batch:
            reasons = batch.get(REASON, [""] * len(batch[PIXELS]))
            found = [str(r) or p for p, r in zip(batch[PIXELS], reasons, strict=True)]
        else:
            source = next((name for name in (*ENCODED, PATH) if name in batch), None)
            if source is None:
                raise ValueError(
                    f"Received a batch with the columns {', '.join(batch)}. It must have one of "
                    f"{', '.join((PIXELS, *ENCODED, PATH))}."
                )
            found = [decoded(content, self.size, self.crop) for content in batch[source]]
        kept = {
            name: pyarrow.array(values.tolist() if hasattr(values, "tolist") else list(values))
            for name, values in batch.items()
            if name not in (PIXELS, *ENCODED, REASON)
        }
        return pyarrow.table({**kept, **answered(self, found, len(found))})


def decoded(source, size: tuple[int, int], crop: float) -> np.ndarray | str:
    """Return the pixels of a picture, or the reason why it cannot be used.

    Args:
        source: A path or an address, encoded bytes, a dict with `bytes` or `path`, or an array of
            pixels.
        size: Height and width, as in `load_image`.
        crop: Crop as in `load_image`.

    Raises:
        OSError: If reading failed, but may succeed later.
    """
    if isinstance(source, dict):  # the format of the `datasets` library
        source = source.get("bytes") or source.get("path")
    try:
        if isinstance(source, np.ndarray):
            return resize_image(source, size, crop)
        if not isinstance(source, (str, bytes)):
            raise ValueError(f"Received {type(source).__name__} instead of a picture.")
        return load_image(fetched(source), size, crop)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        return printable(str(error))


def answered(work: Answering, found: Sequence[np.ndarray | str], batch_size: int) -> dict:
    """Run the model on one batch and return its outputs and reasons as Arrow columns.

    Args:
        work: Model or artefact to run.
        found: Results of `decoded`: pixels, or the reason why a picture cannot be used. At most
            `batch_size` of them are pixels.
        batch_size: Size to which the batch is padded. The model then sees only one shape.

    Returns:
        Output columns, null where there are no pixels, and `reason`, empty where there are.

    Raises:
        ValueError: If an output is NaN or infinite.
    """
    import pyarrow

    sound = [pixels for pixels in found if not isinstance(pixels, str)]
    batch = np.stack(sound) if sound else np.zeros((1, *work.size, 3), "float32")
    answers = work.answer(padded(batch, batch_size))[: len(sound)]
    check_finite(answers, "answers of the model")
    places = iter(range(len(sound)))
    rows = [None if isinstance(pixels, str) else next(places) for pixels in found]
    rows = pyarrow.array(rows, pyarrow.int64())
    columns = {name: column.take(rows) for name, column in work.columns(answers).items()}
    reasons = [pixels if isinstance(pixels, str) else "" for pixels in found]
    return {**columns, REASON: pyarrow.array(reasons, pyarrow.string())}


def fingerprint_of(model: str | os.PathLike | None) -> str:
    """Return the SHA-256 of a model's file, or `"imagenet"` for `None`."""
    return "imagenet" if model is None else fingerprint(model_file(model))


class Embedder(Answering):
    """An embedding model that turns each picture into `features`, a list of 1536 numbers.

    Args:
        model: A run folder, a `.keras` file, or an artefact that `export_model` wrote with
            `part="embedding"`. `None` uses the ImageNet weights.
        dtype: Type of the features, `"float32"` or `"float16"`.
        precision: Precision of OpenVINO's arithmetic, as in `open_artefact`.
        pixels: Pixel range that the model expects, `"raw"` (0 to 255) or `"scaled"` (-1 to 1).
            Needed only where its layers do not show it.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the model cannot be read, or has no embedding.
        ImportError: If the artefact's runtime is not installed. The message names the extra.
        OSError: If the ImageNet weights are not in the cache and cannot be downloaded.
    """

    part = EMBEDDING

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        dtype: str = "float32",
        precision: str | None = None,
        pixels: str | None = None,
    ):
        check_one_of(DTYPES, dtype=dtype)
        opened = open_embedder(model, precision=precision, pixels=pixels)
        self.size, self.crop, self._embed = opened.size, opened.crop, opened.embed
        self._dtype = dtype
        self.known = {
            "work": "embed",
            "model": fingerprint_of(model),
            "crop": self.crop,
            "dtype": dtype,
            "precision": precision,
            "pixels": pixels,
        }

    def answer(self, pixels):
        """Return features of shape `(images, 1536)`."""
        return self._embed(pixels)

    def columns(self, answers):
        """Return the column `features`, lists of fixed size."""
        import pyarrow

        flat = pyarrow.array(np.ascontiguousarray(answers, self._dtype).ravel())
        return {"features": pyarrow.FixedSizeListArray.from_arrays(flat, answers.shape[1])}


class Predictor(Answering):
    """A classifier or a regression model for pictures.

    A classifier returns `classes` and `probabilities`, lists with the best class first. A
    regression model returns one column per quantity.

    Args:
        model: A run folder, a `.keras` file or an artefact of `export_model`. `None` uses the
            ImageNet weights.
        top: Number of classes per picture. `None` returns five. With several classes per picture,
            `None` returns all that reach their threshold.
        threshold: Threshold as in `predict_files`.
        precision: Precision of OpenVINO's arithmetic, as in `open_artefact`.
        pixels: Pixel range that the model expects, as in `Embedder`.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: As in `Embedder`.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        top: int | None = None,
        threshold: float | str | None = None,
        precision: str | None = None,
        pixels: str | None = None,
    ):
        check_at_least(1, top=1 if top is None else top)
        check_threshold_word(threshold)
        opened = open_classifier(model, precision=precision, pixels=pixels)
        self.size, self.crop, self._predict = opened.size, opened.crop, opened.predict
        self.task, self.class_names, self.top = opened.task, opened.class_names, top
        self._thresholds = chosen_thresholds(opened.task, threshold, opened.thresholds)
        self.known = {
            "work": "predict",
            "model": fingerprint_of(model),
            "class_names": zlib.crc32(
                "\n".join(self.class_names).encode("utf-8", "surrogateescape")
            ),
            "crop": self.crop,
            "top": top,
            "thresholds": self._thresholds,
            "precision": precision,
            "pixels": pixels,
        }

    def answer(self, pixels):
        """Return probabilities, or quantities, of shape `(images, outputs)`."""
        return self._predict(pixels)

    def named(self, row: np.ndarray) -> list[tuple[str, float]]:
        """Return one picture's predicted classes with probabilities, or quantities with values."""
        return self.task.answer(row, self.class_names, self.top, self._thresholds)

    def columns(self, answers):
        """Return the columns `classes` and `probabilities`, or one column per quantity."""
        import pyarrow

        if self.task.standardized:
            return {name: pyarrow.array(answers[:, i]) for i, name in enumerate(self.class_names)}
        found = [self.named(row) for row in answers]
        return {
            "classes": pyarrow.array(
                [[name for name, _ in row] for row in found], pyarrow.list_(pyarrow.string())
            ),
            "probabilities": pyarrow.array(
                [[value for _, value in row] for row in found], pyarrow.list_(pyarrow.float32())
            ),
        }
