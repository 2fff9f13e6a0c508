"""The phases of a run: what is trained, in which order, and which model is returned."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_inception_v4.auxiliary import with_auxiliary_head
from keras_inception_v4.data.sources import LabelledData
from keras_inception_v4.progress import Verbose
from keras_inception_v4.runs.folder import RunFolder
from keras_inception_v4.runs.settings import Settings
from keras_inception_v4.training import devices
from keras_inception_v4.training.building import square_shape, transfer_model, unfreeze
from keras_inception_v4.training.fine_tuning import fine_tune
from keras_inception_v4.training.fitting import fit
from keras_inception_v4.training.head import train_head
from keras_inception_v4.training.processes import check_same, part, wait_for_all
from keras_inception_v4.training.recipes import RECIPES, Recipe
from keras_inception_v4.training.scratch import scratch_model, train_from_scratch
from keras_inception_v4.training.timeline import Timeline
from keras_inception_v4.weights.loading import copy_weights

Histories = dict[str, dict[str, list[float]]]


class Watching(NamedTuple):
    """Options that do not change a run's numbers: callbacks, TensorBoard, checkpoints, output."""

    callbacks: Sequence[keras.callbacks.Callback] = ()
    tensorboard: bool = False
    checkpoint_every: int | None = None
    verbose: Verbose = "auto"

    def of_phase(self, run: RunFolder, first: int = 0) -> list[keras.callbacks.Callback]:
        """Return the callbacks of a phase that follows `first` epochs of earlier phases."""
        timeline = self.tensorboard and run.writes
        return [
            *([Timeline(run.path / "tensorboard", first)] if timeline else []),
            *self.callbacks,
        ]


def from_scratch(
    run: RunFolder,
    images: LabelledData,
    settings: Settings,
    watching: Watching,
    *,
    build: Callable[..., keras.Model] = scratch_model,
    add_head: Callable[..., keras.Model] = with_auxiliary_head,
    recipes: dict[str, Recipe] = RECIPES,
    fit_model: Callable[..., keras.callbacks.History] = fit,
) -> tuple[keras.Model, Histories]:
    """Train all weights by a recipe, in one phase.

    Args:
        run: Run folder. This function begins the run after the batch size and the model are
            checked.
        images: Training and held-out images.
        settings: Settings without open values, as `Settings.decided` returns them.
        watching: Callbacks, TensorBoard, checkpoints and output of the run.
        build: Function that builds the network. Defaults to `scratch_model`.
        add_head: Function that adds the auxiliary head. Defaults to `with_auxiliary_head`.
        recipes: Recipes by name. Defaults to `RECIPES`.
        fit_model: Function that fits the model. Defaults to `fit`.

    Returns:
        The model in float32, without augmentation, and the history of each phase by name.
    """
    recipe, batch_size = recipes[settings.recipe], settings.batch_size
    devices.check_batch(batch_size, len(images.train), whole=recipe.random_crops)
    keras.utils.set_random_seed(settings.seed)
    model = build(len(images.class_names), settings.image_size, task=images.task)
    _begin(run, images, batch_size, watching)
    history = train_from_scratch(
        model,
        images,
        recipe=recipe,
        epochs=settings.epochs,
        batch_size=batch_size,
        seed=settings.seed,
        precision=settings.precision,
        augment=settings.augment,
        loss=settings.loss,
        accumulate=settings.accumulate,
        checkpoint=run.checkpoints / "from_scratch.safetensors",
        checkpoint_every=watching.checkpoint_every,
        callbacks=watching.of_phase(run),
        verbose=watching.verbose,
        build=build,
        add_head=add_head,
        fit_model=fit_model,
    )
    return model, {"from scratch": history}


def _begin(run: RunFolder, images: LabelledData, batch_size: int, watching: Watching) -> None:
    """Begin a run in all its processes, and print which devices it uses."""
    count, idle = devices.count_devices(), devices.count_idle()
    if watching.verbose and count > 1:
        processes = part()[1]
        print(
            f"{batch_size} images a step, on {count} devices of {processes} processes.",
            file=sys.stderr,
        )
    if watching.verbose and idle:
        print(
            f"Training uses one GPU and leaves {idle} idle, as always on "
            f"{keras.backend.backend()}. KERAS_BACKEND=jax uses all.",
            file=sys.stderr,
        )
    run.begin(images.listing())
    wait_for_all("begun")
    check_same("their run folder", run.listing)


def from_trained_weights(
    run: RunFolder, images: LabelledData, settings: Settings, watching: Watching
) -> tuple[keras.Model, Histories]:
    """Train a head on cached features, then fine-tune.

    Takes and returns the same as `from_scratch`.
    """
    devices.check_batch(settings.batch_size, len(images.train), whole=False)
    keras.utils.set_random_seed(settings.seed)
    classes, shape = len(images.class_names), square_shape(settings.image_size)
    model = transfer_model(
        classes,
        task=images.task,
        weights=settings.weights,
        input_shape=shape,
        augment=settings.augment,
    )
    _begin(run, images, settings.batch_size, watching)
    shared: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "class_weight": "balanced" if settings.balanced else None,
        "seed": settings.seed,
        "folder": run.checkpoints,
        "loss": settings.loss,
        "verbose": watching.verbose,
    }
    if watching.verbose:
        print(f"The head, {settings.head_epochs} epochs:", flush=True)
    head = train_head(
        model,
        images.train,
        images.validation,
        epochs=settings.head_epochs,
        learning_rate=settings.head_learning_rate,
        callbacks=watching.of_phase(run),
        **shared,
    )
    histories = {"head": head.history}
    if settings.epochs:
        if watching.verbose:
            print(
                f"Fine-tuning from {settings.from_endpoint}, {settings.epochs} epochs:", flush=True
            )
        unfreeze(model, settings.from_endpoint)
        tuned = fine_tune(
            model,
            images.train,
            images.validation,
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            patience=settings.patience,
            precision=settings.precision,
            checkpoint_every=watching.checkpoint_every,
            accumulate=settings.accumulate,
            cache_augmented=settings.cache_augmented,
            callbacks=watching.of_phase(run, len(head.epoch)),
            **shared,
        )
        histories["fine-tuning"] = tuned.history
    delivered = transfer_model(
        classes, task=images.task, weights=None, input_shape=shape, augment=False
    )
    copy_weights(model, delivered)
    return delivered, histories
