"""First training phase: a new head, on features that are computed once."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from keras_inception_v4.data.inputs import as_batches
from keras_inception_v4.data.pipeline import batched
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.inspection import embedding_model, pool_and_dense, say_pixels, task_of
from keras_inception_v4.model import classifier
from keras_inception_v4.progress import Verbose
from keras_inception_v4.training import devices
from keras_inception_v4.training.caching import MEMORY_BUDGET, Part, cached_features
from keras_inception_v4.training.class_weights import weighted
from keras_inception_v4.training.fitting import fit, held_out_of
from keras_inception_v4.training.objectives import loss_for, own_objective
from keras_inception_v4.training.options import BATCH_SIZE, HEAD_EPOCHS, HEAD_RATE
from keras_inception_v4.training.standardizing import standard_of


def train_head(
    model: keras.Model,
    train,
    validation=None,
    *,
    epochs: int = HEAD_EPOCHS,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = HEAD_RATE,
    class_weight: Mapping | Sequence[float] | str | None = None,
    memory_budget: int = MEMORY_BUDGET,
    pixels: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    loss=None,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> keras.callbacks.History:
    """Train only the head, passing each image through the frozen backbone once.

    The 1536 features of every image are kept, and the head is trained on them with Adam. Gives the
    same result as `fit` on the frozen model without augmentation. Augmentation has no effect here:
    each image is seen as it is.

    On JAX, arrays and files are spread over all devices of all processes (see `training.devices`).
    Every step then takes a full batch, images left over wait for the next epoch, and sample
    weights count in the metrics too. Datasets of your own stay on one device.

    Args:
        model: Model from `transfer_model`, or any classifier of this package.
        train: Training data: arrays (images, labels) or (images, labels, weights), or batches of
            such from a `keras.utils.PyDataset`, `tf.data.Dataset`, torch `DataLoader` or one of
            Grain's datasets. Images are raw pixels, 0 to 255, channels last. Labels are integers
            or one-hot; for several classes an image of shape (images, classes), 0 and 1; for
            quantities numbers of shape (images, targets) in their own units.
        validation: Held-out data of the same kinds, or `None`.
        epochs: Passes over the features. Defaults to 20.
        batch_size: Images per step, of all devices together; for a dataset, images per step of
            the head. Defaults to 32.
        learning_rate: Learning rate of Adam. Defaults to 1e-3.
        class_weight: Weights of the classes: a dict from class (index, or name if `train` has
            `class_names`) to weight, a sequence with one weight per class, or `"balanced"` to
            weigh every class alike however many images it has. For several classes an image they
            weigh the positive labels, and `"balanced"` makes these count as much as the negative
            ones.
        memory_budget: Bytes of features to hold in memory (6 kB an image); more are kept on disk.
            Defaults to 1 GiB.
        pixels: What the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1). Only needed where
            its layers do not tell.
        seed: Seed for shuffling and dropout.
        folder: Folder that keeps the features and the state after each epoch. The same call then
            resumes after an interruption. `None` keeps nothing.
        loss: Loss of labels (standardized ones for quantities) and the head's outputs, by its name
            in Keras or as a function. Defaults to the task's own.
        validation_data: Keras's name for `validation`.
        callbacks: Keras callbacks. Their `model` is the head, which takes features. If one raises
            an error, the phase ends and can be resumed from `folder`.
        verbose: As in `keras.Model.fit`.

    Returns:
        The history: loss and a metric of each epoch, training and held-out. The metric is
        accuracy, binary accuracy for several classes an image, and the mean absolute error in
        standard deviations for quantities.

    Raises:
        ValueError: If an argument is wrong, the data are of another kind, or the model's head is
            not an average pool and one dense layer.
        OSError: If `folder` cannot be written.

    Examples:
        ```python
        import keras
        from keras_inception_v4 import train_head, transfer_model

        train = keras.utils.image_dataset_from_directory(
            "photos/train", image_size=(299, 299), batch_size=8
        )
        model = transfer_model(len(train.class_names))
        print(train_head(model, train, epochs=5).history["accuracy"])
        ```
    """
    check_at_least(1, epochs=epochs, batch_size=batch_size)
    validation = held_out_of(validation, validation_data)
    say_pixels(model, pixels)
    _, dense = pool_and_dense(model)
    task = task_of(model)
    folder = None if folder is None else Path(folder)
    spread = devices.can_share(batch_size, train, validation)

    def cache(data, name):
        return cached_features(
            model,
            as_batches(data, model, batch_size),
            Part(answering, place=place),
            batch_size=batch_size,
            memory_budget=memory_budget,
            path=folder and folder / f"{name}.features",
            verbose=bool(verbose),
        )

    def fit_head(features, held_out):
        head = _head_alone(model, seed)
        standard = standard_of(task, features.labels)
        head.set_weights(standard.into(*dense.get_weights()) if standard else dense.get_weights())
        batches = batched(features, batch_size, seed=seed, **devices.share(spread))
        batches, positive = weighted(task, batches, class_weight, dense.units, train)
        order = devices.share(spread, held_out=True)
        measured = None if held_out is None else batched(held_out, batch_size, **order)
        if standard is not None:
            batches = standard.batches(batches)
            measured = measured and standard.batches(measured)
        history = fit(
            head,
            batches,
            measured,
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=loss_for(model, smoothing=0, weights=positive) if loss is None else loss,
            metric=task.metric,
            weights_fill=spread,
            epochs=epochs,
            checkpoint=folder and folder / "head.safetensors",
            arguments={
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "class_weight": str(class_weight),
                "seed": seed,
                **own_objective(None, loss, resumable=folder is not None),
            },
            callbacks=callbacks,
            verbose=verbose,
        )
        learnt = head.layers[-1].get_weights()
        dense.set_weights(standard.out_of(*learnt) if standard else learnt)
        return history

    with contextlib.ExitStack() as stack:
        held_out = None
        with devices.on_own_devices(embedding_model(model), spread) as (answering, place):
            features = stack.enter_context(cache(train, "train"))
            if validation is not None:
                held_out = stack.enter_context(cache(validation, "validation"))
        stack.enter_context(devices.all_devices(spread))
        return fit_head(features, held_out)


def _head_alone(model: keras.Model, seed: int) -> keras.Model:
    """Return a model of the head alone, from features to predictions."""
    _, dense = pool_and_dense(model)
    inputs = keras.Input(dense.kernel.shape[:1])
    rate = next((x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)), 0)
    output = classifier(
        inputs, dense.units, activation=dense.activation, dropout_rate=rate, seed=seed
    )
    return keras.Model(inputs, output)
