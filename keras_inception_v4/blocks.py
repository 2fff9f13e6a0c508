"""Keras layers from the figures: the conv unit, the pool, and one interpreter for a block."""

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
    """Keras's global dtype policy inside the block; the old one after it.

    Raises:
        ValueError: if `precision` is none of `PRECISIONS`.
    """
    check_one_of(PRECISIONS, precision=precision)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def conv_unit(x, name: str, op: Conv, *, channel_axis: int, data_format: str, momentum: float):
    """Convolution without bias, batch norm without scale, ReLU that bears the unit's name.

    Args:
        x: input tensor, rank 4.
        name: of the unit.
        op: from `architecture`.
        channel_axis: 1 or 3.
        data_format: `"channels_last"` or `"channels_first"`.
        momentum: batch-norm momentum of the moving statistics.

    Returns:
        The unit's output tensor.
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
    """A pool.

    Args:
        x: input tensor, rank 4.
        name: of the layer.
        op: from `architecture`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        The pool's output tensor.
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
    """One endpoint: walks its branches and concatenates what comes out.

    Args:
        x: input tensor, rank 4.
        name: the endpoint's name, which the last layer bears.
        branches: from `architecture.walk`.
        data_format: `"channels_last"` or `"channels_first"`.
        momentum: batch-norm momentum of the moving statistics.

    Returns:
        The endpoint's output tensor.
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
