"""Measures subjects side by side and writes RESULTS.md, results.json and charts.

    python -m benchmarks [SUBJECT ...] [--run RUN] [--out FOLDER] [--against EARLIER]

Without subjects, all but the long ones run.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.report import (
    Findings,
    disagreements,
    entry,
    machines_apart,
    measured,
    read_results,
    text,
    wanted,
    write,
)
from benchmarks.workers import QUIET

HERE = Path(__file__).resolve().parent
SUBJECTS = {
    "construction": "import, build and load",
    "inference": "every runtime, precision, batch and image size, beside the peers",
    "zeromodels": "our Keras model beside the other one, in every row",
    "training": "a training step, beside timm",
    "head": "a new head on cached features against a plain fit",
    "embedding": "files to features against predict in memory, and its memory",
    "pipeline": "random crops from files, beside the training that eats them",
    "processes": "two devices or two processes beside one",
    "memory": "peak of each contender",
    "exports": "size of each artefact, and whether it answers what the model answers",
    "gpu": "inference and training in bfloat16 on a GPU",
}
LONG = {
    "curves": "whether two devices and two processes train as one, a quarter of an hour",
    "streaming": "files to Parquet: speed, memory, kills, and one through an artefact, a quarter "
    "of an hour",
    "web": "int8 in a browser beside ONNX Runtime, five minutes",
    "serving": "sixteen clients of a server, four minutes",
    "targets": "several digits a picture, and their sum, by transfer, half an hour",
    "attribution": "Grad-CAM on canvases by deletion, twenty minutes",
    "fine_tuning": "the frozen blocks' output kept, beside every epoch anew, a quarter of an hour",
    "onednn": "TensorFlow's oneDNN off and on, a quarter of an hour",
    "audit": "a data set looked at, beside its files read once, two minutes",
    "digits": "the README's first command on three seeds, a quarter of an hour",
    "recipe": "digits by the paper's recipe beside the README's command, a quarter of an hour",
    "transfer": "digits 0 to 4 help with 5 to 9, three seeds, twenty minutes",
}


def findings_of(subject: str, run: Path) -> Findings:
    """What a subject finds, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(measured, subject, run).result()


def main(words=None, *, here: Path = HERE, findings_of=findings_of) -> int:
    """Exit status 1 if a ratio misses what is wanted, or differs from an earlier run."""
    listed = "\n".join(f"  {name:14}{what}" for name, what in {**SUBJECTS, **LONG}.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__.splitlines()[0]}\n\nsubjects:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "subjects", nargs="*", metavar="SUBJECT", help="default: all but the long ones"
    )
    parser.add_argument(
        "--run", type=Path, default=Path("runs/digits"),
        help="folder of the first command, for curves, exports, head, recipe, streaming, web and "
        "targets (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=here,
        help="where RESULTS.md, results.json and the charts are written, and what they had of "
        "other subjects is kept (default: benchmarks, and the summaries in README.md and "
        "docs/benchmarks.md too)",
    )  # fmt: skip
    parser.add_argument(
        "--against", type=Path, metavar="EARLIER",
        help="a results.json: says which ratios differ by more than both spreads",
    )  # fmt: skip
    arguments = parser.parse_args(words)
    unknown = set(arguments.subjects) - SUBJECTS.keys() - LONG.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join([*SUBJECTS, *LONG])}")
    if arguments.against and not arguments.against.is_file():
        parser.error(f"--against {arguments.against}: there is no such file")
    earlier = read_results(arguments.against) if arguments.against else {}
    os.environ.update(QUIET)
    out = arguments.out.resolve()
    try:  # before anything is measured that could not be written
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {arguments.out}: {error.strerror}")
    root = here.parent
    pages = [root / "README.md", root / "docs" / "benchmarks.md"] if out == here else []
    results, found = read_results(out / "results.json"), {}
    for subject in arguments.subjects or SUBJECTS:
        print(f"{subject} ...", flush=True)
        begun = time.perf_counter()
        findings = findings_of(subject, arguments.run.resolve())
        found[subject] = entry(findings, time.perf_counter() - begun)
        results[subject] = found[subject]
        order = [name for name in [*SUBJECTS, *LONG] if name in results]
        write({name: results[name] for name in order}, out, pages)
        for claim in found[subject]["claims"]:
            held = "held" if claim["held"] else "MISSED"
            print(f"  {claim['text']}: {text(claim['value'])}, {wanted(claim)}: {held}", flush=True)
    missed = [c["text"] for part in found.values() for c in part["claims"] if not c["held"]]
    print(f"written: {out.name}/RESULTS.md, results.json and charts")
    apart = []
    if arguments.against:
        if others := machines_apart(found, earlier):
            print(f"the earlier run of {', '.join(others)} may be of another machine")
        count, apart = disagreements(found, earlier)
        print(f"{count - len(apart)} of {count} ratios agree with the earlier run within spreads")
        print(*apart, sep="\n")
    return 1 if missed or apart else 0


if __name__ == "__main__":
    sys.exit(main())
