"""Construction of the model to train: one flat graph, and the choice of trainable layers."""

import os
from collections.abc import Sequence

import keras
from keras import layers

from keras_inception_v4.architecture import DEFAULT_SIZE, ENDPOINTS, HEAD, SINGLE_LABEL, TARGETS
from keras_inception_v4.errors import check_one_of
from keras_inception_v4.model import InceptionV4, classifier
from keras_inception_v4.tasks import task_named
from keras_inception_v4.training.augmentation import augmentation_layers


def transfer_model(
    classes: int,
    *,
    task: str = SINGLE_LABEL,
    classifier_activation: str | None = None,
    weights: str | os.PathLike | None = "imagenet",
    input_shape: Sequence[int] | None = None,
    dropout_rate: float = 0.2,
    augment: bool | str | Sequence[layers.Layer] = True,
    batch_norm_momentum: float = 0.99,
) -> keras.Model:
    """Build a classifier with a new head on a trained, frozen backbone.

    One flat graph: augmentation (active in training only), the layer `preprocessing`, the network,
    and the head. The backbone is frozen, so its batch norm is in inference mode: it keeps and uses
    the moving statistics of the data that it was trained on. Those of a few small batches would be
    worse.

    Args:
        classes: Number of classes, or of quantities for `"regression"`, at least 1.
        task: `"single-label"` (one class an image; softmax), `"multi-label"` (several classes or
            none; sigmoid) or `"regression"` (quantities; linear). Defaults to `"single-label"`.
        classifier_activation: Activation of the head. It must be the task's own; `None` means that
            too, not logits.
        weights: Weights of the backbone: `"imagenet"`, a path that `load_weights` reads (such as
            the `model.keras` of a run; its head is not used), or `None` for random ones.
        input_shape: Three entries without the batch, in the order of
            `keras.config.image_data_format()`, as in `InceptionV4`. Defaults to 299 x 299 x 3.
        dropout_rate: Share of the features dropped before the head in training, in [0, 1).
            Defaults to 0.2.
        augment: `True` or `"photographs"` mirrors, shifts, turns and zooms. `"symbols"` does not
            mirror, and does less of the rest. `False` or `"none"` does nothing. A list of your own
            layers is applied in order to raw pixels.
        batch_norm_momentum: Momentum of the moving statistics, in (0, 1), once batch norm trains
            by `unfreeze(model, batch_norm=True)`. In a training of a few hundred steps 0.99 leaves
            them near the old ones; 0.9 follows the new data. Defaults to 0.99.

    Returns:
        A model from raw pixels, 0 to 255, RGB, to probabilities of shape (batch, classes) or
        quantities. Only its head is trainable. It is not compiled: `train_head` and `fine_tune` do
        that with a model that shares its weights.

    Raises:
        ValueError: If an argument is wrong, or the weights do not fit.
        OSError: If the ImageNet weights are not cached and cannot be downloaded.

    Examples:
        ```python
        from keras_inception_v4 import transfer_model

        model = transfer_model(5, task="multi-label", augment="symbols")
        print([weight.path for weight in model.trainable_weights])
        ```
    """
    activation, least = task_named(task).activation, task_named(task).least_outputs
    if task != SINGLE_LABEL and isinstance(classes, int) and classes < least:
        raise ValueError(
            f"Received classes={classes} with task={task!r}. It must be at least {least}. For "
            "one class that is present or absent, use 'single-label' with two classes."
        )
    if classifier_activation not in (None, activation):
        raise ValueError(
            f"Received classifier_activation={classifier_activation!r} with task={task!r}. "
            f"It must be None or {activation!r}."
        )
    x = layers.Input(tuple(input_shape or square_shape(DEFAULT_SIZE)))
    for layer in _augmentation(augment):
        x = layer(x)
    backbone = InceptionV4(
        include_top=False,
        weights=weights,
        input_tensor=x,
        pooling="avg",
        classes=classes,
        dropout_rate=dropout_rate,
        batch_norm_momentum=batch_norm_momentum,
        include_preprocessing=True,
    )
    for layer in backbone.layers:
        layer.trainable = False
    head = classifier(
        backbone.output, int(classes), activation=activation, dropout_rate=dropout_rate
    )
    model = with_task(keras.Model(backbone.inputs, head, name="inception_v4"), task)
    if task_named(task).standardized:  # start from zeros: see `standardizing`
        dense = model.get_layer(HEAD)
        dense.set_weights([0 * weights for weights in dense.get_weights()])
    return model


def with_task(model: keras.Model, task: str) -> keras.Model:
    """Mark a model with its task, if the activation alone does not identify it.

    Args:
        model: Model with the task's activation.
        task: One of `TASKS`.
    """
    if not task_named(task).standardized:
        return model
    marked = layers.Activation("linear", name=TARGETS, dtype="float32")(model.output)
    return keras.Model(model.inputs, marked, name=model.name)


def square_shape(side: int) -> tuple[int, int, int]:
    """Return the shape of an RGB image, without the batch, in the current data format."""
    first = keras.config.image_data_format() == "channels_first"
    return (3, side, side) if first else (side, side, 3)


def _augmentation(augment) -> Sequence[layers.Layer]:
    if isinstance(augment, bool):
        augment = "photographs" if augment else "none"
    return augmentation_layers(augment) if isinstance(augment, str) else augment


def unfreeze(
    model: keras.Model, from_endpoint: str = "mixed_7a", *, batch_norm: bool = False
) -> keras.Model:
    """Make the layers of a model trainable from an endpoint on, and freeze those before it.

    Args:
        model: Model of this package with its classifier.
        from_endpoint: First endpoint to train, one of `ENDPOINTS`; `"conv2d_1a_3x3"` trains
            everything. Defaults to `"mixed_7a"`.
        batch_norm: Whether batch norm trains too and follows the statistics of the new data. By
            default it stays in inference mode, and its moving statistics do not move. That is
            better for a few thousand images or small batches. See `batch_norm_momentum` of
            `transfer_model`.

    Returns:
        The same model.

    Raises:
        ValueError: If the endpoint is unknown, or the model does not have it.

    Examples:
        ```python
        from keras_inception_v4 import transfer_model, unfreeze

        model = unfreeze(transfer_model(5), "mixed_7a")
        print(len(model.trainable_weights), "of", len(model.weights), "weights are trainable")
        ```
    """
    check_one_of(ENDPOINTS, from_endpoint=from_endpoint)
    order = list(ENDPOINTS)
    moving = tuple(order[order.index(from_endpoint) :])
    if not any(layer.name == from_endpoint for layer in model.layers):
        raise ValueError(
            f"The model {model.name!r} has no layer {from_endpoint!r}. It must be a model of this "
            "package that reaches that endpoint."
        )
    for layer in model.layers:
        of_block = layer.name.startswith(moving)
        frozen = isinstance(layer, layers.BatchNormalization) and not batch_norm
        layer.trainable = layer.name == HEAD or (of_block and not frozen)
    return model
