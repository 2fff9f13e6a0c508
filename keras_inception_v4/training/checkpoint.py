"""Checkpoints: one file with all that a fit needs to resume after an epoch or inside one.

Keras's own BackupAndRestore saves no state of seed generators and does not write atomically.
A run that it resumes draws different dropout and augmentation.
"""

import json
from pathlib import Path

import keras
import numpy as np

from keras_inception_v4.files import write_tensors

STOPPING = ("wait", "best", "best_epoch", "stopped_epoch")


class Checkpoint(keras.callbacks.Callback):
    """Callback that saves weights, optimizer, seed generators and history atomically.

    It writes after each epoch, and on request inside an epoch. A file from inside an epoch also
    holds the metrics so far and the step, which identifies the next batch.

    Layers that are not trained are left out. The model must be rebuilt before it is resumed.

    Args:
        path: File that is replaced at each write.
        arguments: Arguments of the fit, as JSON values, with `batches`, the steps per epoch. A
            file with other arguments is rejected.
        stopping: Early stopping whose state is saved too. It must come before this callback in
            the list of callbacks.
        every: Steps between writes inside an epoch. `None` writes after epochs only.
        writes: Whether this process writes the file. Every process reads it.
    """

    def __init__(
        self,
        path: Path,
        arguments: dict,
        stopping: keras.callbacks.EarlyStopping | None = None,
        *,
        every: int | None = None,
        writes: bool = True,
    ):
        super().__init__()
        self.arguments = arguments
        self.path = path
        self.stopping = stopping
        self.every = every
        self.writes = writes
        self.epochs = 0  # finished epochs
        self.step = 0  # finished steps of the next epoch
        self.history: dict[str, list[float]] = {}
        self.done = False
        self._first = 0  # step of the epoch at which this fit began
        self._stopped = False
        self._stopping_state: dict | None = None
        self._random_state: dict[str, np.ndarray] = {}
        self._measures: dict[str, np.ndarray] = {}

    def first_epoch(self, epochs: int) -> int:
        """Return the epoch at which a fit resumes; `epochs` if it had stopped early."""
        return epochs if self._stopped else min(self.epochs, epochs)

    def restore(self, model: keras.Model) -> None:
        """Load the saved state into a compiled model, if the file exists.

        Raises:
            ValueError: If the file is damaged, or belongs to another model or another fit.
        """
        if not self.path.exists():
            return
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                state = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path} cannot be read as a checkpoint ({error}). Delete it and "
                "rerun the same command to start this phase again."
            ) from error
        if state["arguments"] != self.arguments:
            raise ValueError(
                f"{self.path} belongs to a fit with other arguments: {state['arguments']} there "
                f"and {self.arguments} here. Choose another folder, or delete it to start again."
            )
        variables = _moving(model, weights_only=state["done"])
        self._random_state, self._measures, best = (
            {name: tensors.pop(name) for name in list(tensors) if name.startswith(kind)}
            for kind in ("random/", "measure/", "best/")
        )
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise ValueError(
                f"{self.path} is a checkpoint of another model. Delete it or choose another folder."
            )
        for name, variable in variables.items():
            variable.assign(tensors[name])
        self.epochs, self.history = state["epochs"], state["history"]
        self.step = state.get("step", 0)
        self.done, self._stopped = state["done"], state["stopped"]
        if state["stopping"] is not None:
            weights = model.get_weights()
            for index, name in enumerate(_weight_names(model)):
                weights[index] = best.get(f"best/{name}", weights[index])
            self._stopping_state = {
                **state["stopping"],
                "best_weights": weights if best else None,
            }

    def on_train_begin(self, logs=None):
        """Restore the early stopping's state, which it resets when training begins."""
        if self._stopping_state is not None:
            for name, value in self._stopping_state.items():
                setattr(self.stopping, name, value)

    def on_epoch_begin(self, epoch, logs=None):
        """Restore the metrics and, at step 0, the backend's own random generator."""
        self._first = self.step
        if not self.step:
            self._restore_generator()
        for name, variable in _measures(self.model).items() if self._measures else ():
            variable.assign(self._measures[name])
        self._measures = {}

    def on_train_batch_begin(self, batch, logs=None):
        """Restore the random generator of a fit that resumes inside an epoch.

        PyTorch's data loader draws from it when the epoch begins, so it is restored after that.
        """
        self._restore_generator()

    def _restore_generator(self) -> None:
        if self._random_state:
            _set_random_state(self._random_state)
            self._random_state = {}

    def on_train_batch_end(self, batch, logs=None):
        """Count the step, and save the state if it is due."""
        self.step = self._first + batch + 1
        last = self.step == self.arguments["batches"]  # `on_epoch_end` saves this one
        if self.every is not None and self.step % self.every == 0 and not last:
            self._write()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history and save the state."""
        self.epochs, self.step = epoch + 1, 0
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self._write()

    def finish(self) -> None:
        """Mark the fit as finished and save its final weights."""
        self.done = True
        self._write()

    def _write(self) -> None:
        if not self.writes:
            return
        tensors = {
            name: np.asarray(keras.ops.convert_to_numpy(variable), order="C")
            for name, variable in _moving(self.model, weights_only=self.done).items()
        }
        if not self.done:
            tensors |= _random_state()
        if self.step:
            tensors |= {
                name: np.asarray(keras.ops.convert_to_numpy(variable))
                for name, variable in _measures(self.model).items()
            }
        stopping = None
        if self.stopping is not None:
            stopping = {name: _plain(getattr(self.stopping, name)) for name in STOPPING}
            if self.stopping.best_weights is not None and not self.done:
                names = _weight_names(self.model)
                best = dict(zip(names, self.stopping.best_weights, strict=True))
                tensors |= {f"best/{n}": best[n] for n in names if f"weight/{n}" in tensors}
        state = {
            "arguments": self.arguments,
            "epochs": self.epochs,
            "step": self.step,
            "history": self.history,
            "done": self.done,
            "stopped": bool(self.model.stop_training),
            "stopping": stopping,
        }
        write_tensors(self.path, tensors, {"state": json.dumps(state)})


def _random_state() -> dict[str, np.ndarray]:
    """Return the state of PyTorch's own generators, which Keras's dropout uses there."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {"random/cpu": torch.get_rng_state().numpy()}
    if torch.cuda.is_available():
        states["random/cuda"] = torch.cuda.get_rng_state().numpy()
    return states


