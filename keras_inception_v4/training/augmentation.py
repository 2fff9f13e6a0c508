"""Augmentation layers that go in front of a model and are active in training only."""

import keras
from keras import layers

from keras_inception_v4.architecture import PREPROCESSING
from keras_inception_v4.training.options import AUGMENTATIONS


def augmentation_layers(kind: str) -> list[layers.Layer]:
    """Return the augmentation layers of a kind; they take raw pixels and compute in float32.

    Args:
        kind: `"photographs"` mirrors, shifts, turns and zooms. `"symbols"` shifts, turns and
            zooms a little; it is for digits, letters and signs, which mirroring would change.
            `"none"` does nothing.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind == "none":
        return []
    if kind == "symbols":
        edge = {"fill_mode": "constant", "dtype": "float32"}
        return [
            layers.RandomTranslation(0.03, 0.03, name="augment_shift", **edge),
            layers.RandomRotation(0.01, name="augment_turn", **edge),
            layers.RandomZoom(0.03, 0.03, name="augment_zoom", **edge),
        ]
    if kind == "photographs":
        edge = {"fill_mode": "reflect", "dtype": "float32"}
        return [
            layers.RandomFlip("horizontal", name="augment_mirror", dtype="float32"),
            layers.RandomTranslation(0.1, 0.1, name="augment_shift", **edge),
            layers.RandomRotation(0.03, name="augment_turn", **edge),
            layers.RandomZoom(0.1, 0.1, name="augment_zoom", **edge),
        ]
    raise ValueError(f"Received augmentation {kind!r}. Allowed are {', '.join(AUGMENTATIONS)}.")


def augmentation_of(model: keras.Model) -> list[layers.Layer]:
    """Return the layers of a model that change raw pixels before scaling, in order."""
    names = [layer.name for layer in model.layers]
    before = names.index(PREPROCESSING) if PREPROCESSING in names else 0
    return [x for x in model.layers[:before] if not isinstance(x, layers.InputLayer)]
