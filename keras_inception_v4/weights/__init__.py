"""Weights from every source into a model, by layer name."""
