"""The first phase: a new head, on features that are computed once."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from keras_inception_v4.data.pipeline import batched
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.inspection import pool_and_dense, say_pixels
from keras_inception_v4.model import classifier
from keras_inception_v4.progress import Verbose
from keras_inception_v4.training.caching import cached_features
from keras_inception_v4.training.class_weights import weighted
from keras_inception_v4.training.fitting import fit, held_out_of
from keras_inception_v4.training.objectives import loss_for
from keras_inception_v4.training.options import BATCH_SIZE, HEAD_EPOCHS, HEAD_RATE

MEMORY_BUDGET = 1 << 30


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
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> keras.callbacks.History:
    """Trains the head alone, passing each image through the backbone only once.

    The 1536 features of every image are kept, and the head is trained on them with Adam.
    What a plain `fit` of the same frozen model without augmentation ends on, this ends on.
    Augmentation has no effect here: each image is seen as it is.

    Args:
        model: from `transfer_model`, or any classifier of this package.
        train: arrays `(images, labels)` or `(images, labels, weights)`, or batches of such: a
            `keras.utils.PyDataset`, `tf.data.Dataset`, torch `DataLoader`, or one of Grain's data
            sets; raw pixels, 0 to 255, channels last; labels are integers or one-hot.
        validation: the same, held out, or `None`.
        epochs: passes over the features.
        batch_size: images a step; for a data set, images a step of the head.
        learning_rate: of Adam.
        class_weight: class to the weight of its images (an index, or a name where `train` has
            `class_names`), one weight a class, or `"balanced"` to weigh every class alike
            however many images it has.
        memory_budget: bytes of features to hold in memory (6 kB an image); beyond it they
            are on disk.
        pixels: what the model takes, `"raw"` (0 to 255) or `"scaled"` (-1 to 1), where its layers
            do not tell.
        seed: of the order and the dropout.
        folder: where features and the state after each epoch are kept, so that the same call
            goes on after an interruption; `None` keeps nothing.
        validation_data: Keras's name for `validation`.
        callbacks: of Keras; their `model` is the head, which takes features. One that raises ends
            the phase, which goes on from `folder`.
        verbose: as in `keras.Model.fit`.

    Returns:
        Loss and accuracy an epoch, training and held-out.

    Raises:
        ValueError: for a wrong argument, data of another kind, or a model whose head is not
            an average pool and one dense layer.
        OSError: if `folder` cannot be written.
    """
    check_at_least(1, epochs=epochs, batch_size=batch_size)
    validation = held_out_of(validation, validation_data)
    say_pixels(model, pixels)
    _, dense = pool_and_dense(model)
    classes = model.output_shape[-1]
    names = getattr(train, "class_names", None)
    folder = None if folder is None else Path(folder)

    def cache(data, name):
        return cached_features(
            model,
            data,
            batch_size=batch_size,
            memory_budget=memory_budget,
            path=folder and folder / f"{name}.features",
            verbose=bool(verbose),
        )

    def fit_head(features, held_out):
        inputs = keras.Input(dense.kernel.shape[:1])
        rate = next((x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)), 0)
        output = classifier(
            inputs, classes, activation=dense.activation, dropout_rate=rate, seed=seed
        )
        head = keras.Model(inputs, output)
        head.set_weights(dense.get_weights())
        history = fit(
            head,
            weighted(batched(features, batch_size, seed=seed), class_weight, classes, names),
            None if held_out is None else batched(held_out, batch_size),
            epochs=epochs,
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=loss_for(head, smoothing=0),
            checkpoint=folder and folder / "head.safetensors",
            arguments={
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "class_weight": str(class_weight),
                "seed": seed,
            },
            callbacks=callbacks,
            verbose=verbose,
        )
        dense.set_weights(head.layers[-1].get_weights())
        return history

    with cache(train, "train") as features:
        if validation is None:
            return fit_head(features, None)
        with cache(validation, "validation") as held_out:
            return fit_head(features, held_out)
