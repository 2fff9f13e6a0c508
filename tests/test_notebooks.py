"""What the repository's page shows of the notebooks. CI also executes them."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
PICTURES = {"01": 5, "02": 4, "03": 1}  # at least


def outputs(path):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            yield from cell["outputs"]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_classify_and_explain",
        "02_transfer_learning",
        "03_export_and_serve",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestCommittedOutputs:
    def test_it_ran_from_top_to_bottom(self, path):
        cells = json.loads(path.read_text())["cells"]
        counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
        assert counts == list(range(1, len(counts) + 1))

    def test_no_errors_and_no_warnings(self, path):
        for output in outputs(path):
            assert output["output_type"] != "error", output
            assert output.get("name") != "stderr", output["text"]

    def test_text_names_no_folder_of_a_machine(self, path):
        text = json.dumps(
            [
                {
                    key: value
                    for key, value in output.get("data", output).items()
                    if key != "image/png"
                }
                for output in outputs(path)
            ]
        )
        assert len(text) > 500
        assert not re.search(r"/(home|root|tmp|work|usr|opt)/", text)

    def test_pictures_are_light_and_not_empty(self, path):
        pictures = [
            base64.b64decode("".join(output["data"]["image/png"]))
            for output in outputs(path)
            if "image/png" in output.get("data", {})
        ]
        assert len(pictures) >= PICTURES[path.stem[:2]]
        for picture in pictures:
            pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
            assert pixels[0, 0] > 240
            assert pixels.std() > 10

    def test_it_is_small(self, path):
        assert path.stat().st_size < 1_500_000
