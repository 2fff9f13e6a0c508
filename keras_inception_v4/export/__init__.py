"""Artefacts for servers and devices."""

from keras_inception_v4.export.saved_model import export_saved_model

__all__ = ["export_saved_model"]
