"""Pictures inside TFRecord and ArrayRecord files and datasets of Hugging Face's `datasets`.

Each picture is read by the number of its record, so a resumed run sees the same pictures.
"""

import functools
import os
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np

from keras_inception_v4.data.layout import part_of
from keras_inception_v4.errors import in_one_line, require_extra
from keras_inception_v4.files import DATASET_MARKS, record_files, record_format

ENCODED = ("image/encoded", "image", "image_raw", "encoded", "jpeg", "png")
"""Usual names of the encoded picture in a `tf.train.Example`, used if none is given."""
LENGTH, CHECKSUM = struct.Struct("<Q"), 4  # bytes around a record of a TFRecord file


class Record(NamedTuple):
    """A picture in a file of many; `str` gives the file and the number."""

    collection: "Collection"
    number: int

    def read(self) -> bytes:
        """Return the encoded picture."""
        return self.collection.picture(self.number)

    def __str__(self) -> str:
        return self.collection.place(self.number)


class Collection(ABC):
    """Records that each hold a picture and other values.

    Attributes:
        columns: Names of all values except the picture, each with its text in every record.
            Several values in one record are separated by `|`.
    """

    columns: dict[str, list[str]]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, number: int) -> bytes:
        """Return the encoded picture of a record."""

    @abstractmethod
    def place(self, number: int) -> str:
        """Return the place of a record as text: the file or folder, and the number."""


def open_collection(path: str | os.PathLike, image: str | None = None) -> Collection:
    """Open a collection of pictures inside other files.

    Args:
        path: File in a format of `files.RECORDS`, a folder of such files, or a folder written by
            `save_to_disk` of `datasets`.
        image: Name of the value that holds the picture; `None` looks for the
            usual names, and takes the only column of images of a saved dataset.

    Raises:
        ValueError: If it cannot be read, holds no records, or has no picture.
        ImportError: If the library that reads it is missing; the message names the extra.
    """
    path = Path(path)
    if path.is_dir() and any((path / mark).is_file() for mark in DATASET_MARKS):
        return _Dataset(path, image)
    files = record_files(path)
    kinds = {record_format(file) for file in files}
    if len(kinds) > 1:
        raise ValueError(f"{path} holds TFRecord and ArrayRecord files. Keep them apart.")
    try:
        reader = _TFRecords(files) if kinds == {"tfrecord"} else _array_records(files)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read ({in_one_line(error)}).") from error
    if len(reader) == 0:
        raise ValueError(f"{path} holds no records.")
    return _Examples(path, files, reader, image)


class _TFRecords:
    """Records of TFRecord files by number; the offsets are indexed once."""

    def __init__(self, files: list[Path]):
        self._files = files
        self._places: list[tuple[Path, int, int]] = []
        self.counts = []
        for path in files:
            before = len(self._places)
            self._index(path)
            self.counts.append(len(self._places) - before)

    def _index(self, path: Path) -> None:
        size, start = path.stat().st_size, 0
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise ValueError(f"{path.name} is compressed: unpack it (gunzip) first")
            while start < size:
                file.seek(start)
                head = file.read(LENGTH.size)
                end = start + LENGTH.size + CHECKSUM
                length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else size
                if end + length + CHECKSUM > size:
                    raise ValueError(f"{path.name} is not a TFRecord file, or ends inside a record")
                self._places.append((path, end, length))
                start = end + length + CHECKSUM

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes]:
        """Yield all records in order, verifying their checksums."""
        import tensorflow as tf

        for path in self._files:
            try:
                yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
            except tf.errors.DataLossError as error:
                raise ValueError(
                    f"{path} is damaged: the checksum of a record does not match."
                ) from error

    def __getitem__(self, number: int) -> bytes:
        path, start, length = self._places[number]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)


def _array_records(files: list[Path]):
    """Return the records of all files in one sequence, read by Grain."""
    module = "array_record.python.array_record_module"
    require_extra(module, "ArrayRecord files need", "array_record", "records")
    sources = [grain.sources.ArrayRecordDataSource(str(file)) for file in files]
    return _Chained(sources)


class _Chained:
    """Several sources as one sequence."""

    def __init__(self, sources: list):
        self._sources = sources
        self.counts = [len(source) for source in sources]
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[bytes]:
        for source in self._sources:
            yield from (source[number] for number in range(len(source)))

    def __getitem__(self, number: int) -> bytes:
        index = int(np.searchsorted(self._ends, number, side="right"))
        start = int(self._ends[index]) - self.counts[index]
        return self._sources[index][number - start]


