"""Peak memory of code in a process of its own."""

import subprocess
import sys
from pathlib import Path

REPORT = "\nfrom benchmarks.memory import peak_of_this_process; print(peak_of_this_process())"


def peak_of_this_process() -> int:
    """Peak resident bytes, of this program alone.

    Not `ru_maxrss`, which starts from the memory of the process that started this one. Linux.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Lets the peak start again from what is resident now. Linux."""
    Path("/proc/self/clear_refs").write_text("5")


def output_of(code: str) -> str:
    """The last word that a process prints that runs `code`."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()[-1]


def peak_of(code: str) -> int:
    """Peak resident bytes of a process that runs `code`."""
    return int(output_of(code + REPORT))
