"""The settings of a training in the reference, as they stand in the docstring of `train`."""

import griffe

from keras_inception_v4.runs.settings import documented


class SettingsExtension(griffe.Extension):
    """Fills in what `train` fills in when it is imported."""

    def on_function(self, *, func, **_):
        """Replaces the place where they belong."""
        if func.docstring is not None:
            func.docstring.value = func.docstring.value.replace("{settings}", documented())