@dataclass
class _Examples(Collection):
    """Records of one `tf.train.Example` each, as tensorflow/models and TFDS write them."""

    path: Path
    files: list[Path]
    reader: Any
    image: str | None

    def __post_init__(self):
        values: dict[str, list[str]] = {}
        for number, content in enumerate(self.reader):
            found = self._features(content, number)
            if number == 0:
                self.image = self._image_of(found)
            for name, feature in found.items():
                if name != self.image:
                    values.setdefault(name, [""] * len(self))[number] = _text(feature)
        parts = [_part_in(file.name) for file in self.files]
        if any(parts) and "split" not in values:
            counted = zip(parts, self.reader.counts, strict=True)
            values["split"] = [part or "" for part, count in counted for _ in range(count)]
        self.columns = values

    def __len__(self) -> int:
        return len(self.reader)

    def _features(self, content: bytes, number: int):
        import tensorflow as tf

        try:
            return tf.train.Example.FromString(content).features.feature
        except Exception as error:  # protobuf's own class, or the error of a damaged file
            raise ValueError(
                f"{self.place(number)} is not a tf.train.Example ({in_one_line(error)})."
            ) from error

    def _image_of(self, features) -> str:
        held = [name for name, value in features.items() if value.bytes_list.value]
        names = [self.image] if self.image else [name for name in ENCODED if name in held]
        if not names or names[0] not in held:
            raise ValueError(
                f"{self.path} has no picture {names[0] if names else ''!r} among {sorted(held)}. "
                "Name the picture's value: --path-column."
            )
        return names[0]

    def picture(self, number: int) -> bytes:
        """Return the encoded picture of a record."""
        values = self._features(self.reader[number], number)[self.image].bytes_list.value
        return values[0] if values else b""

    def place(self, number: int) -> str:
        """Return the file and the record's number in it, as `file#number`."""
        index = int(np.searchsorted(self._ends, number, side="right"))
        first = self._ends[index] - self.reader.counts[index]
        return f"{self.files[index].name}#{number - first}"

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.reader.counts)


def _part_in(name: str) -> str | None:
    """Return the part in a file name, as in `train-00000-of-00128` or `mnist-test.tfrecord-...`."""
    words = re.split(r"[-_.]", name)
    return next((part for part in map(part_of, words) if part), None)


def _text(feature) -> str:
    values = [
        *(value.decode("utf-8", "replace") for value in feature.bytes_list.value),
        *map(str, feature.int64_list.value),
        *(f"{value:.9g}" for value in feature.float_list.value),
    ]
    return "|".join(values)


class _Dataset(Collection):
    """Dataset that `datasets` saved to disk: a single one, or one per part."""

    def __init__(self, path: Path, image: str | None):
        library = require_extra("datasets", "Datasets on disk need", "datasets", "datasets")
        try:
            found = library.load_from_disk(str(path))
        except Exception as error:  # damaged files raise errors of any class
            raise ValueError(
                f"{path} cannot be read as a dataset of `datasets` ({in_one_line(error)})."
            ) from error
        several = dict(found) if isinstance(found, dict) else {}
        whole = library.concatenate_datasets(list(several.values())) if several else found
        if len(whole) == 0:
            raise ValueError(f"{path} holds no records.")
        pictures = [n for n, kind in whole.features.items() if isinstance(kind, library.Image)]
        if len(pictures) != 1 and image is None:
            raise ValueError(
                f"{path} has {len(pictures)} columns of images ({', '.join(pictures) or 'none'} of "
                f"{', '.join(whole.features)}). Name the one to read: --path-column."
            )
        self.path, self.image = path, image or pictures[0]
        if self.image not in pictures:
            raise ValueError(f"{path} has no column of images {image!r}. It has {pictures}.")
        self.columns = {
            name: _texts(kind, whole[name])
            for name, kind in whole.features.items()
            if name not in pictures
        }
        if several:
            parts = [[name] * len(part) for name, part in several.items()]
            self.columns["split"] = [name for part in parts for name in part]
        self._pictures = whole.select_columns([self.image]).cast_column(
            self.image, library.Image(decode=False)
        )

    def __len__(self) -> int:
        return len(self._pictures)

    def picture(self, number: int) -> bytes:
        """Return the encoded picture of a record."""
        found = self._pictures[number][self.image] or {}
        if found.get("bytes") is not None:
            return found["bytes"]
        return Path(found["path"]).read_bytes() if found.get("path") else b""

    def place(self, number: int) -> str:
        """Return the folder and the record's number, as `folder#number`."""
        return f"{self.path.name}#{number}"


def _texts(kind, values) -> list[str]:
    """Convert a column's values to text, class numbers to class names."""
    inner = getattr(kind, "feature", kind)
    named = getattr(inner, "int2str", None)

    def one(value) -> str:
        if value is None or (named is not None and value == -1):  # -1 is unknown on the Hub
            return ""
        return named(value) if named is not None and not isinstance(value, str) else str(value)

    return ["|".join(map(one, v)) if isinstance(v, list) else one(v) for v in values]
