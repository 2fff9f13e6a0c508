import numpy as np
import pytest

from keras_inception_v4.data import Batches, Images, digit_scans, load_digits_data, split_indices


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


def order(batches):
    return [int(label) for index in range(len(batches)) for label in batches[index][1]]


def test_the_order_is_a_function_of_seed_and_epoch():
    images = Images(np.arange(10, dtype="float32").reshape(10, 1, 1, 1), np.arange(10))
    first, second = Batches(images, 4, seed=1), Batches(images, 4, seed=1)
    assert len(first) == 3
    assert [len(first[index][1]) for index in range(3)] == [4, 4, 2]
    epochs = []
    for batches in (first, second):
        orders = []
        for _ in range(3):
            orders.append(order(batches))
            batches.on_epoch_end()
        epochs.append(orders)
    assert epochs[0] == epochs[1]
    assert len(set(map(tuple, epochs[0]))) == 3
    assert all(sorted(one) == list(range(10)) for one in epochs[0])
    assert order(Batches(images, 4, seed=2)) != epochs[0][0]
    assert order(Batches(images, 4)) == list(range(10))
    pixels, labels = first[1]
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], labels)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"keras-inception-v4\[demo\]"):
        digit_scans()
