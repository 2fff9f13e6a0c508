"""Images and labels: sources, the scan of folders, splits, and batches in an order that repeats."""
