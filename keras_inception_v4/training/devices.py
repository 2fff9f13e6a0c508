"""All devices, of many processes too, on one batch: Keras's data parallelism on JAX.

A batch is spread over all devices, weights are on each of them; gradients and the statistics of
batch norm are of the whole batch. What a frozen network makes of images is computed by each process
on its own devices. On other backends there is one process with one device.
"""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_inception_v4.data.inputs import is_source
from keras_inception_v4.data.pipeline import check_fills_a_batch
from keras_inception_v4.training.processes import is_jax, part
from keras_inception_v4.weights.loading import copy_layers


def count_devices() -> int:
    """Devices of all processes that share a batch."""
    return len(keras.distribution.list_devices()) if is_jax() else 1


def count_idle() -> int:
    """GPUs that this backend leaves idle, as it trains on one."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return max(0, len(tf.config.list_logical_devices("GPU")) - 1)
    if backend == "torch":
        import torch

        return max(0, torch.cuda.device_count() - 1)
    return 0


@contextlib.contextmanager
def all_devices(wanted: bool = True) -> Iterator[None]:
    """Models that are built and fitted inside spread their batches over all devices, if wanted."""
    if count_devices() == 1 or not wanted:
        yield
        return
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield


@contextlib.contextmanager
def on_own_devices(model: keras.Model, wanted: bool) -> Iterator[tuple[keras.Model, Callable]]:
    """A model that answers on all devices of this process: a copy, if there are several.

    Args:
        model: on one device.
        wanted: `False` for the model itself; so for batches that the devices cannot share.

    Yields:
        The model, and what puts a batch there for `predict_on_batch`.
    """
    names = _own_devices()
    if len(names) == 1 or not wanted:
        yield model, np.asarray
        return
    parallel = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    with parallel.scope():
        copy = keras.models.clone_model(model)
        copy_layers(model, copy)

        def place(batch: np.ndarray):
            layout = parallel.get_data_layout(batch.shape)
            return keras.distribution.distribute_tensor(batch, layout)

        yield copy, place


def _own_devices() -> list[str]:
    """The devices of this process, as Keras names them."""
    if not is_jax():
        return [keras.backend.backend()]
    import jax

    return [f"{device.platform}:{device.id}" for device in jax.local_devices()]


def share(wanted: bool, *, held_out: bool = False) -> dict:
    """What `batched` takes for all devices; for one, if it is not wanted.

    Devices cannot share an incomplete batch: of training images it is left out, of held-out ones it
    is filled up.
    """
    if count_devices() == 1 or not wanted:
        return {}
    return {"last": "padded" if held_out else "dropped", "part": part()}


def can_share(batch_size: int, train, validation=None) -> bool:
    """Whether a fit is spread over several devices: of arrays and files; other data stay on one.

    A user who has chosen a distribution of Keras's is left with it.

    Args:
        batch_size: images a step, of all devices together.
        train: as in `train_head`.
        validation: likewise.

    Raises:
        ValueError: if the batch does not fit the devices, or there are many processes and data of
            which they cannot read their shares.
    """
    if count_devices() == 1 or keras.distribution.distribution() is not None:
        return False
    own = [data for data in (train, validation) if data is not None and not is_source(data)]
    if own and part()[1] == 1:
        return False
    if own:
        kinds = {type(data).__name__ for data in own}
        raise ValueError(
            f"Received a {' and a '.join(sorted(kinds))} and many processes, which cannot read "
            "their shares of it. Pass arrays or files."
        )
    _check_divisible(batch_size)
    return True


def check_batch(batch_size: int, images: int, *, whole: bool) -> None:
    """Checks that batches of that size can be made and spread.

    Args:
        batch_size: images a step, of all devices together.
        images: for training.
        whole: whether every step takes a whole batch, on one device too.

    Raises:
        ValueError: if the images do not fill one batch, or the batch not the devices.
    """
    _check_divisible(batch_size)
    if whole or count_devices() > 1:
        check_fills_a_batch(batch_size, images)


def _check_divisible(batch_size: int) -> None:
    count = count_devices()
    if batch_size % count:
        raise ValueError(
            f"Received batch_size={batch_size}. It must be a multiple of the {count} devices that "
            "share a batch."
        )
