"""The first command of the README with its defaults, on three seeds.

    python -m benchmarks.digits [FOLDER]

Each seed in a process of its own; prints accuracy on held-out digits and seconds of the
whole command, and, for seed 0 with --deterministic, whether a second run gives the same.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(folder: Path, *options: str) -> tuple[float, float]:
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


def main() -> None:
    """Prints one line a run."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    for seed in range(3):
        accuracy, seconds = run(root / f"seed{seed}", "--seed", str(seed))
        print(f"seed {seed}: {accuracy:.1%} held out, {seconds:.0f} s", flush=True)
    same = [
        run(root / f"deterministic{i}", "--deterministic", "--epochs", "2")[0] for i in range(2)
    ]
    print(f"two deterministic runs of two epochs: {same[0]:.4f} and {same[1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
