"""The same images in a folder, a table, and inside other files."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from test_tables import write
from tiny import tiny

from keras_inception_v4 import train_head
from keras_inception_v4.cli import main
from keras_inception_v4.data.digits import digit_scans
from keras_inception_v4.data.folders import read_labelled_folder
from keras_inception_v4.data.records import _part_in, open_collection
from keras_inception_v4.data.tables import Columns, read_labelled_table
from keras_inception_v4.files import has_columns, read_json, record_format


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight scans of each of the digits 0 to 2, as files; and name, class and bytes of each."""
    folder = tmp_path_factory.mktemp("sources") / "digits"
    scans, labels = digit_scans()
    for label in range(3):
        (folder / str(label)).mkdir(parents=True)
        for index in np.flatnonzero(labels == label)[:8]:
            Image.fromarray(scans[index]).resize((40, 40)).save(
                folder / str(label) / f"{index:04}.png"
            )
    files = sorted(folder.rglob("*.png"))
    return folder, [
        (f.relative_to(folder).as_posix(), f.parent.name, f.read_bytes()) for f in files
    ]


def example(content, label, **more):
    tf = pytest.importorskip("tensorflow")

    def of(value):
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    features = {"image/encoded": content, "image/class/label": label, **more}
    return tf.train.Example(
        features=tf.train.Features(feature={name: of(value) for name, value in features.items()})
    ).SerializeToString()


def write_tfrecord(path, records):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as file:
        for record in records:
            file.write(record)
    return path


def write_array_record(path, records):
    module = pytest.importorskip("array_record.python.array_record_module")
    file = module.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        file.write(record)
    file.close()
    return path


def in_form(pictures, form, folder):
    """The pictures in a form, in the order of the folder."""
    root, rows = pictures
    if form == "folder":
        return root, {}
    if form in ("csv", "parquet"):
        table = write(folder / f"a.{form}", [{"file": f, "label": c} for f, c, _ in rows])
        return table, {"images": root}
    if form == "datasets":
        library = pytest.importorskip("datasets")
        data = library.Dataset.from_dict(
            {"image": [{"bytes": b, "path": None} for _, _, b in rows],
             "label": [int(c) for _, c, _ in rows]},
            features=library.Features(
                {"image": library.Image(), "label": library.ClassLabel(names=["0", "1", "2"])}
            ),
        )  # fmt: skip
        data.save_to_disk(folder / "saved")
        return folder / "saved", {}
    records = [example(content, int(name)) for _, name, content in rows]
    if form == "tfrecord":
        return write_tfrecord(folder / "a.tfrecord", records), {}
    return write_array_record(folder / "a.array_record", records), {}


FORMS = ["folder", "csv", "parquet", "datasets", "tfrecord", "array_record"]


def read(data, **options):
    if has_columns(data):
        return read_labelled_table(data, (30, 30), crop=1.0, verbose=False, **options)
    return read_labelled_folder(data, (30, 30), crop=1.0, verbose=False, **options)


@pytest.fixture(scope="module")
def head(pictures, tmp_path_factory):
    return trained_head(pictures, "folder", tmp_path_factory.mktemp("folder"))


def trained_head(pictures, form, folder):
    data, options = in_form(pictures, form, folder)
    labelled = read(data, **options)
    model = tiny(size=30)
    train_head(model, labelled.train, labelled.validation, epochs=5, batch_size=6, verbose=0)
    return labelled, model.get_layer("predictions").get_weights()


