"""Prints what each stage of CI took, beside what is recorded for processors of the same kind.

    python .ci/seconds.py STAGES TOTAL [RECORD]

STAGES has a name and seconds a line; with RECORD, a file, they are written there.
"""

import json
import os
import sys
from pathlib import Path

RECORDED = Path(__file__).with_name("seconds.json")
TELLING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def kind() -> str:
    """Instructions that decide the speed, and the cores."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    found = " ".join(name for name in TELLING if name in flags) or "unknown instructions"
    return f"{len(os.sched_getaffinity(0))} cores, {found}"


def main() -> None:
    """Print the table, and on request record it."""
    stages, total, *record = sys.argv[1:]
    lines = Path(stages).read_text().splitlines()
    took = {name: int(seconds) for name, seconds in map(str.split, lines)}
    took["total"] = int(total)
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    before = recorded.get(kind(), {})
    print(f"\nSeconds on {kind()}, and those recorded for that:")
    for name, seconds in took.items():
        print(f"{name:>15} {seconds:6} {before.get(name, '-'):>6}")
    if record:
        content = {**recorded, kind(): took}
        Path(record[0]).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
