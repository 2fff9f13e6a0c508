"""What is wrong with a data set, before a training learns it."""

from keras_inception_v4.audit.auditing import Audit, audit

__all__ = ["Audit", "audit"]
