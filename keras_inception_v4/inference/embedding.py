"""Embed a folder of images."""

import os
from pathlib import Path

import numpy as np

from keras_inception_v4.architecture import EVALUATION_CROP
from keras_inception_v4.data.folders import list_images, sound_images
from keras_inception_v4.features import embed
from keras_inception_v4.files import check_name, replacing
from keras_inception_v4.inspection import read_settings
from keras_inception_v4.model import InceptionV4
from keras_inception_v4.plots import plot_embedding, require_matplotlib, require_pca
from keras_inception_v4.progress import Verbose
from keras_inception_v4.weights.loading import read_model


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
    if model_path is None:
        model, crop = InceptionV4(include_top=False, pooling="avg"), EVALUATION_CROP
    else:
        model, crop = read_model(model_path), read_settings(model_path).crop
    features = embed(model, paths, batch_size, crop=crop, pixels=pixels, verbose=verbose)
    relative = np.array([path.relative_to(folder).as_posix() for path in paths])
    with replacing(output) as new:
        np.savez(new, features=features, paths=relative)
    if picture is not None:
        groups = [Path(path).parts[0] if "/" in path else "" for path in relative]
        plot_embedding(features, groups, picture)
    return len(paths), bad
