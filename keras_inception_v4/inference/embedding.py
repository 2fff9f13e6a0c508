"""Embed a folder of images."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.data.folders import list_images, sound_images
from keras_inception_v4.data.layout import existing_folder
from keras_inception_v4.errors import check_at_least, check_one_of
from keras_inception_v4.features import embed
from keras_inception_v4.files import check_name, model_file, replacing
from keras_inception_v4.inference.streaming import (
    PART,
    Streamed,
    Work,
    fingerprint,
    require_parquet,
    stream,
)
from keras_inception_v4.inspection import (
    embedding_model,
    image_size,
    model_input,
    read_settings,
    say_pixels,
)
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.plots import plot_embedding, require_matplotlib, require_pca
from keras_inception_v4.progress import Verbose
from keras_inception_v4.weights.loading import read_model

DTYPES = ("float32", "float16")


def embed_to(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    dtype: str = "float32",
    batch_size: int = 8,
    skip_corrupt: bool = False,
    strict: bool = False,
    pixels: str | None = None,
    picture: str | os.PathLike | None = None,
    verbose: Verbose = "auto",
) -> Streamed:
    """Embeds a folder into an `.npz`, as `embed_folder`, or as `stream_embeddings` into Parquet.

    Args:
        model_path: as in both, and so is the rest.
        folder: of images.
        output: ends in `.npz`, or not.
        dtype: of the features, in Parquet.
        batch_size: images a batch.
        skip_corrupt: of an `.npz`: whether to leave out files that cannot be read.
        strict: of Parquet: whether not to.
        pixels: what the model takes.
        picture: beside an `.npz`.
        verbose: whether to show progress.

    Raises:
        ValueError: for what belongs to the other kind of output, and as both.
        FileNotFoundError, ImportError, OSError: as both.
    """
    npz = Path(output).suffix == ".npz"
    if npz and dtype != "float32":
        raise ValueError(f"Received dtype={dtype!r} with an .npz file. It is for Parquet.")
    if not npz and picture is not None:
        raise ValueError("Received picture with Parquet. It is for an .npz file.")
    shared: dict[str, Any] = {"batch_size": batch_size, "pixels": pixels, "verbose": verbose}
    if not npz:
        return stream_embeddings(model_path, folder, output, dtype=dtype, strict=strict, **shared)
    count, bad = embed_folder(
        model_path, folder, output, skip_corrupt=skip_corrupt, picture=picture, **shared
    )
    return Streamed(count, len(bad))


def stream_embeddings(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    dtype: str = "float32",
    batch_size: int = 8,
    strict: bool = False,
    pixels: str | None = None,
    part: int = PART,
    verbose: Verbose = "auto",
) -> Streamed:
    """Embeds any number of files into Parquet: `path`, and `features` as a list of 1536 numbers.

    Args:
        model_path: as in `embed_folder`, and so is the rest.
        folder: listed as it is reached, with its subfolders.
        output: as in `streaming.stream`.
        dtype: of the features, `"float32"` or `"float16"`.
        batch_size: images a batch.
        strict: whether a file that cannot be read ends the work; else it is left out.
        pixels: what the model takes.
        part: files of a part.
        verbose: whether to show progress.

    Returns:
        How many files were embedded, and how many left out.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: as `embed_folder` and
            `streaming.stream`.
    """
    check_at_least(1, batch_size=batch_size, part=part)
    check_one_of(DTYPES, dtype=dtype)
    require_parquet()
    folder = existing_folder(folder)
    model, crop = _model_and_crop(model_path)
    say_pixels(model, pixels)
    extractor = embedding_model(model)

    def answer(batch: np.ndarray) -> np.ndarray:
        return np.asarray(extractor.predict_on_batch(model_input(model, batch)), "float32")

    def columns(features: np.ndarray) -> dict:
        import pyarrow

        flat = pyarrow.array(np.ascontiguousarray(features, dtype).ravel())
        return {"features": pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])}

    known = {
        "work": "embed",
        "model": "imagenet" if model_path is None else fingerprint(model_file(model_path)),
        "crop": crop,
        "dtype": dtype,
        "pixels": pixels,
    }
    return stream(
        [folder],
        Work(image_size(model), crop, answer, columns, known),
        output,
        batch_size=batch_size,
        strict=strict,
        part=part,
        verbose=verbose,
    )


def _model_and_crop(model_path: str | os.PathLike | None) -> tuple[keras.Model, float]:
    if model_path is None:
        return InceptionV4(include_top=False, pooling="avg"), EVALUATION_CROP
    return read_model(model_path), read_settings(model_path).crop


def embed_folder(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    batch_size: int = 8,
    skip_corrupt: bool = False,
    pixels: str | None = None,
    picture: str | os.PathLike | None = None,
    verbose: Verbose = "auto",
) -> tuple[int, list[tuple[str, str]]]:
    """Embeds every image below a folder into one `.npz` file.

    Args:
        model_path: a run folder or a `.keras` file, whose run's crop is used; `None` for the
            ImageNet weights.
        folder: searched with its subfolders.
        output: an `.npz` with `features` (float32, `(images, 1536)`) and `paths`
            (text, relative to the folder, sorted); an old one is replaced.
        batch_size: images a batch.
        skip_corrupt: whether to leave out files that cannot be read.
        pixels: as in `embed`.
        picture: a PNG to draw, each image a point on the first two principal
            components, coloured by its first subfolder.
        verbose: as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The number of images, and the files left out with the reason.

    Raises:
        FileNotFoundError: if there is no such folder or model.
        ValueError: if the folder has no images, or unreadable ones without
            `skip_corrupt`; raised before any embedding.
        ImportError: for a picture without matplotlib or scikit-learn; the message names the extra.
        OSError: if the output cannot be written.
    """
    folder, output = Path(folder), Path(output)
    if output.suffix != ".npz":
        raise ValueError(f"Received output={str(output)!r}. It must end in .npz.")
    check_name(output)
    if picture is not None:
        require_matplotlib()
        require_pca()
        check_name(picture)
    paths, bad = sound_images(list_images(folder), skip_corrupt=skip_corrupt, verbose=verbose)
    if picture is not None and len(paths) < 2:
        raise ValueError(f"{folder} holds one image. A picture needs at least two.")
    model, crop = _model_and_crop(model_path)
    features = embed(model, paths, batch_size, crop=crop, pixels=pixels, verbose=verbose)
    relative = np.array([path.relative_to(folder).as_posix() for path in paths])
    with replacing(output) as new:
        np.savez(new, features=features, paths=relative)
    if picture is not None:
        groups = [Path(path).parts[0] if "/" in path else "" for path in relative]
        plot_embedding(features, groups, picture)
    return len(paths), bad
