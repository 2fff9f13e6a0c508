"""One command from images to a classifier: data, phases, results, in a folder that resumes."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import keras

from keras_inception_v4 import plots
from keras_inception_v4.architecture import (
    AUXILIARY_MINIMUM_SIZE,
    DEFAULT_SIZE,
    ENDPOINTS,
    MINIMUM_SIZE,
)
from keras_inception_v4.data import (
    DIGITS_CROP,
    load_digits_data,
    read_labelled_folder,
)
from keras_inception_v4.evaluation import evaluate, require_scikit_learn
from keras_inception_v4.files import read_json
from keras_inception_v4.preprocessing import EVALUATION_CROP
from keras_inception_v4.training import (
    AUGMENTATIONS,
    AUTO,
    PRECISIONS,
    RECIPES,
    RunFolder,
    devices,
    fastest_precision,
    make_reproducible,
    recorded_arguments,
    require_tensorboard,
    write_results,
)
from keras_inception_v4.transfer.fitting import EPOCHS, HEAD_EPOCHS, HEAD_RATE, RATE
from keras_inception_v4.transfer.phases import Watchers, from_scratch, from_trained_weights

DIGITS = "digits"


def train(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    weights: str | os.PathLike | None = "imagenet",
    recipe: str | None = None,
    head_epochs: int | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    image_size: int | None = None,
    crop: float | None = None,
    augment: str | None = None,
    from_endpoint: str | None = None,
    head_learning_rate: float | None = None,
    learning_rate: float | None = None,
    balanced: bool = False,
    patience: int | None = None,
    validation_split: float = 0.2,
    skip_corrupt: bool = False,
    nested: bool = False,
    seed: int = 0,
    precision: str = AUTO,
    deterministic: bool = False,
    coordinator: str | None = None,
    processes: int = 1,
    process_id: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
    verbose="auto",
) -> dict:
    """Trains a classifier on labelled images and writes a run folder.

    With trained weights: a head on cached features, then fine-tuning of the last blocks.
    With `weights=None`: everything from random weights by a recipe; on the JAX backend with
    all devices and, on request, many processes, of which only process 0 writes. The folder
    gets `model.keras` (float32, raw pixels in), `class_names.json`, `config.json`,
    `data.json` (which images were used for what), `history.csv`, `report.json`,
    `curves.png`, `confusion_matrix.png`, `examples/` (a held-out image of each class) and,
    on the TensorFlow backend, `saved_model/`. The same call goes on where an interrupted
    one ended, and a complete run is not trained again.

    Args:
        data: `"digits"` (embedded in scikit-learn) or a folder, see
            `data.read_labelled_folder`.
        output: the run folder.
        weights: as in `transfer_model`; `None` trains from scratch.
        recipe: from scratch, a key of `training.RECIPES`: `"adam"` (default) for a few thousand
            images, `"paper"` for a million, `"paper-small"` the paper's for a short run.
        head_epochs: passes over the cached features; default 20.
        epochs: passes over the images; default 5 of fine-tuning (0 for the head alone),
            the recipe's from scratch.
        batch_size: images a step, of all devices and processes together.
        image_size: side in pixels, at least 75 (107 with an auxiliary head, which the paper's
            recipes have); default the least for digits, else 299.
        crop: as in `load_image`; default 1.0 for digits, else 0.875.
        augment: as in `training.augmentation_layers`; with the paper's recipes the kind of random
            crops, see `preprocessing.random_crop`; default `"symbols"` for digits, else
            `"photographs"`.
        from_endpoint: first endpoint to fine-tune; default `"mixed_7a"`.
        head_learning_rate: of Adam on the features; default 1e-3.
        learning_rate: peak of fine-tuning; default 1e-4.
        balanced: whether every class weighs alike, however many images it has; with trained
            weights.
        patience: epochs of fine-tuning without a lower held-out loss after which to stop.
        validation_split: share held out where the data is not split yet, in (0, 1).
        skip_corrupt: whether to leave out what cannot be used.
        nested: whether folders that hold only folders are classes all the same.
        seed: of split, weights, order, dropout and augmentation.
        precision: dtype policy of fine-tuning and of training from scratch; `"auto"` is what the
            run in the folder began with, else `"mixed_bfloat16"` where that is known to be faster
            (`training.fastest_precision`) and `"float32"` elsewhere; processes on machines of
            different kinds need it named. Features are computed, and the model is written, in
            float32.
        deterministic: the same numbers again on the same machine, somewhat slower.
        coordinator: `HOST:PORT` of process 0, for many processes.
        processes: how many share the training; they need the same call, but for `process_id`,
            and the same `data` and `output` on a disk that they share.
        process_id: of this one, from 0. With many, a child of the calling process does the work:
            a script must call this under `if __name__ == "__main__":`, and Keras's settings
            must come from the environment or its file.
        callbacks: of Keras, of every phase, as in `train_head` and `fine_tune`; of one process.
        tensorboard: whether to write the curves of all phases as one timeline into the folder's
            `tensorboard/`; it goes on when the run does.
        verbose: as in `keras.Model.fit`; processes other than 0 are silent.

    Returns:
        The run's report; `accuracy` (0 to 1) is on held-out images.

    Raises:
        ValueError: for an argument out of range, images that cannot be used, weights that
            do not fit, or a folder of another run.
        FileNotFoundError: if there is no such data.
        ImportError: without scikit-learn or matplotlib; the message names the extra.
        OSError: if the folder cannot be written, weights cannot be had, or another process
            ended.
    """
    transfer_only = {
        "head_epochs": head_epochs,
        "from_endpoint": from_endpoint,
        "head_learning_rate": head_learning_rate,
        "learning_rate": learning_rate,
        "balanced": balanced or None,
        "patience": patience,
    }
    given = [name for name, value in transfer_only.items() if value is not None]
    if weights is None and given:
        raise ValueError(f"Received {', '.join(given)} with weights=None, which has no use for it.")
    if weights is not None and (recipe is not None or processes != 1):
        raise ValueError(
            f"Received recipe={recipe!r} and processes={processes} with weights={weights!r}. They "
            "are for training from scratch: weights=None (--weights none)."
        )
    devices.check_processes(coordinator, processes, process_id)
    if callbacks and processes != 1:
        raise ValueError("Received callbacks with many processes. They are for one.")
    if tensorboard:
        require_tensorboard()
    watchers = Watchers(tuple(callbacks), tensorboard)
    head_epochs = HEAD_EPOCHS if head_epochs is None else head_epochs
    from_endpoint = from_endpoint or "mixed_7a"
    digits = data == DIGITS
    scratch = weights is None
    recipe = recipe or "adam"
    if crop is None:
        crop = DIGITS_CROP if digits else EVALUATION_CROP
    if augment is None:
        augment = "symbols" if digits else "photographs"
    for name, value, known in (
        ("precision", precision, (AUTO, *PRECISIONS)),
        ("augment", augment, AUGMENTATIONS),
        ("from_endpoint", from_endpoint, tuple(ENDPOINTS)),
        ("recipe", recipe, tuple(RECIPES)),
    ):
        if value not in known:
            raise ValueError(f"Received {name}={value!r}. Allowed are {', '.join(known)}.")
    least = AUXILIARY_MINIMUM_SIZE if RECIPES[recipe].auxiliary_weight else MINIMUM_SIZE
    if image_size is None:
        image_size = least if digits else DEFAULT_SIZE
    if epochs is None:
        epochs = RECIPES[recipe].epochs if scratch else EPOCHS
    _check(scratch, head_epochs, epochs, batch_size, crop, image_size, least)
    if precision == AUTO:
        precision = recorded_arguments(output).get("precision") or _fastest_precision(processes)
    settings = {
        "data": os.fspath(data),
        "weights": None if weights is None else os.fspath(weights),
        "epochs": epochs,
        "batch_size": batch_size,
        "image_size": image_size,
        "augment": augment,
        "validation_split": validation_split,
        "skip_corrupt": skip_corrupt,
        "seed": seed,
        "precision": precision,
        "deterministic": deterministic,
    }
    if scratch:
        settings["recipe"] = recipe
    else:
        settings |= {
            "head_epochs": head_epochs,
            "from_endpoint": from_endpoint,
            "head_learning_rate": HEAD_RATE if head_learning_rate is None else head_learning_rate,
            "learning_rate": RATE if learning_rate is None else learning_rate,
            "balanced": balanced,
            "patience": patience,
        }
    settings["crop"] = crop
    if nested:  # not recorded where it is not asked for, as in the runs before it was there
        settings["nested"] = True
    run = RunFolder(output, settings, crop=crop, writes=process_id == 0)
    if run.report is not None:
        return run.report
    plots.require_matplotlib()
    require_scikit_learn()
    if processes == 1:
        _run(run, settings, watchers, verbose)
    else:
        devices.supervised(
            _run_together,
            (coordinator or "", processes, process_id),
            run=run,
            settings=settings,
            watchers=watchers,
            verbose=verbose if run.writes else 0,
        )
    return read_json(run.path / "report.json")


def _fastest_precision(processes: int) -> str:
    """With many processes asked in a child: this one must leave the devices to its own."""
    if processes == 1:
        return fastest_precision()
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(fastest_precision).result()
    except BrokenProcessPool:
        raise OSError(
            "The process that looks at the devices ended. Name a precision, and call this under "
            'if __name__ == "__main__":.'
        ) from None


def _run_together(run: RunFolder, settings: dict, watchers: Watchers, verbose) -> None:
    """One of many processes; all of them find the report in the end."""
    devices.check_same("their arguments", settings)
    _run(run, settings, watchers, verbose)
    devices.wait_for_all("written")


def _run(run: RunFolder, settings: dict, watchers: Watchers, verbose) -> None:
    """Everything from the images to the report."""
    started = time.monotonic()
    make_reproducible(settings["seed"], settings["deterministic"])
    shared = {name: settings[name] for name in ("validation_split", "seed")}
    size = settings["image_size"]
    if settings["data"] == DIGITS:
        images = load_digits_data(size, **shared)
    else:
        images = read_labelled_folder(
            settings["data"],
            (size, size),
            crop=settings["crop"],
            skip_corrupt=settings["skip_corrupt"],
            nested=settings.get("nested", False),
            verbose=bool(verbose),
            **shared,
        )
    devices.check_same("their images", images.listing())
    phases = from_trained_weights if settings["weights"] else from_scratch
    model, histories = phases(run, images, settings, watchers, verbose)
    if not run.writes:
        return
    metrics = evaluate(model, images.measured, class_names=images.class_names, verbose=False)
    write_results(run, model, images, histories, metrics)
    report = {
        **metrics,
        "training_images": len(images.train),
        "measured_on": "validation" if images.test is None else "test",
        "left_out": len(images.left_out),
        "epochs": {name: len(history["loss"]) for name, history in histories.items()},
        "weights": model.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    run.finish(report)


def _check(scratch, head_epochs, epochs, batch_size, crop, image_size, least_size) -> None:
    for name, value, allowed in (
        ("batch_size", batch_size, 1),
        ("head_epochs", head_epochs, 1),
        ("epochs", epochs, 1 if scratch else 0),
        ("image_size", image_size, least_size),
    ):
        if value < allowed:
            raise ValueError(f"Received {name}={value}. It must be at least {allowed}.")
    if not 0 < crop <= 1:
        raise ValueError(f"Received crop={crop}. It must be above 0 and at most 1.")
