"""The files that a finished run leaves in its folder besides its report."""

import contextlib
import os
import sys
from collections.abc import Iterator

import keras

from keras_inception_v4 import plots
from keras_inception_v4.data.sources import LabelledData
from keras_inception_v4.errors import in_one_line
from keras_inception_v4.export import export_saved_model
from keras_inception_v4.files import MODEL, replacing, write_json
from keras_inception_v4.runs.folder import RunFolder
from keras_inception_v4.tasks import Measured, task_named

LONGEST = 200  # bytes of an example's file name


def write_results(
    run: RunFolder,
    model: keras.Model,
    data: LabelledData,
    phases: dict[str, dict[str, list[float]]],
    given: Measured,
    metrics: dict,
    thresholds: list[float] | None,
) -> None:
    """Write the model, class names, thresholds, history, pictures, examples and SavedModel.

    The SavedModel is written on the TensorFlow backend only.

    Args:
        run: Run folder to write to.
        model: Float32 model that takes raw pixels.
        data: Data that the model was trained on.
        phases: History of each phase by the phase's name.
        given: Model's predictions and the targets of the images that it is measured on.
        metrics: The task's measures of `given`.
        thresholds: One threshold per class; `None` if the task has none.
    """
    with replacing(run.path / MODEL) as new:
        model.save(new)
    write_json(run.path / "class_names.json", data.class_names)
    if thresholds is not None:
        named = zip(data.class_names, thresholds, strict=True)
        write_json(run.path / "thresholds.json", dict(named))
    task = task_named(data.task)
    run.write_history(phases)
    with _not_worth_a_run("curves.png"):
        plots.plot_curves(
            phases,
            run.path / "curves.png",
            metric=task.metric,
            label=task.metric_label,
            scale=task.metric_scale,
            loss_label=task.loss_label,
        )
    with _not_worth_a_run(task.picture):
        task.draw(given, metrics, data.class_names, run.path / task.picture)
    _write_examples(run, data)
    if keras.backend.backend() == "tensorflow":
        export_saved_model(
            model,
            run.path / "saved_model",
            class_names=data.class_names,
            thresholds=thresholds,
            crop=data.crop,
        )


@contextlib.contextmanager
def _not_worth_a_run(picture: str) -> Iterator[None]:
    """Warn about errors in drawing a picture instead of failing the run; raise `OSError`s."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # names may raise any error in matplotlib and its fonts
        print(f"warning: {picture} was not drawn ({in_one_line(error)})", file=sys.stderr)


def _write_examples(run: RunFolder, data: LabelledData) -> None:
    """Save a few measured images, such as one of each class, as files to try the model on."""
    with replacing(run.path / "examples") as new:
        new.mkdir()
        task = task_named(data.task)
        taken: set[str] = set()
        for name, index in task.examples(data.measured.labels, data.class_names).items():
            data.measured.save(index, new / _file_name(name, taken))


def _file_name(name: str, taken: set[str]) -> str:
    """Return a valid file name close to `name` that is not yet taken, and add it to `taken`."""
    plain = name.replace("/", "_").replace("\0", "_")
    while len(os.fsencode(plain)) > LONGEST:
        plain = plain[:-1]
    number, own = 1, plain
    while own in taken:
        number += 1
        own = f"{plain}_{number}"
    taken.add(own)
    return own
