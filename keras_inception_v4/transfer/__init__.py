"""From a trained network to a classifier of one's own: head on cached features, fine-tuning."""

from keras_inception_v4.transfer.building import transfer_model, unfreeze
from keras_inception_v4.transfer.fitting import fine_tune, train_head
from keras_inception_v4.transfer.run import train

__all__ = ["fine_tune", "train", "train_head", "transfer_model", "unfreeze"]
