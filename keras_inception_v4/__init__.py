"""Inception-v4 for Keras: the model, its weights, and tools for training, explaining and exporting.

Public names are imported on first use (PEP 562), so importing the package is cheap.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_HOME = {
    "ENDPOINTS": "architecture",
    "IMAGENET": "weights.imagenet",
    "InceptionV4": "model",
    "calibrate": "training.calibrating",
    "class_activation_map": "explain",
    "convert_weights": "convert",
    "decode_predictions": "preprocessing",
    "embed": "features",
    "evaluate": "evaluation",
    "export_model": "export",
    "export_saved_model": "export",
    "faithfulness": "explain",
    "feature_extractor": "features",
    "fine_tune": "training.fine_tuning",
    "grad_cam": "explain",
    "load_image": "preprocessing",
    "load_weights": "weights.loading",
    "occlusion_map": "explain",
    "open_artefact": "artefacts",
    "overlay": "explain",
    "preprocess_input": "preprocessing",
    "train": "runs.run",
    "train_head": "training.head",
    "transfer_model": "training.building",
    "unfreeze": "training.building",
    "with_auxiliary_head": "auxiliary",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from keras_inception_v4.architecture import ENDPOINTS as ENDPOINTS
    from keras_inception_v4.artefacts import open_artefact as open_artefact
    from keras_inception_v4.auxiliary import with_auxiliary_head as with_auxiliary_head
    from keras_inception_v4.convert import convert_weights as convert_weights
    from keras_inception_v4.evaluation import evaluate as evaluate
    from keras_inception_v4.explain import class_activation_map as class_activation_map
    from keras_inception_v4.explain import faithfulness as faithfulness
    from keras_inception_v4.explain import grad_cam as grad_cam
    from keras_inception_v4.explain import occlusion_map as occlusion_map
    from keras_inception_v4.explain import overlay as overlay
    from keras_inception_v4.export import export_model as export_model
    from keras_inception_v4.export import export_saved_model as export_saved_model
    from keras_inception_v4.features import embed as embed
    from keras_inception_v4.features import feature_extractor as feature_extractor
    from keras_inception_v4.model import InceptionV4 as InceptionV4
    from keras_inception_v4.preprocessing import decode_predictions as decode_predictions
    from keras_inception_v4.preprocessing import load_image as load_image
    from keras_inception_v4.preprocessing import preprocess_input as preprocess_input
    from keras_inception_v4.runs.run import train as train
    from keras_inception_v4.training.building import transfer_model as transfer_model
    from keras_inception_v4.training.building import unfreeze as unfreeze
    from keras_inception_v4.training.calibrating import calibrate as calibrate
    from keras_inception_v4.training.fine_tuning import fine_tune as fine_tune
    from keras_inception_v4.training.head import train_head as train_head
    from keras_inception_v4.weights.imagenet import IMAGENET as IMAGENET
    from keras_inception_v4.weights.loading import load_weights as load_weights


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
