"""The phases of a run: what is trained, in which order, and what is delivered."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import keras

from keras_inception_v4.data import LabelledData
from keras_inception_v4.training import (
    RECIPES,
    RunFolder,
    Timeline,
    check_batch_size,
    devices,
    scratch_model,
    train_from_scratch,
)
from keras_inception_v4.transfer.building import transfer_model, unfreeze
from keras_inception_v4.transfer.fitting import fine_tune, train_head
from keras_inception_v4.weights.loading import copy_weights

Histories = dict[str, dict[str, list[float]]]


class Watchers(NamedTuple):
    """Who looks on while a run trains: the user's callbacks, and TensorBoard if asked for."""

    callbacks: Sequence[keras.callbacks.Callback] = ()
    tensorboard: bool = False

    def of_phase(self, run: RunFolder, first: int = 0) -> list[keras.callbacks.Callback]:
        """Those of a phase before which there were `first` epochs."""
        timeline = self.tensorboard and run.writes
        return [
            *([Timeline(run.path / "tensorboard", first)] if timeline else []),
            *self.callbacks,
        ]


def from_scratch(
    run: RunFolder, images: LabelledData, settings: dict, watchers: Watchers, verbose
) -> tuple[keras.Model, Histories]:
    """One phase: all weights by a recipe.

    Args:
        run: not begun; begins here, once everything is known to fit.
        images: training and held-out images.
        settings: arguments of `train`, all of them decided.
        watchers: of the run.
        verbose: as in `keras.Model.fit`.

    Returns:
        The model in float32, without augmentation, and the history of each phase by name.
    """
    recipe, batch_size = RECIPES[settings["recipe"]], settings["batch_size"]
    check_batch_size(recipe, batch_size, len(images.train))
    keras.utils.set_random_seed(settings["seed"])
    model = scratch_model(len(images.class_names), settings["image_size"])
    if verbose and devices.count_devices() > 1:
        print(
            f"{batch_size} images a step, on {devices.count_devices()} devices of "
            f"{devices.part()[1]} processes.",
            file=sys.stderr,
        )
    run.begin(images.listing())
    devices.wait_for_all("begun")
    devices.check_same("their run folder", run.listing)
    history = train_from_scratch(
        model,
        images,
        recipe=recipe,
        epochs=settings["epochs"],
        batch_size=batch_size,
        seed=settings["seed"],
        precision=settings["precision"],
        augment=settings["augment"],
        checkpoint=run.checkpoints / "from_scratch.safetensors",
        callbacks=watchers.of_phase(run),
        verbose=verbose,
    )
    return model, {"from scratch": history}


def from_trained_weights(
    run: RunFolder, images: LabelledData, settings: dict, watchers: Watchers, verbose
) -> tuple[keras.Model, Histories]:
    """Two phases: a head on cached features, then fine-tuning; otherwise as `from_scratch`."""
    keras.utils.set_random_seed(settings["seed"])
    classes, size = len(images.class_names), settings["image_size"]
    first = keras.config.image_data_format() == "channels_first"
    shape = (3, size, size) if first else (size, size, 3)
    model = transfer_model(
        classes, weights=settings["weights"], input_shape=shape, augment=settings["augment"]
    )
    run.begin(images.listing())
    shared = {
        "batch_size": settings["batch_size"],
        "class_weight": "balanced" if settings["balanced"] else None,
        "seed": settings["seed"],
        "folder": run.checkpoints,
        "verbose": verbose,
    }
    head = train_head(
        model,
        images.train,
        images.validation,
        epochs=settings["head_epochs"],
        learning_rate=settings["head_learning_rate"],
        callbacks=watchers.of_phase(run),
        **shared,
    )
    histories = {"head": head.history}
    if settings["epochs"]:
        unfreeze(model, settings["from_endpoint"])
        tuned = fine_tune(
            model,
            images.train,
            images.validation,
            epochs=settings["epochs"],
            learning_rate=settings["learning_rate"],
            patience=settings["patience"],
            precision=settings["precision"],
            callbacks=watchers.of_phase(run, len(head.epoch)),
            **shared,
        )
        histories["fine-tuning"] = tuned.history
    delivered = transfer_model(classes, weights=None, input_shape=shape, augment=False)
    copy_weights(model, delivered)
    return delivered, histories
