"""The authors' auxiliary classifier. It helps training from scratch and is removed afterwards."""

import keras
from keras import layers

from keras_inception_v4 import blocks
from keras_inception_v4.architecture import (
    AUXILIARY_ENDPOINT,
    AUXILIARY_HEAD,
    AUXILIARY_MINIMUM_SIZE,
    HEAD,
    Conv,
    auxiliary_units,
)
from keras_inception_v4.inspection import is_channels_first


def with_auxiliary_head(model: keras.Model, classes: int) -> keras.Model:
    """Add the auxiliary head on `mixed_6h`; the layers of the model are shared.

    Average pool 5x5/3 valid, 1x1 convolution to 128 channels, convolution over the whole grid to
    768 (both with batch norm and ReLU), dense layer. Momentum, dtype policy, data format and
    activation are those of the model. `load_weights` fills it from a slim checkpoint; those of
    timm and Keras 2 do not have it and leave it as it is. Measures, maps and exports use the
    model's own classifier.

    Source: `AuxLogits` of slim's `inception_v4`. Its full-grid convolution fixes the image size.

    Args:
        model: Classifier of this package with known height and width, both at least 107.
        classes: Number of classes, the same as the model's own.

    Returns:
        A model with a dict of two outputs of shape (batch, classes): `predictions` and
        `auxiliary`.

    Raises:
        ValueError: If the model is of another kind or size, or has another number of classes.

    Examples:
        ```python
        from keras_inception_v4 import InceptionV4, with_auxiliary_head

        model = with_auxiliary_head(InceptionV4(weights=None, classes=10), classes=10)
        print(model.output_shape)
        ```
    """
    named = {layer.name: layer for layer in model.layers}
    if AUXILIARY_HEAD in named:
        raise ValueError(f"The model {model.name!r} has an auxiliary head already.")
    if AUXILIARY_ENDPOINT not in named or not isinstance(named.get(HEAD), layers.Dense):
        raise ValueError(
            f"The model {model.name!r} has no endpoint {AUXILIARY_ENDPOINT} or no classifier. An "
            "auxiliary head is for InceptionV4(include_top=True)."
        )
    if classes != named[HEAD].units:
        raise ValueError(
            f"Received classes={classes!r} for a model of {named[HEAD].units} classes. Both heads "
            "must have the same classes."
        )
    data_format = "channels_first" if is_channels_first(model) else "channels_last"
    axis = 1 if is_channels_first(model) else 3
    x = named[AUXILIARY_ENDPOINT].output  # 17 x 17 x 1024
    cells = x.shape[2:] if axis == 1 else x.shape[1:3]
    if None in cells or min(cells) < 5:
        raise ValueError(
            f"The model {model.name!r} takes {tuple(model.input_shape)}. An auxiliary head needs "
            f"a known height and width of at least {AUXILIARY_MINIMUM_SIZE} pixels: build with "
            "input_shape=(299, 299, 3)."
        )
    momentum = named["conv2d_1a_3x3_bn"].momentum
    with blocks.dtype_policy(named[AUXILIARY_ENDPOINT].dtype_policy.name):
        for unit in auxiliary_units(tuple((cell - 5) // 3 + 1 for cell in cells)):
            if isinstance(unit.op, Conv):  # 5 x 5 x 128, then 1 x 1 x 768
                x = blocks.conv_unit(
                    x, unit.name, unit.op,
                    channel_axis=axis, data_format=data_format, momentum=momentum,
                )  # fmt: skip
            else:  # 5 x 5 x 1024
                x = blocks.pool(x, unit.name, unit.op, data_format=data_format)
        x = layers.Flatten(data_format=data_format, name="auxlogits_flatten")(x)
    x = layers.Dense(
        classes,
        activation=named[HEAD].activation,
        dtype=named[HEAD].dtype_policy.name,
        name=AUXILIARY_HEAD,
    )(x)
    outputs = {HEAD: model.output, AUXILIARY_HEAD: x}
    return keras.Model(model.inputs, outputs, name=model.name)
