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
    """Embeds a folder into an `.npz`, as `embed_folder`, or as `stream_embeddings` into Parquet.

    Args:
        model_path: as in both, and so is the rest.
        folder: of images; for Parquet any place.
        output: ends in `.npz`, or not.
        dtype: of the features, in Parquet.
        batch_size: images a batch.
        skip_corrupt: of an `.npz`: whether to leave out files that cannot be read.
        strict: of Parquet: whether not to.
        precision: of OpenVINO's arithmetic.
        pixels: what the model takes.
        picture: beside an `.npz`.
        column: of a table.
        engine: for Parquet: what does the work, as in `engines.run_on`.
        address: of a Ray cluster.
        verbose: whether to show progress.

    Raises:
        ValueError: for what belongs to the other kind of output, and as both.
        FileNotFoundError, ImportError, OSError: as both.
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
    """Embeds any number of files into Parquet: `path`, and `features` as a list of 1536 numbers.

    Args:
        model_path: as in `Embedder`, and so are `dtype`, `precision` and `pixels`.
        folder: a folder with its subfolders, a table, or an address; as in `data.places.pieces`.
        output: as in `streaming.stream`.
        dtype: of the features, `"float32"` or `"float16"`.
        batch_size: images a batch.
        strict: whether a file that cannot be read ends the work; else it is left out.
        precision: of OpenVINO's arithmetic.
        pixels: what the model takes.
        column: of a table, as in `data.places.pieces`.
        part: files of a part.
        engine: what does the work, as in `engines.run_on`.
        address: of a Ray cluster.
        verbose: whether to show progress.

    Returns:
        How many files were embedded, and how many left out.

    Raises:
        FileNotFoundError, ValueError, ImportError, OSError: as `Embedder`, `engines.run_on` and
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
    """Embed images that can be read, in memory.

    Args:
        extractor: As `open_embedder` gives it.
        images: Paths, records or bytes of encoded images.
        batch_size: Images a batch.
        verbose: Whether to show progress.

    Returns:
        float32 `(images, features)`.

    Raises:
        ValueError: if a feature is NaN or infinite.
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
    """Embeds every image below a folder into one `.npz` file.

    Args:
        model_path: a run folder or a `.keras` file, whose run's crop is used; an artefact of the
            embedding; `None` for the ImageNet weights.
        folder: searched with its subfolders.
        output: an `.npz` with `features` (float32, `(images, 1536)`) and `paths`
            (text, relative to the folder, sorted); an old one is replaced.
        batch_size: images a batch.
        skip_corrupt: whether to leave out files that cannot be read.
        precision: of OpenVINO's arithmetic.
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
        raise ValueError(f"{folder} holds one image. A picture needs at least two.")
    extractor = open_embedder(model_path, precision=precision, pixels=pixels)
    features = features_of(extractor, paths, batch_size=batch_size, verbose=verbose)
    relative = np.array([path.relative_to(folder).as_posix() for path in paths])
    with replacing(output) as new:
        np.savez(new, features=features, paths=relative)
    if picture is not None:
        groups = [Path(path).parts[0] if "/" in path else "" for path in relative]
        plot_embedding(features, groups, picture)
    return len(paths), bad
