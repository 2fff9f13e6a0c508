"""The folder of one training run: its arguments first, its report last."""

import csv
import os
from pathlib import Path

from keras_inception_v4.files import read_json, replacing, write_json


class RunFolder:
    """A folder that belongs to one set of arguments; complete once it has a report.

    Args:
        path: the folder; made if it is not there.
        arguments: what decides the result, as JSON values. A folder of other
            arguments is refused.
        crop: what `load_image` must use for this run's model.

    Raises:
        ValueError: if the folder holds something else, or a run of other arguments.
        OSError: if it cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike, arguments: dict, *, crop: float):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{path} is a file. Name a folder for the run.")
        config = self.path / "config.json"
        if config.is_file():
            _check_same(self.path, read_json(config).get("arguments", {}), arguments)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(
                f"{path} is not empty and holds no run (no config.json). Name a new folder."
            )
        else:
            write_json(config, {"arguments": arguments, "crop": crop})

    @property
    def report(self) -> dict | None:
        """The report of a complete run, else `None`."""
        file = self.path / "report.json"
        return read_json(file) if file.is_file() else None

    def finish(self, report: dict) -> None:
        """Writes the report, which marks the run as complete."""
        write_json(self.path / "report.json", report)

    def write_history(self, history: dict[str, list[float]]) -> None:
        """Writes one line an epoch to `history.csv`."""
        with replacing(self.path / "history.csv") as new, new.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["epoch", *history])
            for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
                table.writerow([epoch, *(f"{value:.6g}" for value in values)])


def _check_same(path, recorded, received) -> None:
    different = sorted(
        key for key in recorded.keys() | received.keys() if recorded.get(key) != received.get(key)
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
