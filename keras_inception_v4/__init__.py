"""Inception-v4 for Keras: the model, its weights, and what people do with them.

Names load at their first use (PEP 562), so importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "ENDPOINTS": "architecture",
    "InceptionV4": "model",
    "decode_predictions": "preprocessing",
    "export_saved_model": "export",
    "load_image": "preprocessing",
    "preprocess_input": "preprocessing",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from keras_inception_v4.architecture import ENDPOINTS as ENDPOINTS
    from keras_inception_v4.export import export_saved_model as export_saved_model
    from keras_inception_v4.model import InceptionV4 as InceptionV4
    from keras_inception_v4.preprocessing import decode_predictions as decode_predictions
    from keras_inception_v4.preprocessing import load_image as load_image
    from keras_inception_v4.preprocessing import preprocess_input as preprocess_input


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
