"""Executes the notebooks in place and keeps the outputs that a reader wants to see.

    python notebooks/execute.py [NAME ...]

It keeps text, numbers and pictures. It removes stderr and progress bars.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def wanted(output) -> bool:
    """Whether an output belongs on the page."""
    if output["output_type"] == "stream":
        return output["name"] == "stdout"
    data = output.get("data", {})
    return output["output_type"] == "error" or "image/png" in data or "execution_count" in output


def main() -> None:
    """Prints the seconds that each took."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, 4)
        started = time.perf_counter()
        NotebookClient(
            notebook, timeout=600, record_timing=False, resources={"metadata": {"path": FOLDER}}
        ).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if wanted(output)]
        nbformat.write(notebook, path)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
