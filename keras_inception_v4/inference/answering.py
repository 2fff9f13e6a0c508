"""What is done with every picture: a model or an artefact, from pixels to columns of a table."""

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
"""Names of a batch's columns."""


class Answering(ABC):
    """A model or an artefact that answers pictures with columns; as a callable, for Ray Data.

    `dataset.map_batches(Embedder, fn_constructor_kwargs={"model": "features.onnx"}, batch_size=32,
    concurrency=1)` loads it once for each actor. A batch has one of the columns `pixels`
    (`(images, height, width, 3)`, 0 to 255, of the model's size), `bytes` or `image` (encoded
    pictures, or arrays of any size), and `path` (also an address); the answer is a `pyarrow.Table`
    of the batch's other columns, the answers,
    and `reason`: why a picture has none, else empty.

    Attributes:
        size: of the pictures, height and width.
        crop: as in `load_image`.
        known: what decides the answers, as JSON values.
    """

    part: ClassVar[str] = CLASSIFIER
    """Of a model, as `export_model` calls it."""
    size: tuple[int, int]
    crop: float
    known: dict

    @abstractmethod
    def answer(self, pixels: np.ndarray) -> np.ndarray:
        """Raw pixels `(images, height, width, 3)` to answers `(images, outputs)`."""

    @abstractmethod
    def columns(self, answers: np.ndarray) -> dict:
        """Answers to Arrow arrays by their column's name."""

    def __call__(self, batch: dict):
        """A batch of Ray Data to a table."""
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
    """Pixels of a picture, or the reason why there are none.

    Args:
        source: a path or an address, encoded bytes, a structure with one of them, or an array of
            pixels.
        size: as in `load_image`.
        crop: likewise.

    Raises:
        OSError: if it could not be read, and may be another time.
    """
    if isinstance(source, dict):  # as the `datasets` library has them
        source = source.get("bytes") or source.get("path")
    try:
        if isinstance(source, np.ndarray):
            return resize_image(source, size, crop)
        if not isinstance(source, (str, bytes)):
            raise ValueError(f"There is no picture, but {type(source).__name__}.")
        return load_image(fetched(source), size, crop)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        return printable(str(error))


def answered(work: Answering, found: Sequence[np.ndarray | str], batch_size: int) -> dict:
    """Arrow columns of pictures or the reasons why they are none: answers, which then are null.

    Args:
        work: answers those that are pictures, in one batch.
        found: at most `batch_size` of the former.
        batch_size: to which it is filled up, so that the model sees one shape.

    Raises:
        ValueError: if an answer is NaN or infinite.
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
    """What tells a model from others: its file's SHA-256, or a word."""
    return "imagenet" if model is None else fingerprint(model_file(model))


class Embedder(Answering):
    """Pictures to `features`, a list of 1536 numbers.

    Args:
        model: a run folder, a `.keras` file, or an artefact that `export_model` wrote with
            `part="embedding"`; `None` for the ImageNet weights.
        dtype: of the features, `"float32"` or `"float16"`.
        precision: of OpenVINO's arithmetic, as in `open_artefact`.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if it cannot be read, or embeds nothing.
        ImportError: without the artefact's runtime; the message names the extra.
        OSError: if the ImageNet weights are neither in the cache nor to be had.
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
        """Features `(images, 1536)`."""
        return self._embed(pixels)

    def columns(self, answers):
        """`features`, a list of fixed size."""
        import pyarrow

        flat = pyarrow.array(np.ascontiguousarray(answers, self._dtype).ravel())
        return {"features": pyarrow.FixedSizeListArray.from_arrays(flat, answers.shape[1])}


class Predictor(Answering):
    """Pictures to `classes` and `probabilities`, lists with the best first, or to quantities.

    Args:
        model: a run folder, a `.keras` file or an artefact of `export_model`; `None` for the
            ImageNet weights.
        top: how many classes for each image; `None` for five, or where an image may show several
            for all that are answered.
        threshold: as in `predict_files`.
        precision: of OpenVINO's arithmetic, as in `open_artefact`.
        pixels: as in `Embedder`.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: as `Embedder`.
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
        """Probabilities or quantities."""
        return self._predict(pixels)

    def named(self, row: np.ndarray) -> list[tuple[str, float]]:
        """What is answered of one picture: classes with probabilities, or quantities."""
        return self.task.answer(row, self.class_names, self.top, self._thresholds)

    def columns(self, answers):
        """`classes` and `probabilities`, or a column a quantity."""
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
