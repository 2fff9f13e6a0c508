"""Shared by all tests: quiet TensorFlow, one thread pool, a clean Keras session."""

import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several workers wait for each other's core
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import pytest

# A shell's background jobs ignore Ctrl-C, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA_FORMATS = ["channels_last"]
if keras.backend.backend() != "tensorflow":  # TensorFlow convolves channels-first only on GPUs
    DATA_FORMATS.append("channels_first")


@pytest.fixture(autouse=True)
def _clean_session():
    """Frees each test's models, and undoes its data format and dtype policy."""
    data_format, policy = keras.config.image_data_format(), keras.config.dtype_policy()
    yield
    keras.config.set_image_data_format(data_format)
    keras.config.set_dtype_policy(policy)
    keras.backend.clear_session()


@pytest.fixture(params=DATA_FORMATS)
def data_format(request):
    keras.config.set_image_data_format(request.param)
    return request.param


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The run of the README's first command; CI has run it, and says where in `DIGITS_RUN`."""
    from keras_inception_v4 import train

    folder = os.environ.get("DIGITS_RUN") or tmp_path_factory.mktemp("runs") / "digits"
    train("digits", folder, weights=None, verbose=2)
    return Path(folder)


def ordered(height, width, channels):
    """An image shape in the current data format."""
    if keras.config.image_data_format() == "channels_first":
        return (channels, height, width)
    return (height, width, channels)
