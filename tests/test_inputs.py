"""All data that Keras's `fit` accepts: the same images in any form give the same head."""

import keras
import numpy as np
import pytest
from tiny import tiny

from keras_inception_v4 import evaluate, fine_tune, train_head, unfreeze
from keras_inception_v4.data.inputs import _counted, as_batches

BATCH = 8


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 3
    pixels = rng.uniform(0, 255, (20, 30, 30, 3)) * (1 + labels[:, None, None, None]) / 3
    return pixels.astype("float32"), labels


def parts(*arrays):
    return [tuple(a[i : i + BATCH] for a in arrays) for i in range(0, len(arrays[0]), BATCH)]


class Own(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.parts = parts(*arrays)

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, index):
        return self.parts[index]


def tensorflow(*arrays):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH)


def of_unknown_length(*arrays):
    return tensorflow(*arrays).filter(lambda *_: True)


def torch_loader(*arrays, iterable=False):
    utils = pytest.importorskip("torch.utils.data", reason="torch's DataLoader needs torch")
    import torch

    if not iterable:
        tensors = utils.TensorDataset(*map(torch.as_tensor, arrays))
        return utils.DataLoader(tensors, batch_size=BATCH)

    class Stream(utils.IterableDataset):
        def __iter__(self):
            return zip(*arrays, strict=True)

    return utils.DataLoader(Stream(), batch_size=BATCH)


def torch_stream(*arrays):
    return torch_loader(*arrays, iterable=True)


