import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_inception_v4 import load_image
from keras_inception_v4.data.digits import digit_scans, load_digits_data
from keras_inception_v4.data.folders import read_labelled_folder
from keras_inception_v4.data.pipeline import batched
from keras_inception_v4.data.sources import ImageFiles, Images, RandomCrops
from keras_inception_v4.data.splits import split_indices
from keras_inception_v4.training.feeding import EpochSteps, indexed_dataset
from keras_inception_v4.training.fitting import fit


def test_digits_are_whole_scans_in_color_and_range():
    data = load_digits_data(76, seed=3)
    assert data.class_names == list("0123456789")
    assert len(data.train) + len(data.validation) == 1797
    assert data.train.pixels.shape == (1437, 76, 76, 3)
    assert data.train.pixels.dtype == np.float32
    assert data.train.pixels.min() == 0
    assert data.train.pixels.max() == 255
    assert data.crop == 1.0


def test_scans_are_eight_bit():
    scans, labels = digit_scans()
    assert scans.shape == (1797, 8, 8)
    assert (scans.dtype, scans.min(), scans.max()) == (np.uint8, 0, 255)
    assert set(labels) == set(range(10))


def test_the_split_is_stratified_seeded_and_complete():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    train, held_out = split_indices(labels, 0.2, seed=1)
    assert sorted([*train, *held_out]) == list(range(160))
    assert np.bincount(labels[held_out]).tolist() == [20, 10, 2]
    again, _ = split_indices(labels, 0.2, seed=1)
    other, _ = split_indices(labels, 0.2, seed=2)
    np.testing.assert_array_equal(train, again)
    assert list(train) != list(other)


def order(batches, epoch=0):
    first = epoch * len(batches)
    return [int(label) for step in range(len(batches)) for label in batches[first + step][1]]


def test_the_order_is_a_function_of_seed_and_epoch():
    images = Images(np.arange(10, dtype="float32").reshape(10, 1, 1, 1), np.arange(10))
    first, second = batched(images, 4, seed=1), batched(images, 4, seed=1)
    assert len(first) == 3
    assert [len(first[step][1]) for step in range(6)] == [4, 4, 2] * 2
    epochs = [order(first, epoch) for epoch in range(3)]
    assert [order(second, epoch) for epoch in (2, 1, 0)] == epochs[::-1]
    assert len(set(map(tuple, epochs))) == 3
    assert all(sorted(one) == list(range(10)) for one in epochs)
    assert order(batched(images, 4, seed=2)) != epochs[0]
    assert order(batched(images, 4), 5) == list(range(10))
    pixels, labels = first[1]
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], labels)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"keras-inception-v4\[demo\]"):
        digit_scans()


@pytest.fixture
def photos(tmp_path):
    """Three classes of 2, 4 and 10 images, one of them in a subfolder of its class."""
    rng = np.random.default_rng(0)
    for name, count in (("ant", 2), ("bee", 4), ("cat", 10)):
        for index in range(count):
            path = tmp_path / "photos" / name / ("deep" if index == 0 else "") / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (30, 40, 3), "uint8")).save(path)
    return tmp_path / "photos"


def read(folder, **arguments):
    return read_labelled_folder(folder, (20, 24), crop=1.0, verbose=False, **arguments)


