"""How a folder is read: parts, classes, links, names, and a fuzz test against a plain reading."""

import os
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_inception_v4.data.folders import read_labelled_folder
from keras_inception_v4.data.layout import PARTS, WHOLE, read_layout

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD"))


def plant(folder, *names):
    """Small images, each with pixels of its own."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (index, len(name), 0)).save(path)
    return folder


def split(folder, **parts):
    for part, count in parts.items():
        for name in ("cat", "dog"):
            plant(folder, *(f"{part.replace('__', ' ')}/{name}/{i}.png" for i in range(count)))
    return folder


def counts(layout):
    return {
        part: {name: len(files) for name, files in classes.items()}
        for part, classes in layout.parts.items()
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"train": 2, "validation": 1}, ["train", "validation"]),
        ({"train": 2, "valid": 1, "test": 1}, ["train", "validation", "test"]),
        ({"Train": 2, "VAL": 1}, ["train", "validation"]),
        ({"training": 2, "dev": 1}, ["train", "validation"]),
        ({"TRAINING": 2, "Testing": 1}, ["train", "test"]),
        ({"train": 2, "eval": 1}, ["train", "test"]),
        ({"trn": 2, "held_out": 1, "tst": 1}, ["train", "validation", "test"]),
        ({"train": 2, "hold-out": 1}, ["train", "validation"]),
        ({"train": 3}, ["train"]),
    ],
)
def test_parts_by_their_usual_names(tmp_path, names, expected):
    layout = read_layout(split(tmp_path, **names))
    assert list(layout.parts) == expected
    assert list(counts(layout).values()) == [{"cat": n, "dog": n} for n in names.values()]
    assert [folder.name for folder in layout.folders.values()] == list(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"val": 1, "test": 1}, "holds test, val and no part to train on"),
        ({"train": 1, "val": 1, "valid": 1}, "val and valid.* both names of its validation part"),
        ({"train": 1, "Training": 1}, "Training and train.* both names of its train part"),
        ({"train": 1, "val": 1, "extra": 1}, r"parts of a dataset \(train, val\) beside .*extra"),
        ({"fold1": 1, "fold2": 1}, r"holds only folders \(fold1/cat, fold1/dog.*--nested"),
        ({"2023": 1, "2024": 1}, r"holds only folders .*pass --nested"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        read_layout(split(tmp_path, **names))


@pytest.mark.parametrize("name", ["photo.jpg", "IMG.PNG", "a.webp", "b.tiff"])
def test_an_image_beside_the_parts_is_named(tmp_path, name):
    split(tmp_path, train=2, val=1)
    (tmp_path / "README.md").write_text("about the photos")
    (tmp_path / name).write_bytes(b"not opened here")
    assert read_layout(tmp_path).problems == [
        (str(tmp_path / name), f"{tmp_path / name} is in no part of the dataset")
    ]


def test_classes_may_bear_the_names_of_parts(tmp_path):
    plant(tmp_path, "train/1.jpg", "car/1.jpg", "bus/1.jpg", "test/1.jpg", "test/deep/2.jpg")
    assert counts(read_layout(tmp_path)) == {WHOLE: {"bus": 1, "car": 1, "test": 2, "train": 1}}


def test_nested_folders_are_storage_when_told(tmp_path):
    split(tmp_path, a=1, b=2)
    assert counts(read_layout(tmp_path, nested=True)) == {WHOLE: {"a": 2, "b": 4}}


def test_names_in_both_forms_of_unicode_are_one_class(tmp_path):
    plant(tmp_path, f"{COMPOSED}/1.png", f"{DECOMPOSED}/2.png", "Birnen/1.png", "Birnen/2.png")
    layout = read_layout(tmp_path)
    assert counts(layout) == {WHOLE: {"Birnen": 2, COMPOSED: 2}}
    data = read_labelled_folder(tmp_path, (9, 9), crop=1.0, validation_split=0.5, verbose=False)
    listing = data.listing()
    assert sorted(listing["train"][COMPOSED] + listing["validation"][COMPOSED]) == [
        f"{COMPOSED}/1.png", f"{COMPOSED}/2.png",
    ]  # fmt: skip


class TestLinks:
    def test_linked_folders_and_files_are_followed(self, tmp_path):
        plant(tmp_path / "store", "a/1.png", "a/2.png", "b.png")
        plant(tmp_path / "photos", "dog/1.png")
        (tmp_path / "photos" / "cat").symlink_to(tmp_path / "store" / "a")
        (tmp_path / "photos" / "dog" / "more").symlink_to(tmp_path / "store" / "b.png")
        assert counts(read_layout(tmp_path / "photos")) == {WHOLE: {"cat": 2, "dog": 2}}

    def test_a_circle_ends(self, tmp_path):
        plant(tmp_path, "cat/1.png", "dog/1.png", "dog/deep/2.png")
        (tmp_path / "dog" / "deep" / "up").symlink_to(tmp_path / "dog")
        (tmp_path / "cat" / "self").symlink_to("self")
        layout = read_layout(tmp_path)
        assert counts(layout) == {WHOLE: {"cat": 1, "dog": 2}}
        assert ["cat/self is a link" in reason for _, reason in layout.problems] == [True]

    def test_a_file_counts_once_in_its_class(self, tmp_path):
        plant(tmp_path, "cat/1.png", "dog/1.png")
        (tmp_path / "cat" / "again.png").symlink_to(tmp_path / "cat" / "1.png")
        layout = read_layout(tmp_path)
        assert counts(layout) == {WHOLE: {"cat": 1, "dog": 1}}
        assert layout.problems == []

    @pytest.mark.parametrize(("source", "target"), [("cat", "dog"), ("train", "val")])
    def test_a_file_in_two_classes_or_parts_is_named(self, tmp_path, source, target):
        if source == "cat":
            plant(tmp_path, "cat/1.png", "dog/1.png")
        else:
            split(tmp_path, train=2, val=1)
            source, target = "train/cat", "val/cat"
        (tmp_path / target / "x.png").symlink_to(tmp_path / source / "1.png")
        ((path, reason),) = read_layout(tmp_path).problems
        assert path == str(tmp_path / target / "x.png")
        assert "is the same file as" in reason

    @pytest.mark.parametrize("place", ["cat/gone.png", "cat/deep", "emu", "dog/gone"])
    def test_a_link_to_nothing_is_named(self, tmp_path, place):
        plant(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
        (tmp_path / place).symlink_to(tmp_path / "nowhere")
        message = f"(?s)1 files or classes.*{place} is a link to .*nowhere"
        with pytest.raises(ValueError, match=message):
            read_labelled_folder(tmp_path, (9, 9), crop=1.0, verbose=False)
        data = read_labelled_folder(tmp_path, (9, 9), crop=1.0, skip_corrupt=True, verbose=False)
        assert len(data.train) + len(data.validation) == 4
        assert len(data.left_out) == 1


def test_the_reading_is_printed_and_a_test_part_is_measured(tmp_path, capsys):
    split(tmp_path, train=4, valid=2, test=3)
    data = read_labelled_folder(tmp_path, (9, 9), crop=1.0)
    assert "train: 8 images, valid: 4 images, test: 6 images of 2 classes (cat, dog)" in (
        capsys.readouterr().err
    )
    assert (len(data.train), len(data.validation), len(data.measured)) == (8, 4, 6)
    assert data.measured is data.test
    assert set(data.listing()) == {"train", "validation", "test", "left_out"}


def test_a_training_part_alone_is_split(tmp_path):
    data = read_labelled_folder(
        split(tmp_path, train=10, test=2), (9, 9), crop=1.0, validation_split=0.2, verbose=False
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 4)
    assert all("train" in path.parts for path in (*data.train.paths, *data.validation.paths))
    assert not set(data.train.paths) & set(data.validation.paths)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": ["cat", "dog"], "val": ["cat"]}, r"only in train \['dog'\], only in val none"),
        ({"train": ["cat", "dog"], "test": ["cat", "dog", "emu"]}, r"only in test \['emu'\]"),
        ({"train": ["cat"], "val": ["cat"]}, "one class, 'cat'"),
    ],
)
def test_parts_of_other_classes_are_refused(tmp_path, parts, message):
    for part, names in parts.items():
        plant(tmp_path, *(f"{part}/{name}/{i}.png" for name in names for i in range(2)))
    with pytest.raises(ValueError, match=message):
        read_labelled_folder(tmp_path, (9, 9), crop=1.0, verbose=False)


# The fuzz. A tree is a dict: name to a tree, to "image", or to "link:" and a path from the root.

CLASSES = ["a", "b", "train", "val", "Test", COMPOSED, DECOMPOSED, ".hidden", "$5_$10", "[b]"]
FILES = st.dictionaries(st.sampled_from(["1.png", "2.png", ".x.png"]), st.just("image"), max_size=3)
LINKS = st.dictionaries(
    st.sampled_from(["l1", "l2.png"]),
    st.sampled_from(["link:a", "link:a/1.png", "link:gone", "link:b/deep", "link:."]),
    max_size=1,
)
LEAVES = st.builds(lambda *parts: {**parts[0], **parts[1]}, FILES, LINKS)


def deeper(trees):
    names = st.sampled_from([*CLASSES, "deep"])
    return st.builds(
        lambda leaf, below: {**leaf, **below}, LEAVES, st.dictionaries(names, trees, max_size=3)
    )


TREES = st.dictionaries(st.sampled_from(CLASSES), deeper(deeper(LEAVES)), max_size=5)


def build(folder, tree):
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        if isinstance(content, dict):
            build(folder / name, content)
        elif content == "image":
            (folder / name).write_bytes(b"not opened here")


def link(root, folder, tree):
    for name, content in tree.items():
        if isinstance(content, dict):
            link(root, folder / name, content)
        elif content.startswith("link:"):
            (folder / name).symlink_to(root / content.removeprefix("link:"))


def reference(folder):
    """Files of each class below a folder, by real path, as a person would list them."""
    found = {}
    for entry in os.scandir(folder):
        if entry.is_dir() and not entry.name.startswith("."):
            files = found.setdefault(unicodedata.normalize("NFC", entry.name), set())
            reached, waiting = set(), [entry.path]
            while waiting:
                here = os.path.realpath(waiting.pop())
                if here in reached:
                    continue
                reached.add(here)
                for inner in os.scandir(here):
                    if inner.name.startswith("."):
                        continue
                    if inner.is_dir():
                        waiting.append(inner.path)
                    elif inner.is_file():
                        files.add(os.path.realpath(inner.path))
    return found


@settings(
    max_examples=200, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(tree=TREES)
def test_random_trees_are_read_as_a_person_would_or_refused_by_name(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree") / "photos"
    build(root, tree)
    link(root, root, tree)
    refused = None
    try:
        layout = read_layout(root)
    except ValueError as error:
        refused = str(error)
    if refused is not None:
        assert str(root) in refused
        return
    for part, classes in layout.parts.items():
        assert part == WHOLE or layout.folders[part].name.casefold() in PARTS[part]
        expected = reference(layout.folders[part])
        assert classes.keys() == expected.keys()
        for name, files in classes.items():
            found = {os.path.realpath(path) for path in files}
            assert len(found) == len(files)
            named = {os.path.realpath(path) for path, _ in layout.problems}
            assert found <= expected[name] <= found | named
    if WHOLE in layout.parts and any(layout.parts[WHOLE].values()):
        assert any(path.is_file() for path in root.glob("[!.]*/[!.]*"))
    places = [path for classes in layout.parts.values() for files in classes.values()
              for path in map(os.path.realpath, files)]  # fmt: skip
    assert len(set(places)) == len(places)


def test_labels_follow_the_names(tmp_path):
    plant(tmp_path, *(f"{name}/{i}.png" for name in "cab" for i in range(3)))
    data = read_labelled_folder(tmp_path, (9, 9), crop=1.0, verbose=False)
    for images in (data.train, data.validation):
        assert [path.parent.name for path in images.paths] == list(
            np.array(data.class_names)[images.labels]
        )
