"""Data parallelism with Keras on JAX, over the devices of one or several processes.

A batch is split over all devices, and each device holds all weights. Gradients and batch norm
statistics are those of the whole batch. Each process computes the features of a frozen network on
its own devices. Other backends use one process with one device.
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
    """Return the number of devices, of all processes, that share a batch."""
    return len(keras.distribution.list_devices()) if is_jax() else 1


def count_idle() -> int:
    """Return the number of GPUs that stay idle because this backend trains on one."""
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
    """Split the batches of models built and fitted inside over all devices, if wanted."""
    if count_devices() == 1 or not wanted:
        yield
        return
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield


@contextlib.contextmanager
def on_own_devices(model: keras.Model, wanted: bool) -> Iterator[tuple[keras.Model, Callable]]:
    """Yield a model that predicts on all devices of this process: a copy if there are several.

    Args:
        model: Model on one device.
        wanted: Whether to use all devices. `False` yields the model itself, as for batches that
            the devices cannot share.

    Yields:
        The model, and a function that puts a batch on its devices for `predict_on_batch`.
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
    """Return the devices of this process, by their names in Keras."""
    if not is_jax():
        return [keras.backend.backend()]
    import jax

    return [f"{device.platform}:{device.id}" for device in jax.local_devices()]


def share(wanted: bool, *, held_out: bool = False) -> dict:
    """Return the arguments of `batched` for all devices, or none if one device is used.

    Devices cannot share an incomplete batch. It is dropped in training and padded for held-out
    images.
    """
    if count_devices() == 1 or not wanted:
        return {}
    return {"last": "padded" if held_out else "dropped", "part": part()}


def can_share(batch_size: int, train, validation=None) -> bool:
    """Return whether to split a fit over several devices.

    Arrays and files are split; other data stay on one device. A Keras distribution that the user
    has set is left as it is, and this package splits nothing.

    Args:
        batch_size: Images per step, over all devices together.
        train: Training data, as in `train_head`.
        validation: Held-out data, as in `train_head`.

    Raises:
        ValueError: If the batch size is not a multiple of the number of devices, or several
            processes cannot read their shares of the data.
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
    """Check that the images fill a batch and the devices can share it.

    Args:
        batch_size: Images per step, over all devices together.
        images: Number of training images.
        whole: Whether every step takes a whole batch even on one device.

    Raises:
        ValueError: If the images do not fill one batch, or the batch size is not a multiple of
            the number of devices.
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
