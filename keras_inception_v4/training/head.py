"""The first phase: a new head, on features that are computed once."""

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
    """Trains the head alone, passing each image through the backbone only once.

    The 1536 features of every image are kept, and the head is trained on them with Adam.
    What a plain `fit` of the same frozen model without augmentation ends on, this ends on.
    Augmentation has no effect here: each image is seen as it is.

    On JAX, arrays and files are spread over all devices, of all processes (see
    `training.devices`); then every step takes a whole batch, the images that are left wait for
    another epoch, and weights count in the measures too. Data sets of your own stay on one device.

    Args:
        model: from `transfer_model`, or any classifier of this package.
        train: arrays `(images, labels)` or `(images, labels, weights)`, or batches of such: a
            `keras.utils.PyDataset`, `tf.data.Dataset`, torch `DataLoader`, or one of Grain's data
            sets; raw pixels, 0 to 255, channels last. Labels are integers or one-hot; for several
            classes an image `(images, classes)` of 0 and 1; for quantities numbers `(images,
            targets)` in their own units.
        validation: the same, held out, or `None`.
        epochs: passes over the features.
        batch_size: images a step, of all devices together; for a data set, images a step of the
            head.
        learning_rate: of Adam.
        class_weight: class to the weight of its images (an index, or a name where `train` has
            `class_names`), one weight a class, or `"balanced"` to weigh every class alike
            however many images it has. For several classes an image it weighs the positive labels,
            and `"balanced"` gives them as much weight as the negative ones.
        memory_budget: bytes of features to hold in memory (6 kB an image); beyond it they
            are on disk.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        seed: of the order and the dropout.
        folder: where features and the state after each epoch are kept, so that the same call
            goes on after an interruption; `None` keeps nothing.
        loss: in the place of the task's own, by its name in Keras or as a function: of labels as
            above (of standardized ones for quantities) and the head's answers.
        validation_data: Keras's name for `validation`.
        callbacks: of Keras; their `model` is the head, which takes features. One that raises ends
            the phase, which goes on from `folder`.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and a metric an epoch (accuracy; binary accuracy for several classes; the mean
        absolute error in standard deviations for quantities), training and held-out.

    Raises:
        ValueError: for a wrong argument, data of another kind, or a model whose head is not
            an average pool and one dense layer.
        OSError: if `folder` cannot be written.
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
    """A model of the same head, from features to answers."""
    _, dense = pool_and_dense(model)
    inputs = keras.Input(dense.kernel.shape[:1])
    rate = next((x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)), 0)
    output = classifier(
        inputs, dense.units, activation=dense.activation, dropout_rate=rate, seed=seed
    )
    return keras.Model(inputs, output)
