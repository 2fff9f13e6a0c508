"""What a release requires, and what a wheel must hold; CI builds the real one."""

import importlib.util
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from keras_inception_v4 import __version__

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
release = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release)


def git(root, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", root, *who, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A committed tree that is ready, with a package of one module."""
    root = tmp_path / "tree"
    (root / release.PACKAGE).mkdir(parents=True)
    shutil.copy(ROOT / release.PACKAGE / "__init__.py", root / release.PACKAGE)
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} (2026-01-31)\n")
    shutil.copy(ROOT / "CITATION.cff", root)
    (root / "setup.py").write_text('HOME = "https://example.org/somewhere"\n')
    git(root.parent, "init", "-q", root)
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    return root


def test_the_same_version_everywhere(repository):
    assert release.unready(repository) == []
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert heading == __version__ == release.version_in(ROOT)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("CHANGELOG.md", "(2026-01-31)", "(unreleased)", "write '{} (YYYY-MM-DD)'"),
        ("CHANGELOG.md", __version__, "0.0.1", "begins with '0.0.1 (2026-01-31)'"),
        ("CITATION.cff", f"version: {__version__}", "version: 0.0.1", "the package has {}"),
        ("setup.py", "https://example.org/somewhere", "", "HOME in setup.py is empty"),
    ],
)
def test_reasons_against_a_release(repository, file, old, new, reason):
    path = repository / file
    path.write_text(path.read_text().replace(old, new))
    git(repository, "commit", "-q", "-a", "-m", "worse")
    (found,) = release.unready(repository)
    assert reason.format(__version__) in found
    with pytest.raises(ValueError, match="Not released"):
        release.release(repository)


def test_a_tag_or_a_change_is_in_the_way(repository):
    git(repository, "tag", f"v{__version__}")
    (repository / "new.py").touch()
    assert [reason.split(";")[0] for reason in release.unready(repository)] == [
        "There are uncommitted changes",
        f"The tag v{__version__} exists",
    ]


def wheel_of(folder, *, without="", extra=()):
    wheel = folder / "x.whl"
    paths = [p for p in (ROOT / release.PACKAGE).rglob("*") if p.is_file()]
    names = [path.relative_to(ROOT).as_posix() for path in paths if path.suffix != ".pyc"]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in [*names, *extra]:
            if not without or not name.endswith(without):
                archive.writestr(name, "")
    return wheel


def test_a_whole_wheel(tmp_path):
    release.check_wheel(wheel_of(tmp_path), ROOT)


@pytest.mark.parametrize("name", ["model.py", "py.typed", "page/app.js", "imagenet_classes.csv"])
def test_a_wheel_without_a_file(tmp_path, name):
    with pytest.raises(ValueError, match=rf"lacks .*{re.escape(name)}"):
        release.check_wheel(wheel_of(tmp_path, without=name), ROOT)


def test_a_wheel_with_a_stranger(tmp_path):
    with pytest.raises(ValueError, match=r"also has tests/tiny\.py"):
        release.check_wheel(wheel_of(tmp_path, extra=["tests/tiny.py"]), ROOT)
