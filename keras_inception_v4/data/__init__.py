"""Images and labels: the embedded digits, folders and their scan, batches in order."""

from keras_inception_v4.data.arrays import Images, LabelledData, RandomCrops, split_indices
from keras_inception_v4.data.batches import (
    Batches,
    ReadAhead,
    as_batches,
    check_labels,
    count_batches,
    each_batch,
    read_ahead,
)
from keras_inception_v4.data.digits import DIGITS_CROP, digit_scans, load_digits_data
from keras_inception_v4.data.folders import (
    ImageFiles,
    list_images,
    read_labelled_folder,
    scan_images,
    sound_images,
)
from keras_inception_v4.data.indexed import indexed_dataset
from keras_inception_v4.data.layout import read_layout

__all__ = [
    "DIGITS_CROP",
    "Batches",
    "ImageFiles",
    "Images",
    "LabelledData",
    "RandomCrops",
    "ReadAhead",
    "as_batches",
    "check_labels",
    "count_batches",
    "digit_scans",
    "each_batch",
    "indexed_dataset",
    "list_images",
    "load_digits_data",
    "read_ahead",
    "read_labelled_folder",
    "read_layout",
    "scan_images",
    "sound_images",
    "split_indices",
]
