"""Options of a training, by name, and their defaults. It uses only the standard library."""

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""Environment variable; "1" enables oneDNN where TensorFlow does not. Read on its import."""

AUTO = "auto"  # chosen by `precision.fastest_precision`
AUGMENTATIONS = ("photographs", "symbols", "none")
RECIPES = {"adam": 5, "paper": 100, "paper-small": 8}
"""Names of the recipes in `recipes.RECIPES`, with their default number of epochs."""

BATCH_SIZE = 32
HEAD_EPOCHS, HEAD_RATE = 20, 1e-3
EPOCHS, RATE = 5, 1e-4  # of fine-tuning
FROM_ENDPOINT = "mixed_7a"
