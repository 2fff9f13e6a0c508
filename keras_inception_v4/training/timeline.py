"""TensorBoard curves of a run, on every backend."""

from pathlib import Path

import keras

from keras_inception_v4.errors import require_extra


def require_tensorboard():
    """Import and return `tensorboardX`, which writes files for TensorBoard.

    Raises:
        ImportError: If it is not installed. The message names the extra.
    """
    return require_extra("tensorboardX", "TensorBoard's curves need", "tensorboardX", "tensorboard")


class Timeline(keras.callbacks.Callback):
    """Callback that writes each epoch's loss, metrics and learning rate to one timeline.

    Keras's own `TensorBoard` needs TensorFlow, and starts each fit at epoch 0.

    Args:
        folder: Folder for the event files.
        first: Number of epochs in earlier phases.
    """

    def __init__(self, folder: Path, first: int = 0):
        super().__init__()
        self.folder, self.first = folder, first
        require_tensorboard()

    def on_epoch_end(self, epoch, logs=None):
        """Write the epoch to a new file and close it, as flushing a file omits the last point."""
        point = self.first + epoch + 1
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        with require_tensorboard().SummaryWriter(
            str(self.folder), purge_step=point, filename_suffix=f".{point}"
        ) as writer:
            for name, value in {**(logs or {}), "learning_rate": rate}.items():
                writer.add_scalar(name, float(value), point)
