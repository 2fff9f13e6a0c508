"""The floors of the design: a module imports only from floors below its own."""

import ast
import sys
from pathlib import Path

import pytest

import keras_inception_v4

PACKAGE = Path(keras_inception_v4.__file__).parent
FLOORS = {
    "architecture": 0,
    "errors": 0,
    "files": 0,
    "progress": 0,
    "starting": 1,
    "blocks": 1,
    "costs": 1,
    "preprocessing": 1,
    "plots": 1,
    "weights": 1,
    "diagram": 2,
    "inspection": 2,
    "model": 2,
    "convert": 3,
    "data": 3,
    "explain": 3,
    "evaluation": 4,
    "features": 4,
    "training": 5,
    "export": 5,
    "inference": 6,
    "runs": 6,
    "cli": 7,
}
MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE
) + sorted(Path(f"{name}.py") for name in FLOORS if (PACKAGE / f"{name}.py").exists())


def imports(path):
    """Every module that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "keras_inception_v4":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def room(relative):
    return relative.parts[0].removesuffix(".py")


def test_every_module_has_a_floor():
    found = {room(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert found - {"__init__", "__main__"} == set(FLOORS)


@pytest.mark.parametrize("relative", MODULES, ids=str)
def test_a_module_stands_only_on_the_floors_below(relative):
    own = room(relative)
    for name in imports(PACKAGE / relative):
        if not name.startswith("keras_inception_v4."):
            continue
        other = name.split(".")[1]
        if other in FLOORS and other != own:
            assert FLOORS[other] < FLOORS[own], f"{relative} imports {name}"


@pytest.mark.parametrize("relative", MODULES, ids=str)
def test_only_public_keras_and_tensorflow(relative):
    for name in imports(PACKAGE / relative):
        assert not name.startswith(("keras.src", "tensorflow.python")), f"{relative}: {name}"


def test_architecture_needs_the_standard_library_only():
    for name in imports(PACKAGE / "architecture.py"):
        assert name.split(".")[0] in sys.stdlib_module_names, name


def test_the_command_line_has_no_logic():
    """It imports nothing but the package and what prints."""
    outside = {
        name.split(".")[0]
        for path in (PACKAGE / "cli").glob("*.py")
        for name in imports(path)
        if not name.startswith("keras_inception_v4")
    }
    assert outside <= {
        "argparse", "collections", "csv", "dataclasses", "json", "os", "sys", "rich",
    }  # fmt: skip
