"""Images and labels: sources, the scan of folders, splits, and batches in an order that repeats."""

import importlib

from absl import logging

verbosity = logging.get_verbosity()
logging.set_verbosity(logging.ERROR)
try:
    importlib.import_module("grain")  # without JAX it warns that it has no profiler
finally:
    logging.set_verbosity(verbosity)
del verbosity
