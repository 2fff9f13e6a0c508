"""The floors of the design: a module imports only from floors below its own."""

import ast
import importlib.util
import re
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

import keras_inception_v4
from keras_inception_v4.cli import main

PACKAGE = Path(keras_inception_v4.__file__).parent
ROOT = Path(__file__).parent.parent
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
    "tasks": 2,
    "diagram": 3,
    "inspection": 3,
    "model": 3,
    "auxiliary": 4,
    "artefacts": 4,
    "convert": 4,
    "data": 4,
    "explain": 4,
    "evaluation": 5,
    "features": 5,
    "training": 6,
    "export": 6,
    "inference": 7,
    "runs": 7,
    "audit": 8,
    "cli": 9,
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


def test_the_drawing_of_the_floors_is_of_these():
    spec = importlib.util.spec_from_file_location("floors", ROOT / "docs" / "floors.py")
    floors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(floors)
    assert floors.DRAWING.read_text() == floors.drawing(), "run python docs/floors.py"
    assert [room for rooms in floors.floors().values() for room in rooms] == sorted(
        FLOORS, key=lambda room: (-FLOORS[room], room)
    )


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


def modules_imported(path):
    """Modules of this package that a file imports, also only for types or inside a function."""
    for name in imports(path):
        parts = name.removeprefix("keras_inception_v4.").split(".")
        while name.startswith("keras_inception_v4.") and parts:
            file = PACKAGE.joinpath(*parts)
            if file.with_suffix(".py").is_file() or (file / "__init__.py").is_file():
                yield ".".join(parts)
                break
            parts.pop()


def test_no_circle_of_imports():
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = set(modules_imported(path)) - {name}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, graph


@pytest.mark.parametrize("relative", MODULES, ids=str)
def test_a_function_fits_on_a_page(relative):
    """Eighty lines of code, without its docstring."""
    for node in ast.walk(ast.parse((PACKAGE / relative).read_text())):
        if isinstance(node, ast.FunctionDef):
            text = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - (text.count("\n") + 1 if text else 0)
            assert lines <= 80, f"{node.name} has {lines} lines"


def test_the_way_from_a_command_to_an_image(tmp_path, capsys):
    """The tour in docs/: modules on the call stack when the first file is decoded."""
    for name in "ab":
        for index in range(2):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 9)).save(tmp_path / "photos" / name / f"{index}.png")
    way = []

    def watch(frame, event, _):
        function = frame.f_code.co_name
        if event == "call" and function in ("scan_images", "opened") and function not in seen:
            seen.add(function)
            names = []
            while frame is not None:
                names.append(frame.f_globals["__name__"])
                frame = frame.f_back
            way.extend(name for name in names[::-1] if name.startswith("keras_inception_v4"))

    seen = set()
    sys.setprofile(watch)
    threading.setprofile(watch)
    try:
        main(["train", str(tmp_path / "photos"), "--output", str(tmp_path / "run"),
              "--weights", str(tmp_path / "none.h5")])  # fmt: skip
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert "existing weight file" in capsys.readouterr().err
    way = [name.removeprefix("keras_inception_v4.") for name in dict.fromkeys(way)]
    assert way == ["cli", "cli.training", "runs.run", "data.folders", "preprocessing.images",
                   "preprocessing.pictures"]  # fmt: skip
    text = (ROOT / "docs" / "tour.md").read_text()
    places = [text.index(f"`{name.replace('.', '/')}") for name in way[1:]]
    assert places == sorted(places)


@pytest.mark.parametrize("relative", MODULES, ids=str)
def test_arguments_are_described_by_noun_phrases(relative):
    """They begin with a capital; ruff's D401 sees to the verb of the first line."""
    for node in ast.walk(ast.parse((PACKAGE / relative).read_text())):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for section in re.findall(
            r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)",
            ast.get_docstring(node) or "",
            re.MULTILINE,
        ):
            for name, about in re.findall(r"^    \*{0,2}(\w+): (.*)", section, re.MULTILINE):
                assert not about[0].islower(), f"{node.name}: {name}: {about}"


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
