"""Export of models to artefacts for servers and devices, verified before they are kept."""

from keras_inception_v4.export.command import export_file, next_version
from keras_inception_v4.export.formats import EXPORTS, export_model
from keras_inception_v4.export.saved_model import export_saved_model

__all__ = ["EXPORTS", "export_file", "export_model", "export_saved_model", "next_version"]