def _set_random_state(states: dict[str, np.ndarray]) -> None:
    import torch

    torch.set_rng_state(torch.from_numpy(states["random/cpu"]))
    if "random/cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.from_numpy(states["random/cuda"]))


def _measures(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the variables that hold the loss and metrics of the epoch so far."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    return {f"measure/{index}": variable for index, variable in enumerate(variables)}


def _plain(value):
    return float(value) if hasattr(value, "dtype") else value


def _weight_names(model: keras.Model) -> list[str]:
    """Return a name for each of `model.weights`, in their order."""
    return [f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights]


def trained_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Return all weights of the trainable layers, by name."""
    return {
        f"weight/{layer.name}/{weight.name}": weight
        for layer in model.layers
        if layer.trainable
        for weight in layer.weights
    }


def seeds_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return a layer's variables other than weights: the states of its seed generators."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def _moving(model: keras.Model, *, weights_only: bool) -> dict[str, keras.Variable]:
    """Return every variable that training changes, by a name that is the same in each process."""
    variables: dict[str, keras.Variable] = {}
    for index, layer in enumerate(model.layers):
        if not weights_only:
            variables |= {f"seed/{index}/{i}": seed for i, seed in enumerate(seeds_of(layer))}
    variables |= trained_weights(model)
    if not weights_only:
        variables |= {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}
    return variables
