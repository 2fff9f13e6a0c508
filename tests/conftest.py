"""Shared by all tests: quiet TensorFlow, one thread pool, a clean Keras session."""

import functools
import gc
import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several workers wait for each other's core
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from checkpoints import (
    TIMM_SHAPES,
    network_shapes,
    slim_variables,
    thin_shapes,
    timm_state,
    write_safetensors,
    write_slim,
)
from thin import thin_network

# A shell's background jobs ignore Ctrl-C, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# After each test Keras collects garbage, see `_clean_session`; that often is enough.
gc.disable()
FEW_OBJECTS = 100_000  # as a whole network leaves that has answered once

# Keras is imported where it is used: the process that hands out tests to the workers needs none.


def pytest_generate_tests(metafunc):
    if "data_format" in metafunc.fixturenames:
        import keras

        formats = ["channels_last"]
        if keras.backend.backend() != "tensorflow":  # which convolves channels-first only on GPUs
            formats.append("channels_first")
        metafunc.parametrize("data_format", formats, indirect=True)


@pytest.fixture(autouse=True, scope="module")
def _frozen():
    """Spares each clean-up the million objects that imports made and that stay anyway."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_session():
    """Frees each test's models, and undoes its data format and dtype policy."""
    import keras

    data_format, policy = keras.config.image_data_format(), keras.config.dtype_policy()
    yield
    keras.config.set_image_data_format(data_format)
    keras.config.set_dtype_policy(policy)
    if gc.get_count()[0] > FEW_OBJECTS:
        keras.backend.clear_session()


@pytest.fixture(scope="session")
def timm_file(tmp_path_factory):
    """The weights of the recordings as timm's file, at full width; for reading only."""
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    write_safetensors(path, timm_state())
    return path


@pytest.fixture(scope="session")
def full_network():
    """`InceptionV4(weights=None)` of a variant, at full width, built once; for looking at only."""

    import keras

    from keras_inception_v4 import InceptionV4

    @functools.cache
    def build(variant, data_format):
        return InceptionV4(weights=None, variant=variant)

    return lambda variant="released": build(variant, keras.config.image_data_format())


@pytest.fixture(scope="session")
def slim_prefix(tmp_path_factory):
    """The weights of the recordings as the authors' checkpoint, at full width."""
    prefix = tmp_path_factory.mktemp("slim") / "inception_v4.ckpt"
    write_slim(prefix, slim_variables())
    return prefix


@pytest.fixture(scope="session")
def kinds_file(tmp_path_factory):
    """Weights of the network of one block a kind as timm's file, with the names of the recorded."""
    path = tmp_path_factory.mktemp("kinds") / "model.safetensors"
    write_safetensors(path, timm_state(thin_shapes(TIMM_SHAPES)))
    return path


@pytest.fixture(scope="session")
def shallow_file(tmp_path_factory):
    """Weights of the shallow network as timm's file; features differ widely."""
    path = tmp_path_factory.mktemp("shallow") / "model.safetensors"
    with thin_network("shallow"):
        write_safetensors(path, timm_state(network_shapes()))
    return path


@pytest.fixture
def thin():
    """Everything that is built in the test has a sixteenth of the channels."""
    with thin_network():
        yield


@pytest.fixture
def kinds():
    """As `thin`, with one block of each kind."""
    with thin_network("kinds"):
        yield


@pytest.fixture
def shallow():
    """As `kinds`, with two branches a block, of one convolution or a pool each."""
    with thin_network("shallow"):
        yield


@pytest.fixture
def data_format(request):
    import keras

    keras.config.set_image_data_format(request.param)
    return request.param


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The run of the README's first command; CI has run it, and says where in `DIGITS_RUN`."""
    from keras_inception_v4 import train

    folder = os.environ.get("DIGITS_RUN") or tmp_path_factory.mktemp("runs") / "digits"
    train("digits", folder, weights=None, verbose=2)
    return Path(folder)


def three_digits(each):
    """So many scans each of 0, 1 and 2 as RGB images of 75 x 75, with their labels."""
    import numpy as np

    from keras_inception_v4.data.digits import digit_scans
    from keras_inception_v4.preprocessing import resize_image

    scans, labels = digit_scans()
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:each] for digit in range(3)])
    return np.stack([resize_image(scan, (75, 75), 1.0) for scan in scans[chosen]]), labels[chosen]


def ordered(height, width, channels):
    """An image shape in the current data format."""
    import keras

    if keras.config.image_data_format() == "channels_first":
        return (channels, height, width)
    return (height, width, channels)