class TestLabelledFolder:
    def test_one_folder_is_split_by_class(self, photos):
        data = read(photos, validation_split=0.25, seed=1)
        assert data.class_names == ["ant", "bee", "cat"]
        assert np.bincount(data.train.labels).tolist() == [1, 3, 7]
        assert np.bincount(data.validation.labels).tolist() == [1, 1, 3]
        assert not set(data.train.paths) & set(data.validation.paths)
        assert read(photos, validation_split=0.25, seed=1).listing() == data.listing()
        assert read(photos, validation_split=0.25, seed=2).listing() != data.listing()
        for path, label in zip(data.train.paths, data.train.labels, strict=True):
            assert data.class_names[label] in path.parts
        pixels = data.train.take([2, 0])
        assert pixels.shape == (2, 20, 24, 3)
        np.testing.assert_array_equal(pixels[1], load_image(data.train.paths[0], (20, 24), 1.0))

    def test_train_and_validation_inside(self, photos, tmp_path):
        for part in ("train", "validation"):
            shutil.copytree(photos, tmp_path / "both" / part)
        data = read(tmp_path / "both")
        assert len(data.train) == len(data.validation) == 16
        assert "train" in data.train.paths[0].parts
        assert "validation" in data.validation.paths[0].parts
        assert data.listing()["train"]["ant"] == ["ant/1.png", "ant/deep/0.png"]
        shutil.move(tmp_path / "both/validation/cat", tmp_path / "both/validation/dog")
        with pytest.raises(ValueError, match=r"only in train \['cat'\], only in validation .*dog"):
            read(tmp_path / "both")

    def test_what_cannot_be_used_is_listed_or_left_out(self, photos):
        (photos / "README.md").write_text("about the photos")
        (photos / "cat" / "3.png").write_bytes(b"")
        (photos / "cat" / "notes.txt").write_text("no image")
        (photos / "ant" / "1.png").unlink()
        (photos / "dog").mkdir()
        with pytest.raises(ValueError, match=r"5 files or classes cannot be used") as caught:
            read(photos)
        for text in ("3.png cannot be read", "notes.txt cannot be read", "README.md is in no class",
                     "class 'ant' has one readable image", "class 'dog' has no readable image",
                     "--skip-corrupt"):  # fmt: skip
            assert text in str(caught.value)
        data = read(photos, skip_corrupt=True)
        assert data.class_names == ["bee", "cat"]
        assert len(data.left_out) == 5
        assert len(data.train) + len(data.validation) == 4 + 9

    def test_folders_that_are_no_data(self, photos, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no folder .*gone"):
            read(tmp_path / "gone")
        with pytest.raises(ValueError, match="no subfolders"):
            read(photos / "bee" / "deep")
        (tmp_path / "empty" / "a").mkdir(parents=True)
        with pytest.raises(ValueError, match="holds no images"):
            read(tmp_path / "empty")
        shutil.copytree(photos / "bee", tmp_path / "one" / "bee")
        with pytest.raises(ValueError, match="one class, 'bee'"):
            read(tmp_path / "one")
        with pytest.raises(ValueError, match="a file, not a folder"):
            read(photos / "bee" / "1.png")

    @pytest.mark.parametrize("share", [0, 1, -0.5, 0.9])
    def test_a_share_that_leaves_nothing(self, photos, share):
        with pytest.raises(ValueError, match=f"validation_split={share}"):
            read(photos, validation_split=share)


def test_a_rare_class_is_on_both_sides():
    labels = np.repeat([0, 1], [200, 2])
    train, held_out = split_indices(labels, 0.1, seed=0)
    assert np.bincount(labels[train])[1] == np.bincount(labels[held_out])[1] == 1
    assert sorted([*train, *held_out]) == list(range(202))


def numbered(count):
    """Images whose only pixel is their index, and whose label it is too."""
    return Images(np.arange(count, dtype="float32").reshape(count, 1, 1, 1), np.arange(count))


def test_processes_share_each_batch_in_order():
    whole = batched(numbered(10), 4, seed=1, last="dropped")
    parts = [batched(numbered(10), 4, seed=1, last="dropped", part=(i, 2)) for i in range(2)]
    assert [len(batches) for batches in (whole, *parts)] == [2, 2, 2]
    for step in range(6):
        shares = [batches[step] for batches in parts]
        assert [len(labels) for _, labels in shares] == [2, 2]
        np.testing.assert_array_equal(
            np.concatenate([pixels for pixels, _ in shares]), whole[step][0]
        )


def test_a_last_batch_is_left_out_or_filled():
    dropped = batched(numbered(10), 4, last="dropped")
    assert len(dropped) == 2
    assert sum(len(dropped[i][1]) for i in range(len(dropped))) == 8
    padded = batched(numbered(10), 4, last="padded")
    assert len(padded) == 3
    pixels, labels, weights = padded[2]
    assert (len(pixels), labels.tolist()) == (4, [8, 9, 0, 1])
    np.testing.assert_allclose(weights, [1.2, 1.2, 0, 0])
    sums = [np.mean(weights * labels) for _, labels, weights in (padded[i] for i in range(3))]
    assert np.mean(sums) == pytest.approx(4.5)  # as the mean over the ten
    part = batched(numbered(10), 4, last="padded", part=(1, 2))
    np.testing.assert_allclose(part[2][2], [0, 0])


def test_weights_come_along():
    images = Images(np.zeros((5, 1, 1, 1)), np.arange(5), np.arange(5) / 2)
    for last in ("short", "padded"):
        _, labels, weights = batched(images, 5, seed=3, last=last)[0]
        np.testing.assert_allclose(weights, labels / 2)


@pytest.mark.parametrize("epoch", [0, 5])
def test_reading_ahead_changes_no_order(epoch):
    batches = batched(numbered(10), 3, seed=2)
    expected = [order(batches, epoch)[3 * step : 3 * step + 3] for step in range(4)]
    steps = EpochSteps(batches)
    steps.begin(epoch)
    steps[0]  # Keras looks at the first batch, then begins anew
    assert [steps[index][1].tolist() for index in range(4)] == expected
    assert [steps[index][1].tolist() for index in (2, 1, 0)] == expected[2::-1]  # not in turn
    steps.begin(epoch, 2)
    assert len(steps) == 2
    assert [steps[index][1].tolist() for index in range(2)] == expected[2:]


def test_an_error_while_reading_ahead_is_raised_in_its_turn():
    class Damaged(Images):
        def take(self, indices):
            if 5 in indices:
                raise ValueError("photo.jpg cannot be read")
            return super().take(indices)

    images = numbered(10)
    reading = batched(Damaged(images.pixels, images.labels), 2).each()
    assert [next(reading)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match=r"photo\.jpg"):
        next(reading)


def test_crops_are_a_function_of_seed_epoch_and_image(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (50, 60, 3), "uint8")).save(path)
    files = ImageFiles(paths, np.arange(3), (40, 40), 0.875)

    def crops(source, seed, step, batch_size=3):
        """By image, whatever the order."""
        batches = batched(RandomCrops(source, (40, 40), "photographs"), batch_size, seed=seed)
        taken = [batches[step * len(batches) + index] for index in range(len(batches))]
        return {n: one for pixels, numbers in taken for n, one in zip(numbers, pixels, strict=True)}

    first = crops(files, 1, 0)
    assert first[0].shape == (40, 40, 3)
    for seed, step, batch_size in ((1, 0, 1), (1, 0, 2), (1, 1, 3), (2, 0, 3)):
        for number, pixels in crops(files, seed, step, batch_size).items():
            if (seed, step) == (1, 0):
                np.testing.assert_array_equal(pixels, first[number])
            else:
                assert np.abs(pixels - first[number]).mean() > 5
    pixels = Images(np.stack([np.asarray(Image.open(p), "float32") for p in paths]), np.arange(3))
    for number, found in crops(pixels, 1, 0).items():
        np.testing.assert_allclose(found, first[number], atol=1e-3)
    with pytest.raises(ValueError, match="need a seed"):
        batched(RandomCrops(files, (40, 40), "symbols"), 3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
class TestIndexedDataset:
    def test_it_gives_the_batches_of_each_epoch(self):
        images = Images(np.arange(7 * 4 * 4 * 3, dtype="float32").reshape(7, 4, 4, 3), np.arange(7))
        plain = batched(images, 3, seed=1)
        both = plain.map(lambda batch, index: (batch[0], {"a": batch[1], "b": batch[1]}))
        for batches in (plain, both, batched(images, 3, seed=1, last="padded")):
            steps = EpochSteps(batches)
            dataset = indexed_dataset(steps, (None, 4, 4, 3))
            assert len(dataset) == 3
            orders = []
            for epoch in (0, 5):
                steps.begin(epoch)
                found = list(dataset.as_numpy_iterator())
                for step, one in zip(steps.steps, found, strict=True):
                    keras.tree.map_structure(np.testing.assert_array_equal, one, batches[step])
                orders.append(np.concatenate([one[0][:, 0, 0, 0] for one in found]).tolist())
            assert orders[0] != orders[1]
            assert dataset.element_spec[0].shape == (None, 4, 4, 3)

    def test_a_fit_leaves_the_allocator_alone(self):
        """A generator, which Keras makes of a PyDataset, would make it give blocks back."""
        import tensorflow as tf

        seen = []

        class Spy(keras.Model):
            def fit(self, x, *, validation_data, **arguments):
                seen.extend((x, validation_data))
                return super().fit(x, validation_data=validation_data, **arguments)

        inputs = keras.Input((4, 4, 3))
        model = Spy(inputs, keras.layers.Dense(7)(keras.layers.Flatten()(inputs)))
        images = Images(np.ones((7, 4, 4, 3), "float32"), np.arange(7))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.SGD(0.1)
        fit(model, batched(images, 3, seed=1), batched(images, 3), epochs=2, optimizer=optimizer,
            loss=loss, verbose=0)  # fmt: skip
        assert len(seen) == 2
        assert all(isinstance(one, tf.data.Dataset) for one in seen)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_a_fit_traces_its_step_once(self, weighted):
        traced = []

        class Spy(keras.Model):
            def train_step(self, data):
                traced.append(data)
                return super().train_step(data)

        inputs = keras.Input((4, 4, 3))
        outputs = keras.layers.Dense(7, activation="softmax")(keras.layers.Flatten()(inputs))
        images = Images(np.ones((6, 4, 4, 3), "float32"), np.arange(6))
        train = batched(images, 3, seed=1, last="padded" if weighted else "short")
        history = fit(
            Spy(inputs, outputs), train, None, epochs=2, optimizer=keras.optimizers.Adam(0.1),
            loss="sparse_categorical_crossentropy", verbose=0,
        )  # fmt: skip
        assert len(traced) == 1
        assert len(history.history["accuracy"]) == 2
