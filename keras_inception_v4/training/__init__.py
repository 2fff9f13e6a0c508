"""How weights move: a head on cached features, fine-tuning, from scratch."""
