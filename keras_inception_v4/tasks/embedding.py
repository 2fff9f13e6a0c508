"""Features: what an artefact of the part before the head answers."""

import numpy as np

from keras_inception_v4.architecture import EMBEDDING
from keras_inception_v4.tasks.base import Comparison
from keras_inception_v4.tasks.regression import RANGE, SAME, Regression


class Embedding(Regression):
    """Each picture has features; nothing learns them, they are compared."""

    name = EMBEDDING
    value, outputs = "feature", "features"
    unit = " of six standard deviations of the features"
    decision = f"a feature is, within {SAME:g} of one,"
    same = f"features within {SAME:g} standard deviations"

    def compare(self, expected, found, thresholds=None):
        """Relative to the standard deviation of all features: one of them may hardly move."""
        apart = np.abs(expected - found)
        spread = np.sqrt(expected.var(axis=0).mean()) or 1.0
        return Comparison(
            float(apart.max()),
            float(apart.max() / spread / RANGE),
            float(np.mean(apart <= SAME * spread)),
            float(apart.mean() / spread),
        )
