"""The notebooks' own short training, for use without the first command's network."""

import ast
import inspect
import json
from pathlib import Path

import pytest

from keras_inception_v4 import train

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_their_short_training_is_one_that_train_takes(path):
    """CI runs all cells with the network of the first command; this call stands in a branch."""
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    calls = [
        node
        for cell in code
        if "runs/digits_short" in cell
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "train"
    ]
    (call,) = calls
    names = [argument.arg for argument in call.keywords]
    bound = inspect.signature(train).bind(*call.args, **dict.fromkeys(names))
    assert ast.literal_eval(bound.arguments["data"]) == "digits"
    assert {argument.arg: ast.unparse(argument.value) for argument in call.keywords} == {
        "weights": "None", "epochs": "2", "verbose": "2",
    }  # fmt: skip
    guard = next(cell for cell in code if "runs/digits_short" in cell)
    assert "exists()" in guard
