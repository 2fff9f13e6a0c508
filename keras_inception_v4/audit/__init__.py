"""Audit of a labelled dataset: problems to find before training."""

from keras_inception_v4.audit.auditing import Audit, audit

__all__ = ["Audit", "audit"]
