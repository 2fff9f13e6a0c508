"""The settings of a training in the reference, as they stand in the docstring of `train`."""

import griffe

from keras_inception_v4.runs.settings import documented


class SettingsExtension(griffe.Extension):
    """Fill in the settings of `train`, as its import does."""

    def on_function(self, *, func, **_):
        """Replace the placeholder of the settings."""
        if func.docstring is not None:
            func.docstring.value = func.docstring.value.replace("{settings}", documented())
