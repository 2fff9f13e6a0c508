"""A whole run from images to a classifier, in a folder that can be resumed."""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any, NamedTuple

import keras

from keras_inception_v4 import plots
from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.data.digits import digit_scans, load_digits_data
from keras_inception_v4.data.findings import read_exclusions
from keras_inception_v4.data.folders import read_labelled_folder
from keras_inception_v4.data.sources import LabelledData
from keras_inception_v4.data.tables import Columns, read_labelled_table
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.evaluation import answers_and_targets
from keras_inception_v4.files import has_columns, read_json
from keras_inception_v4.progress import Verbose
from keras_inception_v4.runs.folder import RunFolder, recorded_arguments
from keras_inception_v4.runs.folds import cross_validated
from keras_inception_v4.runs.model_card import write_model_card
from keras_inception_v4.runs.phases import Histories, Watching, from_scratch, from_trained_weights
from keras_inception_v4.runs.results import write_results
from keras_inception_v4.runs.settings import DIGITS, Settings, documented, keywords_of
from keras_inception_v4.tasks import require_scikit_learn, task_named
from keras_inception_v4.training.calibrating import calibrate
from keras_inception_v4.training.fitting import make_reproducible
from keras_inception_v4.training.options import ONEDNN
from keras_inception_v4.training.precision import fastest_precision
from keras_inception_v4.training.processes import (
    check_processes,
    check_same,
    supervised,
    wait_for_all,
)
from keras_inception_v4.training.timeline import require_tensorboard


def train(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    coordinator: str | None = None,
    processes: int = 1,
    process_id: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
    checkpoint_every: int | None = None,
    verbose: Verbose = "auto",
    **settings,
) -> dict:
    """Train a classifier on labelled images and write a run folder.

    With trained weights, first a head is trained on cached features, then the last blocks. With
    `weights=None`, all weights are trained from random values by a recipe. On the JAX backend all
    devices are used, and several processes if asked; process 0 writes.

    The folder gets `model.keras` (float32, raw pixels in), `class_names.json`, `config.json`,
    `data.json` (which images were used for what), `history.csv`, `report.json`, `MODEL_CARD.md`,
    `curves.png`, a picture of the measures (`confusion_matrix.png`, `average_precision.png` or
    `scatter.png`, by the task), `thresholds.json` for several classes an image, `examples/` (a few
    of the measured images, such as one of each class) and, on the TensorFlow backend,
    `saved_model/`.

    Repeat the call to resume. A finished run is left alone; different arguments are rejected.

    Args:
        data: `"digits"` (scans embedded in scikit-learn), a folder (see `data.folders`), a table
            of files and targets (see `data.tables`), or pictures inside other files (see
            `data.records`).
        output: Folder of the run.
        coordinator: `HOST:PORT` of process 0, for many processes.
        processes: Number of processes that share the training. All need the same call, except for
            `process_id`, and `data` and `output` on a disk that they share. Defaults to 1.
        process_id: Number of this process, from 0. With many processes a child process does the
            work: a script must call this under `if __name__ == "__main__":`, and Keras must be
            configured by the environment or its file.
        callbacks: Keras callbacks for every phase, as in `train_head` and `fine_tune`; for one
            process only.
        tensorboard: Whether to write the curves of all phases as one timeline into the folder's
            `tensorboard/`. A resumed run continues it.
        checkpoint_every: Steps of an epoch after which the state is kept too, in fine-tuning or
            from scratch. `None` keeps it only after epochs.
        verbose: As in `keras.Model.fit`; processes other than 0 are silent.
        **settings: Fields of `runs.settings.Settings`:
        {settings}

    Returns:
        The run's report: the measures of the task, such as `accuracy` (0 to 1), on the test part,
        or on the held-out images without one or of a fold. With `folds`, as from
        `runs.folds.cross_validated`.

    Raises:
        ValueError: If an argument is out of range, images cannot be used, weights do not fit, or
            the folder holds another run.
        FileNotFoundError: If there are no such data.
        ImportError: If scikit-learn or matplotlib is not installed; the message names the extra.
        OSError: If the folder cannot be written, weights cannot be downloaded, or another process
            ended.

    Examples:
        ```python
        from keras_inception_v4 import train

        report = train("photos", "runs/example", weights="runs/digits/model.keras", image_size=75,
                       head_epochs=5, epochs=0)
        print(report["accuracy"])
        ```
    """
    return run_settings(
        Settings(data=data, **settings),
        output,
        Watching(tuple(callbacks), tensorboard, checkpoint_every, verbose),
        Sharing(coordinator, processes, process_id),
    )


train.__signature__ = keywords_of(train)  # type: ignore[attr-defined]
train.__doc__ = (train.__doc__ or "").replace("{settings}", documented())


class Sharing(NamedTuple):
    """Number of processes, number of this one, and address (`HOST:PORT`) of process 0."""

    coordinator: str | None = None
    processes: int = 1
    process_id: int = 0


WATCHING, ALONE = Watching(), Sharing()


class Parts(NamedTuple):
    """Functions that a run consists of.

    Tests and benchmarks pass others. They must be picklable, since child processes receive them.
    """

    read_images: Callable[..., LabelledData]
    from_scratch: Callable[..., tuple[keras.Model, Histories]] = from_scratch


