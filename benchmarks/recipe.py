"""The paper's recipe for small data, on digits, compared with the README's command."""

import json
import tempfile
from pathlib import Path

from benchmarks.digits import first_command
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread, require_complete


def measure(run: Path) -> Findings:
    """Held-out accuracy and seconds of both on one seed; `run` is that of the README's command."""
    require_complete(run)
    report = json.loads((run / "report.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        paper = first_command(Path(folder) / "paper", "--recipe", "paper-small")
    found = {
        "recipe adam, 75 x 75": (report["accuracy"], report["seconds"]),
        "recipe paper-small, 107 x 107": paper,
    }
    rows = [
        Row(name, Spread.of([taken]), note=f"{accuracy:.1%} of the held-out digits")
        for name, (accuracy, taken) in found.items()
    ]
    return Findings(
        [Table("train digits from scratch", "s", "", rows)],
        [
            Claim(
                "held-out accuracy of paper-small / of adam",
                Spread.of([paper[0] / report["accuracy"]]),
                1,
            )
        ],
    )
