"""Search for duplicate pictures, even if their files differ in size or encoding."""

from collections.abc import Iterator

import numpy as np

BANDS, BITS = 5, 13  # 5 bands of 13 bits cover the 64 bits of a hash
DISTANCE = BANDS - 1  # most bits in which two hashes may differ; at least one band is then equal
DIFFERENCE = 5.0  # grey levels: largest mean difference of two thumbnails
ROWS = 2**20  # pairs compared at a time


def near_pairs(hashes: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Find pairs of pictures that look alike.

    Args:
        hashes: Perceptual hashes, uint64, shape `(pictures,)`.
        small: Thumbnails of the pictures, uint8, shape `(pictures, height, width, 3)`.

    Returns:
        Indices of shape `(pairs, 2)`, the lower one first, each pair once. The hashes of a pair
        differ by at most `DISTANCE` bits, and its thumbnails by at most `DIFFERENCE` on average.
    """
    found = []
    for pairs in _candidates(hashes):
        a, b = pairs.T
        pairs = pairs[np.bitwise_count(hashes[a] ^ hashes[b]) <= DISTANCE]
        for start in range(0, len(pairs), ROWS // 16):
            a, b = pairs[start : start + ROWS // 16].T
            apart = np.abs(small[a].astype("int16") - small[b]).mean(axis=(1, 2, 3))
            found.append(pairs[start : start + ROWS // 16][apart <= DIFFERENCE])
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), "int64")


def _candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pairs with an equal band of bits; all pairs within `DISTANCE` are among them."""
    for band in range(BANDS):
        keys = (hashes >> np.uint64(band * BITS)) & np.uint64(2**BITS - 1)
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(np.diff(keys[order])) + 1
        for group in np.split(order, edges):
            if len(group) < 2:
                continue
            group = np.sort(group)
            rows = max(1, ROWS // len(group))
            for start in range(0, len(group) - 1, rows):
                first = np.arange(start, min(start + rows, len(group)))
                a, b = np.meshgrid(first, np.arange(len(group)), indexing="ij")
                later = b > a
                yield np.stack([group[a[later]], group[b[later]]], axis=1)


def groups_of(pairs: np.ndarray, count: int) -> list[np.ndarray]:
    """Group pictures that are connected by pairs.

    Args:
        pairs: Indices of shape `(pairs, 2)`.
        count: Number of all pictures.

    Returns:
        Sorted indices of each group of at least two pictures.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    members = np.unique(pairs)
    by_group: dict[int, list[int]] = {}
    for index in members:
        by_group.setdefault(component[index], []).append(index)
    return [np.array(group) for group in by_group.values()]
