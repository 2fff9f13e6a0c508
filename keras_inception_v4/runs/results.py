"""What a finished run leaves in its folder, besides its report."""

import contextlib
import sys
from collections.abc import Iterator

import keras
import numpy as np

from keras_inception_v4 import plots
from keras_inception_v4.data.sources import LabelledData
from keras_inception_v4.errors import in_one_line
from keras_inception_v4.export import export_saved_model
from keras_inception_v4.files import MODEL, replacing, write_json
from keras_inception_v4.runs.folder import RunFolder


def write_results(
    run: RunFolder,
    model: keras.Model,
    data: LabelledData,
    phases: dict[str, dict[str, list[float]]],
    metrics: dict,
) -> None:
    """Writes the model, its class names, history, pictures, examples and SavedModel.

    Args:
        run: where to.
        model: float32, raw pixels in.
        data: what it was trained on.
        phases: name of each phase to its history.
        metrics: from `evaluation.evaluate`.
    """
    with replacing(run.path / MODEL) as new:
        model.save(new)
    write_json(run.path / "class_names.json", data.class_names)
    run.write_history(phases)
    with _not_worth_a_run("curves.png"):
        plots.plot_curves(phases, run.path / "curves.png")
    with _not_worth_a_run("confusion_matrix.png"):
        plots.plot_confusion_matrix(
            metrics["confusion_matrix"], data.class_names, run.path / "confusion_matrix.png"
        )
    _write_examples(run, data)
    if keras.backend.backend() == "tensorflow":
        export_saved_model(
            model, run.path / "saved_model", class_names=data.class_names, crop=data.crop
        )


@contextlib.contextmanager
def _not_worth_a_run(picture: str) -> Iterator[None]:
    """Turns what a picture fails on, but for the disk, into a warning: the model counts more."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # matplotlib and its fonts raise whatever a name leads to
        print(f"warning: {picture} was not drawn ({in_one_line(error)})", file=sys.stderr)


def _write_examples(run: RunFolder, data: LabelledData) -> None:
    """A held-out image of each class, as a file to try the model on."""
    with replacing(run.path / "examples") as new:
        new.mkdir()
        for label, name in enumerate(data.class_names):
            for index in np.flatnonzero(data.measured.labels == label)[:1]:
                data.measured.save(index, new / name)
