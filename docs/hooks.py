"""Files of the site besides the pages of this folder: the README as its start, and others."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
ELSEWHERE = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "benchmarks/**/RESULTS.md",
             "benchmarks/**/charts/*.png", "notebooks/*.ipynb")  # fmt: skip


def on_files(files, *, config):
    """Add these files, under the paths that they have in the repository."""
    start = re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text())
    files.append(File.generated(config, "index.md", content=start))
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            name = name.replace("benchmarks/README.md", "benchmarks/measuring.md")
            files.append(File.generated(config, name, content=path.read_bytes()))
    return files


def on_page_markdown(markdown, *, page, config, files):
    """Point links out of this folder to where those files are in the site."""
    return re.sub(r"\]\(\.\./(benchmarks|notebooks)/", r"](\1/", markdown)
