"""The README's first command with its defaults, on three seeds, each in its own process."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread


def first_command(folder: Path, *options: str) -> tuple[float, float]:
    """Accuracy and wall seconds of one run of the command."""
    started = time.monotonic()
    command = [sys.executable, "-m", "keras_inception_v4", "train", "digits"]
    subprocess.run(
        [*command, "--weights", "none", "--output", str(folder), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - started
    return json.loads((folder / "report.json").read_text())["accuracy"], seconds


def measure(run: Path) -> Findings:
    """Accuracy and seconds, and whether --deterministic gives the same twice; needs no `run`."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = [first_command(root / f"{seed}", "--seed", f"{seed}") for seed in range(3)]
        same = [
            first_command(root / f"same{i}", "--deterministic", "--epochs", "2")[0]
            for i in range(2)
        ]
    accuracies = [accuracy for accuracy, _ in found]
    rows = [
        Row(f"seed {seed}", Spread.of([taken]), note=f"{accuracy:.1%} of the held-out digits")
        for seed, (accuracy, taken) in enumerate(found)
    ]
    return Findings(
        [Table("train digits", "s", "", rows)],
        [
            Claim("accuracy", Spread.of(accuracies), 0.95),
            Claim("accuracies of two --deterministic runs apart",
                  Spread.of([abs(same[0] - same[1])]), 0, at_most=True),
        ],
    )  # fmt: skip
