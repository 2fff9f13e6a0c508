"""The curves of a run as TensorBoard shows them, on every backend."""

from pathlib import Path

import keras

from keras_inception_v4.errors import require_extra


def require_tensorboard():
    """Imports and returns `tensorboardX`, which writes what TensorBoard reads.

    Raises:
        ImportError: without it; the message names the extra.
    """
    return require_extra("tensorboardX", "TensorBoard's curves need", "tensorboardX", "tensorboard")


class Timeline(keras.callbacks.Callback):
    """Writes each epoch's loss, accuracy and learning rate as points of one timeline.

    Keras's own `TensorBoard` needs TensorFlow, and begins each fit at 0.

    Args:
        folder: for the event files.
        first: epochs of earlier phases.
    """

    def __init__(self, folder: Path, first: int = 0):
        super().__init__()
        self.folder, self.first = folder, first
        require_tensorboard()

    def on_epoch_end(self, epoch, logs=None):
        """Writes a point into a file of its own, which is closed: flushing leaves out the last."""
        point = self.first + epoch + 1
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        with require_tensorboard().SummaryWriter(
            str(self.folder), purge_step=point, filename_suffix=f".{point}"
        ) as writer:
            for name, value in {**(logs or {}), "learning_rate": rate}.items():
                writer.add_scalar(name, float(value), point)
