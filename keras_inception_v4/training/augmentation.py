"""Random changes of training images, as layers in front of a model; active in training only."""

import keras
from keras import layers

from keras_inception_v4.architecture import PREPROCESSING
from keras_inception_v4.training.options import AUGMENTATIONS


def augmentation_layers(kind: str) -> list[layers.Layer]:
    """Layers on raw pixels, in float32.

    Args:
        kind: `"photographs"` mirrors, shifts, turns and zooms; `"symbols"` (digits,
            letters, signs, whose mirror image is another) shifts, turns and zooms a
            little; `"none"` does nothing.

    Raises:
        ValueError: for another kind.
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
    """The layers of a model that change raw pixels before they are scaled, in order."""
    names = [layer.name for layer in model.layers]
    before = names.index(PREPROCESSING) if PREPROCESSING in names else 0
    return [x for x in model.layers[:before] if not isinstance(x, layers.InputLayer)]