@pytest.mark.parametrize("form", FORMS[1:])
def test_every_form_trains_to_the_same_head(pictures, head, tmp_path, form):
    labelled, weights = trained_head(pictures, form, tmp_path)
    assert labelled.class_names == head[0].class_names == ["0", "1", "2"]
    for one, other in zip(weights, head[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(labelled.train) == 19
    listed = labelled.listing()["train"]
    assert sum(map(len, listed.values())) == 19
    labelled.validation.save(0, tmp_path / "example")
    (written,) = tmp_path.glob("example.*")
    Image.open(written).verify()


@pytest.mark.parametrize("form", ["datasets", "tfrecord", "array_record"])
def test_a_damaged_picture_is_listed_or_left_out(pictures, tmp_path, form):
    root, rows = pictures
    spoilt = [(f, c, b[:60] if f == rows[3][0] else b) for f, c, b in rows]
    data, _ = in_form((root, spoilt), form, tmp_path)
    with pytest.raises(ValueError, match=r"1 rows cannot be used:\n .*#3 cannot be read as an"):
        read(data)
    labelled = read(data, skip_corrupt=True)
    assert len(labelled.train) + len(labelled.validation) == 23


def test_parts_and_names_as_tensorflow_models_writes_them(pictures, tmp_path):
    """Shards of parts, `image/class/text`, several files."""
    _, rows = pictures
    for part, count in (("train", 2), ("validation", 1)):
        for shard in range(count):
            chosen = rows[shard::count] if part == "train" else rows[::4]
            records = [
                example(b, 1 + int(c), **{"image/class/text": f"digit {c}".encode(), "height": 40})
                for _, c, b in chosen
            ]
            write_tfrecord(tmp_path / f"{part}-{shard:05}-of-{count:05}", records)
    labelled = read(tmp_path)
    assert labelled.class_names == ["1", "2", "3"]
    assert (len(labelled.train), len(labelled.validation)) == (24, 6)
    named = read(tmp_path, columns=Columns(label="image/class/text"))
    assert named.class_names == ["digit 0", "digit 1", "digit 2"]
    assert str(named.train.paths[-1]) == "train-00001-of-00002#11"
    with pytest.raises(ValueError, match="has no picture 'image/class/label' among"):
        read(tmp_path, columns=Columns(path="image/class/label"))


def test_several_classes_and_numbers_in_records(pictures, tmp_path):
    _, rows = pictures
    records = [
        example(b, [int(c), 3] if c != "0" else [0], size=float(i) / 7)
        for i, (_, c, b) in enumerate(rows)
    ]
    path = write_tfrecord(tmp_path / "a.tfrecord", records)
    several = read(path)
    assert (several.task, several.class_names) == ("multi-label", ["0", "1", "2", "3"])
    sizes = read(path, task="regression", columns=Columns(label="size"))
    found = sorted([*sizes.train.labels[:, 0], *sizes.validation.labels[:, 0]])
    np.testing.assert_allclose(found, np.arange(24) / 7, rtol=1e-6)


def test_a_data_set_of_parts_with_lists_of_classes(pictures, tmp_path):
    library = pytest.importorskip("datasets")
    _, rows = pictures
    features = library.Features({
        "picture": library.Image(), "tags": library.Sequence(library.ClassLabel(names=["a", "b"])),
    })  # fmt: skip
    parts = {
        name: library.Dataset.from_dict(
            {"picture": [{"bytes": b, "path": None} for _, _, b in rows[:6]],
             "tags": [[0, 1], [0], [], [1], [0, 1], []]}, features=features,
        )
        for name in ("train", "test")
    }  # fmt: skip
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    labelled = read(tmp_path / "saved", columns=Columns(label="tags"), task="multi-label",
                    validation_split=0.4)  # fmt: skip
    assert labelled.class_names == ["a", "b"]
    assert (len(labelled.train) + len(labelled.validation), len(labelled.test)) == (6, 6)
    np.testing.assert_array_equal(labelled.test.labels[:3], [[1, 1], [1, 0], [0, 0]])


BAD = {
    "empty.tfrecord": (b"", "holds no records"),
    "text.tfrecord": (b"no records at all, this is text", "is not a TFRecord file"),
    "cut.tfrecord": (struct.pack("<Q", 100) + b"\0" * 50, "is not a TFRecord file, or ends inside"),
    "packed.tfrecord": (b"\x1f\x8b\x08\0\0\0\0\0", "is compressed"),
    "text.array_record": (b"no records", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_hold_no_records(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_collection(tmp_path / name)


def test_a_flipped_byte_is_found(pictures, tmp_path):
    """In a label, where the record still reads as one: its checksum tells."""
    path, _ = in_form(pictures, "tfrecord", tmp_path)
    content = bytearray(path.read_bytes())
    place = content.index(b"image/class/label") + len(b"image/class/label") + 6
    content[place] ^= 2
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a.tfrecord is damaged: the checksum of a record does not match"
    ):
        read(path)


def test_records_that_are_no_examples(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord", [b"\xff\xff\xff"])
    with pytest.raises(ValueError, match=r"a.tfrecord#0 is not a tf.train.Example"):
        open_collection(path)
    with pytest.raises(ValueError, match="holds its own"):
        read(path, images=tmp_path)


def test_a_data_set_without_all_labels(pictures, tmp_path):
    library = pytest.importorskip("datasets")
    _, rows = pictures
    features = library.Features({
        "image": library.Image(), "label": library.ClassLabel(names=["a", "b"]),
        "file": library.Value("string"), "filename": library.Value("string"),
    })  # fmt: skip
    library.Dataset.from_dict(
        {"image": [{"bytes": b, "path": None} for _, _, b in rows[:7]], "file": list("abcdefg"),
         "label": [0, 1, 0, 1, 0, 1, -1], "filename": list("abcdefg")}, features=features,
    ).save_to_disk(tmp_path / "saved")  # fmt: skip
    with pytest.raises(ValueError, match=r"record 6 has no label for saved#6"):
        read(tmp_path / "saved")
    assert read(tmp_path / "saved", skip_corrupt=True).class_names == ["a", "b"]


def test_a_folder_of_classes_with_a_stray_file_stays_one(pictures, tmp_path):
    import shutil

    shutil.copytree(pictures[0], tmp_path / "photos")
    (tmp_path / "photos" / "old.tfrecord").write_bytes(b"")
    assert not has_columns(tmp_path / "photos")


def test_a_damaged_data_set(pictures, tmp_path):
    data, _ = in_form(pictures, "datasets", tmp_path)
    for file in data.glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read as a dataset of `datasets`"):
        read(data)


def test_what_a_name_says():
    assert record_format("train-00000-of-01024") == "tfrecord"
    assert record_format("a.tfrecord-00000-of-00003") == "tfrecord"
    assert record_format("a.array_record") == "array_record"
    assert record_format("photo-of-3") is None
    assert _part_in("mnist-test.tfrecord-00000-of-00001") == "test"
    assert _part_in("validation-00000-of-00128") == "validation"
    assert _part_in("latest.tfrecord") is None
    assert record_format("a.png") is None


@pytest.mark.usefixtures("shallow")
def test_the_command_resumes_over_records(pictures, tmp_path, shallow_file, capsys):
    data, _ = in_form(pictures, "tfrecord", tmp_path)
    options = ["--image-size", "75", "--head-epochs", "2", "--epochs", "0", "--weights"]
    command = ["train", str(data), "--output", str(tmp_path / "run"), *options, str(shallow_file)]
    assert main(command) == 0
    assert main(command) == 0
    assert "is complete" in capsys.readouterr().out
    listing = read_json(tmp_path / "run" / "data.json")
    assert listing["train"]["0"][0].startswith("a.tfrecord#")
    examples = list((tmp_path / "run" / "examples").iterdir())
    assert [Image.open(io.BytesIO(file.read_bytes())).format for file in examples] == ["PNG"] * 3
    assert main(["evaluate", str(tmp_path / "run"), str(data)]) == 0
