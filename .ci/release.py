"""Builds and checks what is published, and tags it.

    python .ci/release.py           build from the last commit, check, tag
    python .ci/release.py --build FOLDER
                                    build from this folder into FOLDER and check; tag nothing

Nothing is uploaded: the last line printed is the command that does it. Needs network for `pip`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PACKAGE = "keras_inception_v4"
DATA = ("py.typed", "preprocessing/imagenet_classes.csv", "inference/report.html")


def version_in(root: Path) -> str:
    """Return the version that the package has."""
    return re.search(r'__version__ = "(.+)"', (root / PACKAGE / "__init__.py").read_text())[1]


def unready(root: Path) -> list[str]:
    """Return why a commit cannot be released; empty if it can."""
    version, reasons = version_in(root), []
    heading = re.search(r"^## (.+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    if not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", heading):
        reasons.append(f"CHANGELOG.md begins with {heading!r}; write '{version} (YYYY-MM-DD)'.")
    cited = re.search(r"^version: (.+)$", (root / "CITATION.cff").read_text(), re.MULTILINE)[1]
    if cited != version:
        reasons.append(f"CITATION.cff has version {cited}; the package has {version}.")
    if not re.search(r'^HOME = ".+"', (root / "setup.py").read_text(), re.MULTILINE):
        reasons.append("HOME in setup.py is empty; name the repository's public address there.")
    if _git(root, "status", "--porcelain"):
        reasons.append("There are uncommitted changes; commit or remove them.")
    if _git(root, "tag", "--list", f"v{version}"):
        reasons.append(f"The tag v{version} exists; raise the version.")
    return reasons


def build(source: Path, out: Path) -> list[Path]:
    """Build a wheel and a source archive in an environment of their own, and check both.

    Returns:
        The files.

    Raises:
        subprocess.CalledProcessError: If a tool fails.
        ValueError: If the wheel lacks a file, or has one too many.
    """
    with tempfile.TemporaryDirectory() as work:
        venv.create(work, with_pip=True)
        python = Path(work, "bin", "python")
        _run(python, "-m", "pip", "install", "-q", "build", "twine")
        _run(python, "-m", "build", "--outdir", out, source)
        files = sorted(Path(out).glob(f"{PACKAGE}-{version_in(source)}*"))
        _run(python, "-m", "twine", "check", "--strict", *files)
    (wheel,) = (file for file in files if file.suffix == ".whl")
    check_wheel(wheel, source)
    return files


def check_wheel(wheel: Path, source: Path) -> None:
    """Check that a wheel has the package, all of it, and nothing else."""
    names = zipfile.ZipFile(wheel).namelist()
    wanted = [path.relative_to(source).as_posix() for path in (source / PACKAGE).rglob("*.py")]
    wanted += [f"{PACKAGE}/{name}" for name in DATA]
    wanted += [
        path.relative_to(source).as_posix() for path in (source / PACKAGE / "export/page").iterdir()
    ]
    if missing := sorted(set(wanted) - set(names)):
        raise ValueError(f"{wheel.name} lacks {', '.join(missing)}.")
    if strangers := [name for name in names if not name.startswith(PACKAGE)]:
        raise ValueError(f"{wheel.name} also has {', '.join(strangers)}.")


def release(root: Path) -> None:
    """Build the last commit, check it and tag it.

    Raises:
        ValueError: If it cannot be released, with every reason.
    """
    if reasons := unready(root):
        raise ValueError("Not released.\n  " + "\n  ".join(reasons))
    version, out = version_in(root), root / "dist"
    with tempfile.TemporaryDirectory() as work:  # the commit, not what lies about in the folder
        archive = Path(work, "commit.tar")
        _run("git", "-C", root, "archive", "--output", archive, "HEAD")
        source = Path(work, "source")
        source.mkdir()
        _run("tar", "-xf", archive, "-C", source)
        files = build(source, out)
    _run("git", "-C", root, "tag", "--annotate", f"v{version}", "--message", f"Version {version}")
    print(f"Tagged v{version}. Publish with: git push --tags && twine upload "
          + " ".join(str(file.relative_to(root)) for file in files))  # fmt: skip


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _run(*words) -> None:
    subprocess.run([str(word) for word in words], check=True)


def main(words=None) -> int:
    """Return 1 for what a maintainer can mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="only build here and check")
    options = parser.parse_args(words)
    root = Path(__file__).resolve().parent.parent
    try:
        build(root, options.build) if options.build else release(root)
    except (ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
