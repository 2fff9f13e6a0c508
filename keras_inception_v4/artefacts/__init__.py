"""Exported artefacts, opened in their own runtimes without importing Keras or TensorFlow."""

from keras_inception_v4.artefacts.description import (
    PAGE,
    PARTS,
    Description,
    describe,
    page_network,
    write_description,
)
from keras_inception_v4.artefacts.runtimes import (
    Artefact,
    format_of,
    is_artefact,
    open_artefact,
    require_runtime,
)

__all__ = [
    "PAGE",
    "PARTS",
    "Artefact",
    "Description",
    "describe",
    "format_of",
    "is_artefact",
    "open_artefact",
    "page_network",
    "require_runtime",
    "write_description",
]
