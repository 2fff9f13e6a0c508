"""The model card of a run: a page for whoever is given the model, as Hugging Face's hub reads it.

Source: M. Mitchell et al., "Model Cards for Model Reporting", 2019; `huggingface_hub.ModelCard`.
"""

import math
import os

import keras

from keras_inception_v4 import __version__
from keras_inception_v4.architecture import REGRESSION
from keras_inception_v4.data.sources import LabelledData
from keras_inception_v4.files import MODEL, replacing
from keras_inception_v4.runs.folder import RunFolder
from keras_inception_v4.runs.settings import DIGITS, Settings
from keras_inception_v4.tasks import task_named
from keras_inception_v4.weights.imagenet import IMAGENET

CARD = "MODEL_CARD.md"
MOST = 20  # classes that are listed by name
TO_FILL_IN = "*(to be filled in by whoever publishes the model)*"


def write_model_card(
    run: RunFolder, settings: Settings, images: LabelledData, report: dict
) -> None:
    """Write `MODEL_CARD.md`: what the model is for, its data, training, measures and licence.

    Args:
        run: Folder of the run.
        settings: Settings of the run, all of them decided.
        images: Images that the model was trained and measured on.
        report: Report of the run, as in `report.json`.

    Raises:
        OSError: If the file cannot be written.
    """
    name = _name_of(run.path.resolve())
    sections = {
        name: _summary(settings, images),
        "Use": _use(settings, images),
        "Intended use": _intended_use(images),
        "Data": _data(settings, images),
        "Training": _training(settings, report),
        "Measures": _measures(images, report),
        "Licence": _licence(settings),
    }
    (title, first), *others = sections.items()
    text = f"---\n{_metadata(name, settings, images, report)}---\n\n# {_plain(title)}\n\n{first}\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in others)
    with replacing(run.path / CARD) as new:
        new.write_text(text, encoding="utf-8")


def _metadata(name: str, settings: Settings, images: LabelledData, report: dict) -> str:
    """Return the card's YAML header: what the hub searches and shows."""
    from huggingface_hub import EvalResult, ModelCardData

    kind = "image-regression" if images.task == REGRESSION else "image-classification"
    measured = {
        measure: value
        for measure, value in task_named(images.task).scalars(report).items()
        if value is not None and math.isfinite(value)
    }
    data = _name_of(settings.data)
    split = "test" if images.test is not None else "validation"
    return ModelCardData(
        license="unknown",
        library_name="keras",
        tags=["inception-v4", "keras-inception-v4", images.task],
        pipeline_tag=None if images.task == REGRESSION else kind,
        base_model=IMAGENET.repository if settings.weights == "imagenet" else None,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=kind,
                dataset_type=data,
                dataset_name=data,
                dataset_split=split,
                metric_type=measure.replace(" ", "_"),
                metric_name=measure,
                metric_value=float(f"{value:.6g}"),
            )
            for measure, value in measured.items()
        ],
    ).to_yaml() + "\n"  # fmt: skip


def _summary(settings: Settings, images: LabelledData) -> str:
    outputs = len(images.class_names)
    return (
        f"An Inception-v4 network for {outputs:,} {task_named(images.task).outputs} "
        f"({images.task}), trained by keras_inception_v4 {__version__} on "
        f"{_plain(_name_of(settings.data))}."
    )


def _use(settings: Settings, images: LabelledData) -> str:
    side = settings.image_size
    value = task_named(images.task).value
    return f"""```python
import keras
from keras_inception_v4 import load_image

model = keras.saving.load_model("model.keras")
image = load_image("photo.jpg", ({side}, {side}), crop={settings.crop})
print(model.predict_on_batch(image[None]))
```

Input: float32 of shape (n, {side}, {side}, 3), RGB, 0 to 255. Output: one {value} for each name in
`class_names.json`, in its order."""


