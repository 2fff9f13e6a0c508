"""Functions that build the Keras layers of a convolution unit, a pool and a block."""

import contextlib
from collections.abc import Iterator

import keras
from keras import layers

from keras_inception_v4.architecture import (
    BATCH_NORM_EPSILON,
    PRECISIONS,
    Conv,
    Pool,
    Unit,
    branch_outputs,
)
from keras_inception_v4.errors import check_one_of


@contextlib.contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Set Keras's global dtype policy inside the `with` block and restore the old one after it.

    Raises:
        ValueError: If `precision` is not one of `PRECISIONS`.
    """
    check_one_of(PRECISIONS, precision=precision)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def conv_unit(x, name: str, op: Conv, *, channel_axis: int, data_format: str, momentum: float):
    """Apply a convolution without bias, batch norm without scale, and a ReLU named `name`.

    Args:
        x: Input tensor of rank 4.
        name: Name of the unit.
        op: Convolution from `architecture`.
        channel_axis: Axis of the channels, 1 or 3.
        data_format: `"channels_last"` or `"channels_first"`.
        momentum: Batch-norm momentum of the moving statistics.

    Returns:
        Output tensor of the unit.
    """
    x = layers.Conv2D(
        op.filters,
        (op.height, op.width),
        strides=op.strides,
        padding=op.padding,
        data_format=data_format,
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(
        axis=channel_axis,
        momentum=momentum,
        epsilon=BATCH_NORM_EPSILON,
        scale=False,
        name=f"{name}_bn",
    )(x)
    return layers.ReLU(name=name)(x)


def pool(x, name: str, op: Pool, *, data_format: str):
    """Apply a max or average pool.

    Args:
        x: Input tensor of rank 4.
        name: Name of the layer.
        op: Pool from `architecture`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Output tensor of the pool.
    """
    layer = layers.MaxPooling2D if op.kind == "max" else layers.AveragePooling2D
    return layer(
        (op.height, op.width),
        strides=op.strides,
        padding=op.padding,
        data_format=data_format,
        name=name,
    )(x)


def block(x, name: str, branches: list[list[Unit]], *, data_format: str, momentum: float):
    """Apply the branches of one endpoint and concatenate their outputs.

    Args:
        x: Input tensor of rank 4.
        name: Name of the endpoint and of its last layer.
        branches: Named ops of each branch, from `architecture.walk`.
        data_format: `"channels_last"` or `"channels_first"`.
        momentum: Batch-norm momentum of the moving statistics.

    Returns:
        Output tensor of the endpoint.
    """
    channel_axis = 1 if data_format == "channels_first" else 3

    def apply(unit, tensor):
        if isinstance(unit.op, Conv):
            return conv_unit(
                tensor, unit.name, unit.op,
                channel_axis=channel_axis, data_format=data_format, momentum=momentum,
            )  # fmt: skip
        return pool(tensor, unit.name, unit.op, data_format=data_format)

    outputs = []
    for units in branches:
        last = branch_outputs(units)
        tensor = x
        for unit in units:
            if unit not in last:
                tensor = apply(unit, tensor)
        outputs += [apply(unit, tensor) for unit in last]
    if len(outputs) == 1:  # a stem convolution: its ReLU is the endpoint
        return outputs[0]
    return layers.Concatenate(axis=channel_axis, name=name)(outputs)
