"""Images and labels: sources, the scan of folders, splits, and batches in an order that repeats."""

from keras_inception_v4.data.digits import digit_scans, load_digits_data
from keras_inception_v4.data.folders import (
    list_images,
    read_labelled_folder,
    refuse_problems,
    scan_images,
    sound_images,
)
from keras_inception_v4.data.inputs import all_labels, as_batches
from keras_inception_v4.data.layout import WHOLE, few, read_layout
from keras_inception_v4.data.pipeline import Batches, batched, pixel_batches, read_ahead
from keras_inception_v4.data.sources import (
    ImageFiles,
    Images,
    LabelledData,
    RandomCrops,
    split_indices,
)

__all__ = [
    "WHOLE",
    "Batches",
    "ImageFiles",
    "Images",
    "LabelledData",
    "RandomCrops",
    "all_labels",
    "as_batches",
    "batched",
    "digit_scans",
    "few",
    "list_images",
    "load_digits_data",
    "pixel_batches",
    "read_ahead",
    "read_labelled_folder",
    "read_layout",
    "refuse_problems",
    "scan_images",
    "sound_images",
    "split_indices",
]
