"""The model builder `InceptionV4`, with its argument checks and its classifier head."""

import numbers
import os
from pathlib import Path

import keras
from keras import layers

from keras_inception_v4 import blocks
from keras_inception_v4.architecture import (
    DEFAULT_SIZE,
    HEAD,
    IMAGENET_CLASSES,
    MINIMUM_SIZE,
    POOL,
    PREPROCESSING,
    network,
    walk,
)
from keras_inception_v4.weights.imagenet import FETCHERS, IMAGENET
from keras_inception_v4.weights.loading import load_weights
from keras_inception_v4.weights.sources import exists

POOLINGS = (None, "avg", "max")


def InceptionV4(
    include_top: bool = True,
    weights: str | os.PathLike | None = "imagenet",
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = IMAGENET_CLASSES,
    classifier_activation="softmax",
    name: str = "inception_v4",
    *,
    dropout_rate: float = 0.2,
    batch_norm_momentum: float = 0.99,
    include_preprocessing: bool = False,
    variant: str = "released",
) -> keras.Model:
    """Build Inception-v4 as one flat functional model.

    Source: Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections
    on Learning", 2016, and the authors' TF-slim graph. Where the released graph and the paper's
    figures disagree, `variant` chooses.

    Args:
        include_top: Whether to end with the classifier (dropout and one dense layer) behind the
            global average pool. Defaults to `True`.
        weights: `"imagenet"` (downloaded once, see `weights.imagenet`), `None` for random
            initialization, or a path that `load_weights` reads. All work with any number of input
            channels. Defaults to `"imagenet"`.
        input_tensor: Keras tensor (an `Input` or the output of layers) to build on, instead of a
            new input.
        input_shape: Three entries without the batch, in the order of
            `keras.config.image_data_format()`. Height and width are at least 75, or `None`; the
            number of channels is free. Defaults to 299 x 299 x 3 with the top, and to unknown
            height and width with three channels without it.
        pooling: Without the top: `None` returns the last feature map, `"avg"` or `"max"` 1536
            numbers an image. Has no effect with the top.
        classes: Number of classes, at least 1. Used with the top. Defaults to 1000.
        classifier_activation: Name or function. `None` returns logits. Defaults to `"softmax"`.
        name: Name of the model.
        dropout_rate: Share of the features dropped before the classifier in training, in [0, 1).
            Defaults to 0.2 (slim keeps 0.8).
        batch_norm_momentum: Momentum of the moving statistics, in (0, 1). Defaults to 0.99. When
            training from scratch on little data, 0.9 evaluates well after a few hundred steps;
            0.99 does not.
        include_preprocessing: Whether the model takes raw pixels, 0 to 255, through a first layer
            named `preprocessing`. By default it takes what `preprocess_input` returns, -1 to 1.
        variant: `"released"` (the weights' order of factorized convolutions) or `"paper"` (the
            figures'), see `architecture.network`.

    Returns:
        A `keras.Model`. It maps float images of shape (batch, height, width, channels), RGB, to
        class probabilities of shape (batch, classes), or to logits with
        `classifier_activation=None`. Without the top it returns features of shape (batch, h, w,
        1536), 8 x 8 for 299 x 299 pixels, or with `pooling` (batch, 1536). In channels-first
        format the channels come second. Under a mixed precision policy the classifier computes and
        returns float32.

    Raises:
        ValueError: If an argument is outside what is stated here, or the weights do not fit. The
            message says what was received and what is allowed.
        OSError: If the ImageNet weights are not cached and cannot be downloaded.

    Examples:
        A classifier of ImageNet's classes, and a backbone for other sizes:

        ```python
        from keras_inception_v4 import InceptionV4

        classifier = InceptionV4()
        backbone = InceptionV4(include_top=False, pooling="avg", input_shape=(224, 320, 3))
        print(classifier.output_shape, backbone.output_shape)
        ```
    """
    _check_pooling(pooling)
    classes = _check_classes(classes)
    classifier_activation = _check_activation(classifier_activation)
    _check_open_interval("dropout_rate", dropout_rate, closed_at_zero=True)
    _check_open_interval("batch_norm_momentum", batch_norm_momentum)
    network(variant)  # raises for an unknown variant
    weights = _check_weights(weights, include_top, classes, variant)

    data_format = keras.config.image_data_format()
    input_shape = _check_shape(input_shape, data_format)
    if input_tensor is None:
        if input_shape is None:
            size = DEFAULT_SIZE if include_top else None
            input_shape = _ordered(size, size, 3, data_format)
        inputs = x = layers.Input(shape=input_shape)
    else:
        x = input_tensor
        _check_tensor(x, input_shape, data_format)
        inputs = keras.utils.get_source_inputs(x)

    channels = x.shape[1 if data_format == "channels_first" else 3]
    if include_preprocessing:
        x = layers.Rescaling(1 / 127.5, offset=-1, name=PREPROCESSING)(x)
    for endpoint, branches in walk(variant, channels):
        x = blocks.block(
            x, endpoint, branches, data_format=data_format, momentum=batch_norm_momentum
        )
    if include_top:
        x = layers.GlobalAveragePooling2D(data_format=data_format, name=POOL)(x)
        x = classifier(x, classes, activation=classifier_activation, dropout_rate=dropout_rate)
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(data_format=data_format, name=POOL)(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(data_format=data_format, name="max_pool")(x)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        load_weights(model, FETCHERS[weights]() if weights in FETCHERS else weights)
    return model


def classifier(
    features,
    classes: int,
    *,
    activation="softmax",
    dropout_rate: float = 0.2,
    seed: int | None = None,
):
    """Apply the classifier head to pooled features: dropout and one dense layer.

    The dense layer runs in float32 under a half-precision policy. Otherwise it follows the policy.

    Args:
        features: Tensor of shape `(batch, 1536)`.
        classes: Number of classes.
        activation: Name or function, or `None` for logits.
        dropout_rate: Share of features to drop, in [0, 1).
        seed: Seed of the dropout; `None` draws one.

    Returns:
        Output tensor of the layer `predictions`, of shape `(batch, classes)`.
    """
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    x = layers.Dropout(dropout_rate, seed=seed, name="dropout")(features)
    return layers.Dense(
        classes,
        activation=activation,
        dtype="float32" if half else None,
        name=HEAD,
    )(x)


def _ordered(height, width, channels, data_format):
    if data_format == "channels_first":
        return (channels, height, width)
    return (height, width, channels)


def _split(shape, data_format):
    """Return height, width and channels of a shape of three entries."""
    if data_format == "channels_first":
        return shape[1], shape[2], shape[0]
    return tuple(shape)


def _check_weights(weights, include_top, classes, variant):
    """Check the `weights` argument and return it: `None`, `"imagenet"` or a path."""
    if weights is None:
        return None
    if weights != "imagenet":
        if not isinstance(weights, (str, os.PathLike)) or not exists(Path(weights)):
            raise ValueError(
                f"Received weights={weights!r}. Allowed are None (random initialization), "
                "'imagenet', and the path of an existing weight file, TensorFlow checkpoint "
                "prefix or folder."
            )
        return weights
    if include_top and classes != IMAGENET.classes:
        raise ValueError(
            f"Received classes={classes} with weights='imagenet', whose classifier has "
            f"{IMAGENET.classes} classes. For your own classes pass include_top=False and put a "
            "classifier on top."
        )
    if variant != IMAGENET.variant:
        raise ValueError(
            f"Received variant={variant!r} with weights='imagenet'. They fit only "
            f"variant={IMAGENET.variant!r}."
        )
    return weights


def _check_pooling(pooling):
    if pooling not in POOLINGS:
        raise ValueError(
            f"Received pooling={pooling!r}. Allowed are None (the feature map), 'avg' and 'max'."
        )


def _is_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_classes(classes) -> int:
    if not _is_integer(classes) or classes < 1:
        raise ValueError(f"Received classes={classes!r}. It must be an integer of at least 1.")
    return int(classes)


def _check_activation(activation):
    try:
        keras.activations.get(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"Received classifier_activation={activation!r}. Allowed are None (logits), a "
            "function, or a name that keras.activations.get knows, such as 'softmax' or 'sigmoid'."
        ) from None
    return activation


def _check_open_interval(argument, value, closed_at_zero=False):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (0 < value < 1 or (closed_at_zero and value == 0)):
        interval = "at least 0 and below 1" if closed_at_zero else "above 0 and below 1"
        raise ValueError(f"Received {argument}={value!r}. It must be a number {interval}.")


def _check_shape(shape, data_format):
    """Check `shape` and return it as a tuple of integers and `None`, or `None` if not given."""
    if shape is None:
        return None
    order = (
        "(channels, height, width)"
        if data_format == "channels_first"
        else ("(height, width, channels)")
    )
    try:
        entries = tuple(shape)
    except TypeError:
        entries = ()
    if len(entries) != 3 or not all(entry is None or _is_integer(entry) for entry in entries):
        raise ValueError(
            f"Received input_shape={shape!r}. It must have three entries without the batch, "
            f"{order} in the data format {data_format!r}, each an integer or (height and width "
            "only) None."
        )
    height, width, channels = _split(entries, data_format)
    if channels is None or channels < 1:
        raise ValueError(
            f"Received input_shape={shape!r}. The number of channels must be an integer of at "
            f"least 1; the order is {order}."
        )
    _check_size(height, width, f"input_shape={shape!r}", order)
    return tuple(entry if entry is None else int(entry) for entry in entries)


def _check_size(height, width, received, order):
    if any(size is not None and size < MINIMUM_SIZE for size in (height, width)):
        raise ValueError(
            f"Received {received}. Height and width must be at least {MINIMUM_SIZE} or None; "
            f"the order is {order}."
        )


def _check_tensor(tensor, input_shape, data_format):
    if not keras.utils.is_keras_tensor(tensor):
        raise ValueError(
            f"Received input_tensor of type {type(tensor).__name__}. It must be a Keras tensor: "
            "a keras.Input or the output of layers called on one. For other data, build the "
            "model first and call it."
        )
    shape = tuple(tensor.shape[1:])
    if len(shape) != 3:
        raise ValueError(
            f"Received input_tensor of shape {tuple(tensor.shape)}. It must have four axes: the "
            "batch and an image."
        )
    try:
        _check_shape(shape, data_format)
    except ValueError as error:
        raise ValueError(str(error).replace("input_shape", "input_tensor of shape", 1)) from None
    if input_shape is not None and any(
        given is not None and actual is not None and given != actual
        for given, actual in zip(input_shape, shape, strict=True)
    ):
        raise ValueError(
            f"Received input_shape={input_shape} and an input_tensor of shape {shape} without "
            "the batch. Leave one out, or make them agree."
        )
