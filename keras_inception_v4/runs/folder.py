"""The folder of one training run: its arguments first, its report last."""

import csv
import os
import shutil
from pathlib import Path

from keras_inception_v4.files import (
    read_json,
    remove_temporary,
    replacing,
    write_json,
)


class RunFolder:
    """A folder that belongs to one set of arguments; complete once it has a report.

    Args:
        path: the folder; `begin` makes it.
        arguments: what decides the result, as JSON values. A folder of other
            arguments is refused.
        crop: what `load_image` must use for this run's model.
        writes: whether this process is the one that writes; the others find the same folder.
        environment: variables that decide how the backend computes, recorded so that a resumed
            command sets them again; `None` for one that is not set.

    Raises:
        ValueError: if the folder holds something else, or a run of other arguments.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        arguments: dict,
        *,
        crop: float,
        writes: bool = True,
        environment: dict[str, str | None] | None = None,
    ):
        self.path = Path(path)
        self.writes = writes
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{path} is a file. Name a folder for the run.")
        self.config = {"arguments": arguments, "crop": crop, "environment": environment or {}}
        if (self.path / "config.json").is_file():
            _check_same(self.path, recorded_arguments(self.path), arguments)
        elif self.path.is_dir() and any(
            not entry.name.startswith(".") for entry in self.path.iterdir()
        ):
            raise ValueError(
                f"{path} is not empty and holds no run (no config.json). Name a new folder."
            )

    def begin(self, listing: dict) -> None:
        """Writes the arguments and which images the run uses, or checks the images again.

        Args:
            listing: of the images, as JSON values.

        Raises:
            ValueError: if the run began with other images.
            OSError: if the folder cannot be made or written.
        """
        if self.writes:
            remove_temporary(self.path)
            write_json(self.path / "config.json", self.config)
        if self.listing is None:
            if self.writes:
                write_json(self.path / "data.json", listing)
        elif self.listing != listing:
            raise ValueError(
                f"The images have changed since the run in {self.path} began (data.json lists "
                "them). Name another folder for a new run, or put the images back."
            )

    @property
    def listing(self) -> dict | None:
        """The images that the run began with, if it has begun."""
        file = self.path / "data.json"
        return read_json(file) if file.is_file() else None

    @property
    def report(self) -> dict | None:
        """The report of a complete run, else `None`."""
        file = self.path / "report.json"
        return read_json(file) if file.is_file() else None

    @property
    def checkpoints(self) -> Path:
        """The folder for what an unfinished run needs to go on."""
        return self.path / "checkpoints"

    def finish(self, report: dict) -> None:
        """Writes the report, which marks the run as complete, and drops the checkpoints."""
        write_json(self.path / "report.json", report)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def write_history(self, phases: dict[str, dict[str, list[float]]]) -> None:
        """Writes one line an epoch to `history.csv`, epochs counted through all phases."""
        columns = list(dict.fromkeys(key for history in phases.values() for key in history))
        with replacing(self.path / "history.csv") as new, new.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["epoch", "phase", *columns])
            epoch = 0
            for phase, history in phases.items():
                for values in zip(*history.values(), strict=True):
                    epoch += 1
                    row = dict(zip(history, values, strict=True))
                    cells = [f"{row[key]:.6g}" if key in row else "" for key in columns]
                    table.writerow([epoch, phase, *cells])


def recorded_arguments(path: str | os.PathLike) -> dict:
    """Arguments of the run that a folder holds; empty if it holds none."""
    return _config(path).get("arguments", {})


def recorded_environment(path: str | os.PathLike) -> dict[str, str | None]:
    """What `RunFolder` was given of the run that a folder holds; empty if it holds none."""
    return _config(path).get("environment", {})


def _config(path: str | os.PathLike) -> dict:
    file = Path(path) / "config.json"
    return read_json(file) if file.is_file() else {}


PATHS = ("data", "weights", "images")


def _plain(key: str, value):
    """A path in one spelling: `photos/` is `photos`."""
    return os.path.normpath(value) if key in PATHS and value is not None else value


def _check_same(path, recorded, received) -> None:
    different = sorted(
        key
        for key in recorded.keys() | received.keys()
        if _plain(key, recorded.get(key)) != _plain(key, received.get(key))
    )
    if different:
        changes = ", ".join(
            f"{key} is {recorded.get(key)!r} there and {received.get(key)!r} here"
            for key in different
        )
        raise ValueError(
            f"{path} holds a run of other arguments: {changes}. Name another folder, or repeat "
            "the run with its own arguments."
        )