def _intended_use(images: LabelledData) -> str:
    names = images.class_names
    listed = ", ".join(_plain(name) for name in names[:MOST])
    if len(names) > MOST:
        listed += f" and {len(names) - MOST} more (`class_names.json`)"
    if images.task == REGRESSION:
        return (
            f"Estimating {listed} of images like the training images. The model estimates them "
            f"of any other image too, without a warning.\n\nWho should use it, and for what: "
            f"{TO_FILL_IN}"
        )
    return (
        f"Recognizing {listed} in images like the training images. The model assigns "
        f"probabilities to any other image too, without a warning.\n\nWho should use it, and "
        f"for what: {TO_FILL_IN}"
    )


def _data(settings: Settings, images: LabelledData) -> str:
    parts = {"training": images.train, "validation": images.validation, "test": images.test}
    rows = [[part, f"{len(held):,}"] for part, held in parts.items() if held is not None]
    text = _table(["part", "images"], rows)
    if images.left_out:
        text += f"\n\nLeft out (unusable or excluded): {len(images.left_out):,}."
    listed = "counts" if settings.data == DIGITS else "lists"
    return f"{text}\n\n`data.json` {listed} them. Where they come from, and who is in them: " + (
        "scikit-learn's copy of the test part of UCI's Optical Recognition of Handwritten Digits."
        if settings.data == DIGITS
        else TO_FILL_IN
    )


def _training(settings: Settings, report: dict) -> str:
    start = "random weights" if settings.weights is None else _origin(settings.weights)
    rows = [
        ["started from", _plain(start)],
        *([f"epochs, {phase}", str(epochs)] for phase, epochs in report["epochs"].items()),
        ["batch size", str(settings.batch_size)],
        ["precision", settings.precision],
        ["seed", str(settings.seed)],
        ["weights", f"{report['weights']:,}"],
        ["time", f"{report['seconds']:,.0f} s"],
        ["computed by", f"Keras {keras.__version__} on {keras.backend.backend()}"],
    ]
    return (
        _table(["", ""], rows)
        + "\n\n`config.json` has the settings; those left out have their defaults."
    )


def _measures(images: LabelledData, report: dict) -> str:
    task = task_named(images.task)
    on_test = images.test is not None
    count = f"{report['images']:,} {'test' if on_test else 'held-out'} images"
    text = f"On {count}:\n\n{_table(['measure', 'value'], task.rows(report))}"
    header, rows = task.table(report)
    if len(rows) <= MOST:
        text += f"\n\n{_table(header, rows)}"
    if not on_test:
        text += (
            "\n\nThe same images may have guided the training (which epoch is kept, thresholds), "
            "so expect slightly worse values on new ones."
        )
    return f"{text}\n\n![Measures]({task.picture})"


def _licence(settings: Settings) -> str:
    text = (
        "The package that made this model is under Apache-2.0. The model's own licence is to be "
        "named by whoever publishes it, here and as `license` in this file's header."
    )
    if settings.weights == "imagenet":
        text += (
            f" It started from the weights of `{IMAGENET.repository}` ({IMAGENET.licence}), "
            "which were trained on ImageNet."
        )
    if settings.data == DIGITS:
        text += " The digits are under CC BY 4.0."
    return text


def _name_of(place: str | os.PathLike | None) -> str:
    """Return the last part of a path: a card is published, and where files lay is private."""
    return _readable(os.path.basename(os.path.normpath(os.fspath(place or ""))))


def _origin(weights: str | os.PathLike) -> str:
    """Return a name for weights; for those of a run, with the run's folder."""
    name, folder = _name_of(weights), _name_of(os.path.dirname(os.fspath(weights)))
    return f"{folder}/{name}" if name == MODEL and folder else name


def _plain(text: str) -> str:
    """Return a text whose characters mean nothing else in Markdown."""
    words = _readable(str(text))
    escaped = "".join(f"\\{mark}" if mark in r"\`*_{}[]<>#|" else mark for mark in words)
    return " ".join(escaped.split())


def _readable(text: str) -> str:
    """Return a text with escapes for bytes of file names that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
