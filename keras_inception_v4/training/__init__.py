"""Training: a head on cached features, fine-tuning, and training from scratch."""
