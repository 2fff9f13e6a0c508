"""The task of an exported embedding: its outputs are features."""

import numpy as np

from keras_inception_v4.architecture import EMBEDDING
from keras_inception_v4.tasks.base import Comparison
from keras_inception_v4.tasks.regression import RANGE, SAME, Regression


class Embedding(Regression):
    """Features of each image. They are compared, not learned."""

    name = EMBEDDING
    value, outputs = "feature", "features"
    unit = " of six standard deviations of the features"
    decision = f"a feature is, within {SAME:g} standard deviations,"
    same = f"features within {SAME:g} standard deviations"

    def compare(self, expected, found, thresholds=None):
        """Compare relative to the deviation of all features, since a single one may hardly vary."""
        apart = np.abs(expected - found)
        spread = np.sqrt(expected.var(axis=0).mean()) or 1.0
        return Comparison(
            float(apart.max()),
            float(apart.max() / spread / RANGE),
            float(np.mean(apart <= SAME * spread)),
            float(apart.mean() / spread),
        )
