"""A run: one training from settings to report, in a folder that can be resumed."""
