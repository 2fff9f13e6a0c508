"""Puts faults into the code, each of which the default ring must catch; writes `MUTATIONS.md`.

    python tests/mutations.py [NAME ...]

Each fault is a change of one place in a copy of the working tree. There `pytest` runs the test
files that the fault names, without the slow tests. The first test that fails is recorded. Before
that, the same files run without a fault and must pass.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
RECORD = Path(__file__).with_name("MUTATIONS.md")
PACKAGE = "keras_inception_v4"


class Fault(NamedTuple):
    """What is changed where, and in which files a test should fail."""

    name: str
    module: str
    before: str
    after: str
    tests: str


FAULTS = [
    Fault(
        "two kernels swapped",
        "weights/names.py",
        "for index, (_, branches) in enumerate(walk(variant)):",
        "for index, (_, branches) in zip((*range(11), 12, 11, *range(13, 22)), walk(variant)):",
        "test_weights test_parity",
    ),
    Fault(
        "a branch order",
        "blocks.py",
        "name=name)(outputs)",
        "name=name)(outputs[::-1])",
        "test_model test_parity",
    ),
    Fault(
        "batch-norm epsilon",
        "architecture.py",
        "BATCH_NORM_EPSILON = 0.001",
        "BATCH_NORM_EPSILON = 0.0011",
        "test_model test_parity",
    ),
    Fault(
        "crop off by one",
        "preprocessing/images.py",
        "left = round((scaled_width - width) / 2)",
        "left = round((scaled_width - width) / 2) + 1",
        "test_preprocessing",
    ),
    Fault(
        "label map shifted",
        "data/folders.py",
        "labels = [label for label, name in enumerate(names)",
        "labels = [(label + 1) % len(names) for label, name in enumerate(names)",
        "test_data test_run",
    ),
    Fault(
        "resume with a wrong epoch",
        "training/checkpoint.py",
        "min(self.epochs, epochs)",
        "min(max(0, self.epochs - 1), epochs)",
        "test_transfer test_recipes",
    ),
    Fault(
        "a step not counted at resume",
        "training/checkpoint.py",
        "self.step = self._first + batch + 1",
        "self.step = batch + 1",
        "test_recipes",
    ),
    Fault(
        "crops that forget the epoch",
        "data/pipeline.py",
        "random_map(_with_draw).shuffle()",
        "map(lambda number: (number, number)).shuffle()",
        "test_data",
    ),
    Fault(
        "a partial file left",
        "files.py",
        "        shutil.rmtree(folder, ignore_errors=True)\n\n\ndef check_name",
        "        pass\n\n\ndef check_name",
        "test_files",
    ),
    Fault(
        "class weights ignored",
        "training/class_weights.py",
        "    if class_weight is None:\n        return batches",
        "    if class_weight is not False:\n        return batches",
        "test_transfer",
    ),
    Fault(
        "quantities left in standard deviations",
        "training/standardizing.py",
        "return [kernel * self.deviation, bias * self.deviation + self.mean]",
        "return [kernel, bias]",
        "test_tasks",
    ),
    Fault(
        "softmax missing in an export",
        "export/saved_model.py",
        "return {said: network(inputs)}",
        "return {said: tf.math.log(network(inputs))}",
        "test_export",
    ),
    Fault(
        "a corrupt image accepted",
        "preprocessing/images.py",
        "    with opened(path_or_bytes, name) as picture:\n        picture.thumbnail(1)",
        "    return",
        "test_data test_features",
    ),
]


def ring(tree: Path, files: str) -> tuple[str | None, str]:
    """Runs test files in a tree; the first test that fails, or `None`, and what was printed."""
    paths = [f"tests/{name}.py" for name in files.split()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", *paths],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1, 2) or (done.returncode and not failed):
        raise RuntimeError(f"The tests could not run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return failed[1] if failed else None, done.stdout


def copy_of_the_tree(folder: str) -> Path:
    tree = Path(folder) / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def main() -> int:
    chosen = [fault for fault in FAULTS if not sys.argv[1:] or fault.name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_of_the_tree(folder)
        every = " ".join(dict.fromkeys(" ".join(fault.tests for fault in chosen).split()))
        failed, printed = ring(tree, every)
        if failed:
            sys.exit(f"Without a fault {failed} fails already.\n{printed[-3000:]}")
        rows = []
        for fault in chosen:
            path = tree / PACKAGE / fault.module
            sound = path.read_text()
            assert sound.count(fault.before) == 1, (fault.name, sound.count(fault.before))
            path.write_text(sound.replace(fault.before, fault.after))
            started = time.monotonic()
            caught, _ = ring(tree, fault.tests)
            path.write_text(sound)
            rows.append((fault.name, fault.module, caught))
            print(f"{fault.name}: {caught or 'NOT CAUGHT'} ({time.monotonic() - started:.0f} s)")
    if len(chosen) == len(FAULTS):
        lines = ["| fault | put into | caught first by |", "|---|---|---|"]
        lines += [f"| {name} | `{module}` | `{caught}` |" for name, module, caught in rows]
        intro = "What `python tests/mutations.py` found when it was last run.\n"
        RECORD.write_text("\n".join(["# Faults put in on purpose\n", intro, *lines, ""]))
    return any(caught is None for _, _, caught in rows)


if __name__ == "__main__":
    sys.exit(main())