class Source:
    """Records as Grain reads them."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(array[index] for array in self.arrays)


def grain_map(*arrays):
    import grain

    return grain.MapDataset.source(Source(*arrays)).batch(BATCH)


def grain_iter(*arrays):
    return grain_map(*arrays).to_iter_dataset()


def grain_loader(*arrays):
    import grain

    sampler = grain.samplers.IndexSampler(len(arrays[0]), num_epochs=1)
    return grain.DataLoader(
        data_source=Source(*arrays), sampler=sampler, operations=[grain.transforms.Batch(BATCH)]
    )


def reiterable(*arrays):
    class Again:
        def __iter__(self):
            return iter(parts(*arrays))

    return Again()


def backend_tensors(*arrays):
    return tuple(keras.ops.convert_to_tensor(array) for array in arrays)


KINDS = {
    "arrays": lambda *arrays: arrays,
    "tensors of the backend": backend_tensors,
    "PyDataset": Own,
    "tf.data": tensorflow,
    "tf.data of unknown length": of_unknown_length,
    "torch DataLoader": torch_loader,
    "torch DataLoader of a stream": torch_stream,
    "grain.MapDataset": grain_map,
    "grain.IterDataset": grain_iter,
    "grain.DataLoader": grain_loader,
    "anything that can be iterated over": reiterable,
}
LABELS = {
    "int64": lambda labels: labels,
    "uint8": lambda labels: labels.astype("uint8"),
    "int32 in a column": lambda labels: labels.astype("int32")[:, None],
    "whole floats": lambda labels: labels.astype("float32"),
    "one-hot": lambda labels: np.eye(3, dtype="float32")[labels],
    "one-hot integers": lambda labels: np.eye(3, dtype="int64")[labels],
}


def head(data):
    model = tiny(size=30)
    train_head(model, data, epochs=2, batch_size=BATCH, learning_rate=0.01, verbose=0)
    return model.get_layer("predictions").get_weights()


@pytest.fixture(scope="module")
def expected(images):
    weights = np.linspace(0.1, 2, 20, dtype="float32")
    found = {False: head(images), True: head((*images, weights))}
    assert np.abs(found[False][0] - found[True][0]).max() > 1e-3
    return found, weights


@pytest.mark.backends
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_head(images, expected, kind, weighted):
    known, weights = expected
    arrays = (*images, weights) if weighted else images
    for found, wanted in zip(head(KINDS[kind](*arrays)), known[weighted], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["arrays", "grain.MapDataset"])
@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_every_kind(images, expected, kind, labels):
    data = KINDS[kind](images[0], LABELS[labels](images[1]))
    for found, wanted in zip(head(data), expected[0][False], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.backends
@pytest.mark.parametrize(
    ("kind", "weighted"), [*((kind, False) for kind in KINDS), ("arrays", True), ("tf.data", True)]
)
def test_every_kind_is_measured_and_fine_tuned(images, expected, kind, weighted):
    weights = expected[1]
    data = KINDS[kind](*images, weights) if weighted else KINDS[kind](*images)
    model = tiny(size=30)
    found = evaluate(model, data, batch_size=BATCH, verbose=False)
    answers = model.predict(_in_format(images[0]), verbose=0).argmax(axis=1)
    share = np.average(answers == images[1], weights=weights if weighted else None)
    assert found["accuracy"] == pytest.approx(share, abs=1e-6)
    assert found["images"] == 20
    history = fine_tune(
        unfreeze(model, "mixed_7d"), data, data, epochs=1, batch_size=BATCH, verbose=0
    ).history
    assert len(history["val_loss"]) == 1
    assert np.isfinite(history["loss"]).all()


def _in_format(pixels):
    first = keras.config.image_data_format() == "channels_first"
    return np.moveaxis(pixels, 3, 1) if first else pixels


@pytest.mark.parametrize("kind", list(KINDS)[2:])  # what has an order of its own
def test_a_fit_sees_the_batches_of_each_epoch_once(images, kind):
    """In order, however often Keras looks at the first ones for their shapes."""
    batches = as_batches(KINDS[kind](*images), tiny(size=30), BATCH)
    for epoch in range(2):
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        assert batches[steps[0]][1].tolist() == images[1][:BATCH].tolist()
        found = np.concatenate([batches[step][1] for step in steps])
        np.testing.assert_array_equal(found, images[1])


class TestRefused:
    def refuse(self, data, message):
        for work in (train_head, fine_tune, evaluate):
            with pytest.raises(ValueError, match=message):
                work(unfreeze(tiny(size=30), "mixed_7d"), data)

    @pytest.mark.parametrize("kind", ["tf.data", "grain.MapDataset", "grain.IterDataset"])
    def test_unbatched(self, images, kind):
        one = {
            "tf.data": lambda: tensorflow(*images).unbatch(),
            "grain.MapDataset": lambda: __import__("grain").MapDataset.source(Source(*images)),
            "grain.IterDataset": lambda: (
                __import__("grain").MapDataset.source(Source(*images)).to_iter_dataset()
            ),
        }[kind]()
        self.refuse(one, r"shape \(30, 30, 3\).*must be in batches")

    def test_endless(self, images):
        self.refuse(grain_map(*images).repeat(), "repeats without end")
        self.refuse(tensorflow(*images).repeat(), "repeats without end")

        class Endless(Own):
            num_batches = None

        self.refuse(Endless(*images), "PyDataset without end")
        with pytest.raises(ValueError, match="given 7 batches and not ended"):
            _counted(lambda _: iter(grain_map(*images).repeat().to_iter_dataset()), 7)

    def test_empty(self, images):
        nothing = tuple(array[:0] for array in images)
        self.refuse(nothing, "no images")
        self.refuse(Own(*nothing), "no images: the dataset is empty")
        self.refuse(reiterable(*nothing), "no images: the dataset is empty")

    def test_read_only_once(self, images):
        self.refuse(iter(parts(*images)), "only once, and every epoch needs them")
        only = iter(parts(*images))

        class Exhausted:
            def __len__(self):
                return 3

            def __iter__(self):
                return iter([*only])

        with pytest.raises(ValueError, match="ended after 0 of 3 batches"):
            fine_tune(unfreeze(tiny(size=30), "mixed_7d"), Exhausted(), epochs=2, verbose=0)

    def test_what_is_no_data(self, images):
        for data in (images[0], "photos", {"x": images[0]}, 5, parts(*images)[:1], None):
            self.refuse(data, "must be arrays")

    def test_other_shapes(self, images):
        pixels, labels = images
        self.refuse(
            (np.moveaxis(pixels, 3, 1), labels), "channels seem to come first: move them last"
        )
        self.refuse((pixels[:, :20], labels), r"\(20, 30, 3\).*takes .*\(30, 30, 3\)")
        self.refuse((pixels[..., :1], labels), r"\(30, 30, 1\).*\(30, 30, 3\)")
        self.refuse(Own(pixels[:, :20], labels), r"\(20, 30, 3\)")

    def test_labels_that_fit_nothing(self, images):
        pixels, labels = images
        self.refuse((pixels, np.full((20, 3), 1 / 3)), "not one-hot")
        self.refuse((pixels, np.ones((20, 3), int)), "not one-hot")
        self.refuse((pixels, np.eye(4)[labels]), r"shape \(20, 4\).*one-hot \(images, 3\)")
        self.refuse(Own(pixels, labels + 1), "labels from 1 to 3")

    @pytest.mark.parametrize("value", [-1, np.nan, np.inf])
    def test_weights_that_are_none(self, images, value):
        weights = np.ones(20)
        weights[3] = value
        for kind in ("arrays", "PyDataset"):
            self.refuse(KINDS[kind](*images, weights), "finite number of at least 0")
        self.refuse((*images, np.ones(19)), r"shape \(19,\) for 20 images")

    def test_weights_of_nothing(self, images):
        with pytest.raises(ValueError, match="nothing to measure"):
            evaluate(tiny(size=30), (*images, np.zeros(20)), verbose=0)


@pytest.mark.parametrize(("kind", "low"), [*((kind, -1) for kind in KINDS), ("arrays", 0)])
def test_scaled_pixels_are_warned_of_once(images, kind, low):
    pixels, labels = images
    data = KINDS[kind]((pixels / 255 * (1 - low) + low).astype("float32"), labels)
    for work, once in ((train_head, {"epochs": 1, "verbose": 0}), (evaluate, {})):
        with pytest.warns(UserWarning, match="raw pixels, 0 to 255, are expected") as told:
            work(tiny(size=30), data, **once)
        assert len([one for one in told if "raw pixels" in str(one.message)]) == 1
