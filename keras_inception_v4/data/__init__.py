"""Images and labels: sources, folder scans, splits, and batches in a reproducible order."""

import importlib

from absl import logging

verbosity = logging.get_verbosity()
logging.set_verbosity(logging.ERROR)
try:
    importlib.import_module("grain")  # without JAX it logs a warning about its profiler
finally:
    logging.set_verbosity(verbosity)
del verbosity