def run_settings(
    given: Settings,
    output: str | os.PathLike,
    watching: Watching = WATCHING,
    sharing: Sharing = ALONE,
    parts: Parts | None = None,
) -> dict:
    """Start or resume the run of some settings, or the runs of all their folds.

    Args:
        given: Settings of the run.
        output: Run folder.
        watching: Callbacks, TensorBoard, checkpoints and output of the run.
        sharing: Number of processes and which of them this is.
        parts: Functions that the run consists of. Defaults to the package's own.

    Returns:
        The report, as `train` returns it.

    Raises:
        ValueError, FileNotFoundError, ImportError, OSError: As `train`.
    """
    parts = parts or Parts(read_images)
    coordinator, processes, process_id = sharing
    check_processes(coordinator, processes, process_id)
    if watching.callbacks and processes != 1:
        raise ValueError(
            "Received callbacks with several processes. They work only with processes=1."
        )
    if watching.checkpoint_every is not None:
        check_at_least(1, checkpoint_every=watching.checkpoint_every)
    if watching.tensorboard:
        require_tensorboard()
    if given.folds is not None and given.fold is None:
        if processes != 1:
            raise ValueError(
                "Received folds with several processes. Train one fold at a time: fold (--fold)."
            )
        return cross_validated(
            output,
            given.folds,
            lambda fold, folder: run_settings(
                replace(given, fold=fold), folder, watching, sharing, parts
            ),
        )
    decided = given.decided(recorded_arguments(output), lambda: precision_for(processes))
    on_tensorflow = keras.backend.backend() == "tensorflow"
    run = RunFolder(
        output,
        decided.as_json(),
        crop=decided.crop,
        writes=process_id == 0,
        environment={ONEDNN: os.environ.get(ONEDNN)} if on_tensorflow else {},
    )
    if run.report is not None:
        return run.report
    plots.require_matplotlib()
    require_scikit_learn()
    if processes == 1:
        _run(run, decided, watching, parts)
    else:
        supervised(
            _run_together,
            (coordinator or "", processes, process_id),
            run=run,
            settings=decided,
            watching=watching if run.writes else watching._replace(verbose=0),
            parts=parts,
        )
    return read_json(run.path / "report.json")


def precision_for(processes: int, fastest: Callable[[], str] = fastest_precision) -> str:
    """Return the fastest precision.

    With many processes a child process finds out, since child processes use the devices.

    Raises:
        OSError: If the child process ended.
    """
    if processes == 1:
        return fastest()
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(fastest).result()
    except BrokenProcessPool:
        raise OSError(
            "The child process that checks the devices ended. Set precision, and call this under "
            'if __name__ == "__main__":.'
        ) from None


def _run_together(run: RunFolder, settings: Settings, watching: Watching, parts: Parts) -> None:
    """Run in one of many processes, and wait until process 0 has written the report."""
    check_same("their arguments", settings.as_json())
    _run(run, settings, watching, parts)
    wait_for_all("written")


def _run(run: RunFolder, settings: Settings, watching: Watching, parts: Parts) -> None:
    """Run everything from reading the images to writing the report."""
    started = time.monotonic()
    make_reproducible(settings.seed, settings.deterministic)
    images = parts.read_images(settings, verbose=bool(watching.verbose))
    check_same("their images", images.listing())
    phases = parts.from_scratch if settings.from_scratch else from_trained_weights
    model, histories = phases(run, images, settings, watching)
    if not run.writes:
        return
    task = task_named(images.task)
    temperature = None
    if settings.calibrate:
        temperature = calibrate(model, images.validation, verbose=False)
    if settings.fold is not None:  # a fold is measured on its held-out images
        images = images._replace(test=None)
    given = answers_and_targets(model, images.measured, verbose=False)
    thresholds = None
    if task.thresholded:
        own = images.test is None
        held_out = given if own else answers_and_targets(model, images.validation, verbose=False)
        thresholds = task.thresholds(held_out)
    metrics = task.measure(given, images.class_names, thresholds)
    write_results(run, model, images, histories, given, metrics, thresholds)
    report = {
        **({} if task.name == SINGLE_LABEL else {"task": task.name}),
        **metrics,
        "training_images": len(images.train),
        "measured_on": "validation" if images.test is None else "test",
        "left_out": len(images.left_out),
        **({} if temperature is None else {"temperature": temperature}),
        "epochs": {name: len(history["loss"]) for name, history in histories.items()},
        "weights": model.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_model_card(run, settings, images, report)
    run.finish(report)


def read_images(settings: Settings, *, verbose: bool, scans=digit_scans) -> LabelledData:
    """Read the images of a run; `scans` returns the digits."""
    fold = None if settings.fold is None else (settings.fold, settings.folds)
    share: dict[str, Any] = {
        "validation_split": settings.validation_split,
        "seed": settings.seed,
        "fold": fold,
    }
    size = settings.image_size
    if settings.data == DIGITS:
        return load_digits_data(size, scans=scans, **share)
    exclude = frozenset() if settings.exclude is None else read_exclusions(settings.exclude)
    if has_columns(settings.data):
        columns = Columns(
            settings.path_column,
            settings.label_column,
            settings.split_column,
            settings.group_column,
        )
        return read_labelled_table(
            settings.data,
            (size, size),
            crop=settings.crop,
            images=settings.images,
            columns=columns,
            task=settings.task,
            skip_corrupt=settings.skip_corrupt,
            exclude=exclude,
            verbose=verbose,
            **share,
        )
    return read_labelled_folder(
        settings.data,
        (size, size),
        crop=settings.crop,
        skip_corrupt=settings.skip_corrupt,
        nested=settings.nested,
        exclude=exclude,
        verbose=verbose,
        **share,
    )
