"""What an artefact says of itself: what to feed it and what its answers mean."""

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
PAGE, PARTS = "page.json", "network.onnx"  # of a web page: what it loads; its network in parts


class Description(NamedTuple):
    """Kept inside the artefact, so that one file or folder is all that a user moves.

    `size` is height and width of the images, `raw_pixels` whether they are 0 to 255 (else
    -1 to 1), `crop` as in `load_image`; `class_names` is `None` where nobody gave any. `task` is a
    name of `tasks.ANSWERS`; `thresholds` has one a class, from which it is answered, where several
    may be. `quantization` is how int8 weights were rounded, where an export chooses among ways.
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
        """The description as JSON text; what is as it always was stays unsaid."""
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
    """The description of a model's artefact."""
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
    """Puts the description into a written artefact."""
    if path.is_dir():
        (path / NAME).write_text(description.as_json(), encoding="utf-8")
    elif description.format == "onnx":
        import onnx

        network = onnx.load(path)
        onnx.helper.set_model_props(network, {KEY: description.as_json()})
        onnx.save(network, path)
    else:  # LiteRT reads no further than its flatbuffer; its own metadata is such a zip, too
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(NAME, description.as_json())


def page_network(folder: Path) -> bytes:
    """The ONNX file of a web page, whose parts are named in the order in which they were cut."""
    return b"".join(
        (folder / part["name"]).read_bytes() for part in read_json(folder / PAGE)["parts"]
    )


def read_description(path: Path, format: str, onnx_session: Callable[[Path], Any]) -> Description:
    """Reads the description of an artefact.

    Args:
        path: the artefact.
        format: its format.
        onnx_session: opens a file in ONNX Runtime, which knows its metadata; called for ONNX alone.

    Raises:
        ValueError: if it has none or is damaged.
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
    except Exception as error:  # each runtime has its own classes for damage
        raise ValueError(
            f"{path} is no artefact of this package, or damaged ({in_one_line(error)}"
            f"). Write it with keras-inception-v4 export."
        ) from error
    return description._replace(size=(description.size[0], description.size[1]))
