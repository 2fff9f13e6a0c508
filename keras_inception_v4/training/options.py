"""What can be chosen in a training, by name, and the defaults; standard library only."""

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""TensorFlow reads it when it is imported; "1" switches oneDNN on where it leaves that off."""

AUTO = "auto"  # `precision.fastest_precision`
AUGMENTATIONS = ("photographs", "symbols", "none")
RECIPES = {"adam": 5, "paper": 100, "paper-small": 8}
"""Recipes of `recipes.RECIPES`, with the passes over the images that they make unless told."""

BATCH_SIZE = 32
HEAD_EPOCHS, HEAD_RATE = 20, 1e-3
EPOCHS, RATE = 5, 1e-4  # of fine-tuning
FROM_ENDPOINT = "mixed_7a"
