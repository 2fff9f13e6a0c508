"""Embed image files: a folder into one `.npz`, or any number into Parquet."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception_v4.data.folders import list_images, sound_images
from keras_inception_v4.data.layout import existing_folder
from keras_inception_v4.data.pipeline import padded, pixel_batches
from keras_inception_v4.data.places import check_place
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.files import check_name, replacing
from keras_inception_v4.inference.answering import Embedder
from keras_inception_v4.inference.engines import run_on
from keras_inception_v4.inference.opening import Extractor, open_embedder
from keras_inception_v4.inference.parts import Streamed
from keras_inception_v4.inference.streaming import PART
from keras_inception_v4.plots import plot_embedding, require_matplotlib, require_pca
from keras_inception_v4.preprocessing import check_finite
from keras_inception_v4.progress import Verbose, progress


def embed_to(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    dtype: str = "float32",
    batch_size: int = 8,
    skip_corrupt: bool = False,
    strict: bool = False,
    precision: str | None = None,
    pixels: str | None = None,
    picture: str | os.PathLike | None = None,
    column: str | None = None,
    engine: str | None = None,
    address: str | None = None,
    verbose: Verbose = "auto",
) -> Streamed:
    """Embed a folder with `embed_folder` into an `.npz`, or with `stream_embeddings` into Parquet.

    Args:
        model_path: Model as in both functions, like all arguments below.
        folder: Folder of images; for Parquet, any place.
        output: Path of an `.npz` file. Any other name writes Parquet.
        dtype: Type of the features, for Parquet only.
        batch_size: Images per batch.
        skip_corrupt: Whether to leave out files that cannot be read, for `.npz` only.
        strict: Whether to stop at a file that cannot be read, for Parquet only.
        precision: Precision of OpenVINO's arithmetic.
        pixels: Pixel range that the model expects.
        picture: Path of a PNG to draw, for `.npz` only.
        column: Column of a table, for Parquet only.
        engine: Engine that runs the model, as in `engines.run_on`, for Parquet only.
        address: Address of a Ray cluster, for Parquet only.
        verbose: Whether to show progress.

    Raises:
        ValueError: If an argument belongs to the other kind of output, or as in both functions.
        FileNotFoundError, ImportError, OSError: As in both functions.
    """
    npz = Path(output).suffix == ".npz"
    if npz and dtype != "float32":
        raise ValueError(f"Received dtype={dtype!r} with an .npz file. It is for Parquet.")
    for_parquet = {"strict": strict or None, "column": column, "engine": engine, "address": address}
    for_npz = {"skip_corrupt": skip_corrupt or None, "picture": picture}
    for name, value in (for_parquet if npz else for_npz).items():
        if value is not None:
            kinds = ("an .npz file", "Parquet") if npz else ("Parquet", "an .npz file")
            raise ValueError(f"Received {name} with {kinds[0]}. It is for {kinds[1]}.")
    shared: dict[str, Any] = {
        "batch_size": batch_size, "precision": precision, "pixels": pixels, "verbose": verbose,
    }  # fmt: skip
    if not npz:
        return stream_embeddings(
            model_path, folder, output, dtype=dtype, strict=strict, column=column, engine=engine,
            address=address, **shared,
        )  # fmt: skip
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
    precision: str | None = None,
    pixels: str | None = None,
    column: str | None = None,
    part: int = PART,
    engine: str | None = None,
    address: str | None = None,
    verbose: Verbose = "auto",
) -> Streamed:
    """Embed any number of files into Parquet.

    The columns are `path` and `features`, a list of 1536 numbers.

    Args:
        model_path: Model as in `Embedder`.
        folder: A folder with its subfolders, a table, or an address, as in `data.places.pieces`.
        output: Folder or `.parquet` file, as in `streaming.stream`.
        dtype: Type of the features, `"float32"` or `"float16"`.
        batch_size: Images per batch.
        strict: Whether to stop at a file that cannot be read. By default it is left out.
        precision: Precision of OpenVINO's arithmetic, as in `Embedder`.
        pixels: Pixel range that the model expects, as in `Embedder`.
        column: Column of a table, as in `data.places.pieces`.
        part: Files per part.
        engine: Engine that runs the model, as in `engines.run_on`.
        address: Address of a Ray cluster.
        verbose: Whether to show progress.

    Returns:
        The number of files embedded and the number left out.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: As in `Embedder`, `engines.run_on` and
            `streaming.stream`.
    """
    check_at_least(1, batch_size=batch_size, part=part)
    check_place(folder)
    arguments = {"dtype": dtype, "precision": precision, "pixels": pixels}
    return run_on(
        engine, Embedder, model_path, arguments, [folder], output, address=address,
        batch_size=batch_size, column=column, strict=strict, part=part, verbose=verbose,
    )  # fmt: skip


def features_of(
    extractor: Extractor, images: Sequence, *, batch_size: int, verbose: Verbose = "auto"
) -> np.ndarray:
    """Embed images and return their features in memory.

    Args:
        extractor: Extractor from `open_embedder`.
        images: Paths, records or bytes of encoded images, all of them readable.
        batch_size: Images per batch.
        verbose: Whether to show progress.

    Returns:
        A float32 array of shape `(images, features)`.

    Raises:
        ValueError: If a feature is NaN or infinite.
    """
    features = np.empty((0, 0), "float32")
    with progress(len(images), "embedding", "images", verbose) as advance:
        done = 0
        for batch in pixel_batches(images, batch_size, extractor.size, extractor.crop):
            found = extractor.embed(padded(batch, batch_size))[: len(batch)]
            check_finite(found, "features")
            if not done:
                features = np.empty((len(images), found.shape[1]), "float32")
            features[done : done + len(found)] = found
            done += len(found)
            advance(len(found))
    return features


def embed_folder(
    model_path: str | os.PathLike | None,
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    batch_size: int = 8,
    skip_corrupt: bool = False,
    precision: str | None = None,
    pixels: str | None = None,
    picture: str | os.PathLike | None = None,
    verbose: Verbose = "auto",
) -> tuple[int, list[tuple[str, str]]]:
    """Embed every image below a folder into one `.npz` file.

    Args:
        model_path: A run folder or a `.keras` file, whose recorded crop is used; or an embedding
            artefact. `None` uses the ImageNet weights.
        folder: Folder to search, with its subfolders.
        output: Path of an `.npz` file, replaced if it exists. It holds `features` (float32,
            `(images, 1536)`) and `paths` (text, relative to the folder, sorted).
        batch_size: Images per batch.
        skip_corrupt: Whether to leave out files that cannot be read.
        precision: Precision of OpenVINO's arithmetic.
        pixels: Pixel range that the model expects, as in `embed`.
        picture: Path of a PNG to draw. It shows each image as a point on the first two principal
            components, coloured by its first subfolder.
        verbose: Verbosity as in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The number of images embedded, and the files left out with the reasons.

    Raises:
        FileNotFoundError: If the folder or the model does not exist.
        ValueError: If the folder holds no images, or unreadable ones without `skip_corrupt`. This
            is raised before any embedding.
        ImportError: If `picture` is given without matplotlib or scikit-learn installed. The
            message names the extra.
        OSError: If the output cannot be written.
    """
    check_at_least(1, batch_size=batch_size)
    folder, output = existing_folder(folder), Path(output)
    if output.suffix != ".npz":
        raise ValueError(f"Received output={str(output)!r}. It must end in .npz.")
    check_name(output)
    if picture is not None:
        require_matplotlib()
        require_pca()
        check_name(picture)
    paths, bad = sound_images(list_images(folder), skip_corrupt=skip_corrupt, verbose=verbose)
    if picture is not None and len(paths) < 2:
        raise ValueError(f"{folder} holds one image. To draw a picture, give at least two.")
    extractor = open_embedder(model_path, precision=precision, pixels=pixels)
    features = features_of(extractor, paths, batch_size=batch_size, verbose=verbose)
    relative = np.array([path.relative_to(folder).as_posix() for path in paths])
    with replacing(output) as new:
        np.savez(new, features=features, paths=relative)
    if picture is not None:
        groups = [Path(path).parts[0] if "/" in path else "" for path in relative]
        plot_embedding(features, groups, picture)
    return len(paths), bad
