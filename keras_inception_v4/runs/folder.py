"""The folder of a training run. Its arguments are written first, its report last."""

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
    """A folder that belongs to one set of arguments and is complete once it holds a report.

    Args:
        path: Path of the folder, which `begin` makes.
        arguments: JSON values that decide the result. A folder with other arguments is rejected.
        crop: Crop that `load_image` must use for this run's model.
        writes: Whether this process writes the run's files; other processes add only their shares
            of cached features. Defaults to `True`.
        environment: Environment variables that decide how the backend computes. They are recorded,
            and a resumed command sets them again. `None` as a value means that it is not set.

    Raises:
        ValueError: If the path is a file, or the folder holds something else or a run with other
            arguments.
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
        """Write the arguments and the listing of images, or check the listing of a resumed run.

        Args:
            listing: JSON values that say which images are used for what.

        Raises:
            ValueError: If the run began with other images.
            OSError: If the folder cannot be made or written.
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
        """Listing of the images that the run began with; `None` if it has not begun."""
        file = self.path / "data.json"
        return read_json(file) if file.is_file() else None

    @property
    def report(self) -> dict | None:
        """Report of a complete run, else `None`."""
        file = self.path / "report.json"
        return read_json(file) if file.is_file() else None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints from which an unfinished run resumes."""
        return self.path / "checkpoints"

    def finish(self, report: dict) -> None:
        """Write the report, which marks the run as complete, and delete the checkpoints."""
        write_json(self.path / "report.json", report)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def write_history(self, phases: dict[str, dict[str, list[float]]]) -> None:
        """Write one line per epoch to `history.csv`, counting epochs through all phases."""
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
    """Return the recorded arguments of the run in a folder; empty if there is no run."""
    return _config(path).get("arguments", {})


def recorded_environment(path: str | os.PathLike) -> dict[str, str | None]:
    """Return the recorded environment of the run in a folder; empty if there is no run."""
    return _config(path).get("environment", {})


def _config(path: str | os.PathLike) -> dict:
    file = Path(path) / "config.json"
    return read_json(file) if file.is_file() else {}


PATHS = ("data", "weights", "images")


def _plain(key: str, value):
    """Normalize the value if it is a path, so that `photos/` equals `photos`."""
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
            f"{path} holds a run with other arguments: {changes}. Name another folder, or use the "
            "recorded arguments."
        )
