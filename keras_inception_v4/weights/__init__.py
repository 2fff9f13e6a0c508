"""Loading of weights from all supported formats into a model, by layer name."""
