"""Descriptions inside artefacts: the input they take and what their outputs mean."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_inception_v4.architecture import SINGLE_LABEL
from keras_inception_v4.errors import in_one_line
from keras_inception_v4.files import read_json
from keras_inception_v4.inspection import image_size, is_channels_first, takes_raw_pixels

if TYPE_CHECKING:
    import keras

NAME = "keras_inception_v4.json"
KEY = "keras_inception_v4"
PAGE, PARTS = "page.json", "network.onnx"  # of a web page: its list of files; prefix of its parts


class Description(NamedTuple):
    """Description that is stored inside an artefact, so users move one file or folder.

    `size` is the height and width of the images. `raw_pixels` is true for pixels from 0 to 255 and
    false for -1 to 1. `crop` is as in `load_image`. `class_names` is `None` if none were given.
    `task` is a key of `tasks.ANSWERS`. `thresholds` holds the probability from which each class is
    assigned, if an image may have several classes. `quantization` names how int8 weights were
    rounded, if the export chose between several ways.
    """

    format: str
    precision: str
    size: tuple[int, int]
    classes: int
    raw_pixels: bool
    channels_first: bool
    crop: float
    class_names: list[str] | None
    task: str = SINGLE_LABEL
    thresholds: list[float] | None = None
    quantization: str | None = None

    def as_json(self) -> str:
        """Return the description as JSON text; fields with their default value are omitted."""
        content = self._asdict()
        for name, default in self._field_defaults.items():
            if content[name] == default:
                del content[name]
        return json.dumps(content)


def describe(
    model: "keras.Model",
    format: str,
    precision: str,
    crop: float,
    class_names: list[str] | None,
    thresholds: list[float] | None,
    task: str,
) -> Description:
    """Return the description of a model's artefact."""
    return Description(
        format,
        precision,
        image_size(model),
        model.output_shape[-1],
        takes_raw_pixels(model),
        is_channels_first(model),
        crop,
        class_names,
        task,
        thresholds,
    )


def write_description(path: Path, description: Description) -> None:
    """Add the description to a written artefact."""
    if path.is_dir():
        (path / NAME).write_text(description.as_json(), encoding="utf-8")
    elif description.format == "onnx":
        import onnx

        network = onnx.load(path)
        onnx.helper.set_model_props(network, {KEY: description.as_json()})
        onnx.save(network, path)
    else:  # LiteRT ignores a zip archive behind its flatbuffer; its metadata uses one, too
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(NAME, description.as_json())


def page_network(folder: Path) -> bytes:
    """Return the ONNX file of a web page, joined from its parts."""
    return b"".join(
        (folder / part["name"]).read_bytes() for part in read_json(folder / PAGE)["parts"]
    )


def read_description(path: Path, format: str, onnx_session: Callable[[Path], Any]) -> Description:
    """Read the description of an artefact.

    Args:
        path: Path of the artefact.
        format: Format of the artefact.
        onnx_session: Function that opens a file in ONNX Runtime, to read its metadata. It is called
            only for an ONNX file.

    Raises:
        ValueError: If the artefact has no description or is damaged.
    """
    try:
        if path.is_dir():
            content = read_json(path / NAME)
        elif format == "onnx":
            content = json.loads(onnx_session(path).get_modelmeta().custom_metadata_map[KEY])
        else:
            with zipfile.ZipFile(path) as archive:
                content = json.loads(archive.read(NAME))
        description = Description(**content)
    except ImportError:
        raise
    except Exception as error:  # each runtime has its own error classes
        raise ValueError(
            f"{path} is no artefact of this package, or is damaged ({in_one_line(error)}"
            f"). Create one with keras-inception-v4 export."
        ) from error
    return description._replace(size=(description.size[0], description.size[1]))
