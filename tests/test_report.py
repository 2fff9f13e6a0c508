"""Galleries, and the page of an evaluation: what they show, and that the page requests nothing."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from test_tasks import model_of
from tiny import CHANNELS, tiny

from benchmarks import browser
from keras_inception_v4 import plots
from keras_inception_v4.cli import main
from keras_inception_v4.files import read_json
from keras_inception_v4.inference import gallery

NAMES = ["ant", "<b>&", "cat"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Nine pictures in three folders, and models that answer them in their own way."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for index in range(9):
        path = folder / "photos" / NAMES[index // 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = rng.integers(0, 256, 3) * np.ones((80, 80, 1))
        Image.fromarray(color.astype("uint8")).save(path)
    for task in ("single-label", "multi-label", "regression"):
        model = tiny() if task == "single-label" else model_of(task)
        model.get_layer("predictions").kernel.assign(3 * rng.normal(size=(CHANNELS, 3)))
        (folder / task).mkdir()
        model.save(folder / task / "model.keras")
        (folder / task / "class_names.json").write_text(json.dumps(NAMES))
        (folder / task / "config.json").write_text('{"crop": 1.0, "arguments": {}}')
    plots.plot_curves({"head": {"loss": [1.0], "accuracy": [0.5], "val_loss": [1.0],
                                "val_accuracy": [0.5]}},
                      folder / "single-label" / "curves.png")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def page(photos):
    """The page of one class a picture, its measures, and the gallery beside it."""
    command = ["evaluate", str(photos / "single-label"), str(photos / "photos")]
    for option, name in (("html", "a.html"), ("gallery", "g.png"), ("report", "r.json")):
        command += [f"--{option}", str(photos / name)]
    assert main(command) == 0
    return photos / "a.html"


def test_the_page_has_everything_and_asks_for_nothing(page):
    text = page.read_text("utf-8")
    report = read_json(page.with_name("r.json"))
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[:5] == ["Measures", "Training", "Confusion matrix", "Reliability", "Classes"]
    assert set(titles[5:]) <= {"Worst errors", "Right, but least certain"}
    assert "default-src 'none'" in text
    assert not re.findall(
        r"(?:https?:)?//[\w.]+", re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
    )
    assert "<b>&</b>" not in text
    assert html.escape(NAMES[1]) in text
    assert f'<td>accuracy</td><td class="number">{report["accuracy"]:.1%}</td>' in text
    for source in re.findall(r"data:image/\w+;base64,([\w+/=]+)", text):
        Image.open(io.BytesIO(base64.b64decode(source))).load()


def test_each_cell_has_its_pictures(page):
    text = page.read_text("utf-8")
    cells = json.loads(re.search(r'id="cells">(.*?)</script>', text, re.DOTALL)[1])
    matrix = np.array(read_json(page.with_name("r.json"))["confusion_matrix"])
    assert {key: len(cell) for key, cell in cells.items()} == {
        f"{true},{other}": matrix[true, other]
        for true, other in zip(*np.nonzero(matrix), strict=True)
    }
    for key, cell in cells.items():
        true, other = map(int, key.split(","))
        for _, caption in cell:
            assert f"\n{NAMES[true]} → {NAMES[other]} " in caption
    buttons = re.findall(r'data-cell="(\d,\d)"[^>]*>(\d+)</button>', text)
    assert {key: int(count) for key, count in buttons} == {
        key: len(cell) for key, cell in cells.items()
    }


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_click_on_a_cell_shows_them(page, width):
    """From disk, without a request, an error, or a page wider than the screen."""
    with browser.chromium() as chromium:
        opened = chromium.new_page(viewport={"width": width, "height": 800})
        wrong, asked = [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda message: wrong.append(message.text))
        opened.goto(page.as_uri())
        for button in opened.locator(".matrix button").all():
            button.click()
            shown = opened.locator("#chosen figure")
            assert shown.count() == int(button.inner_text())
            assert shown.first.locator("img").evaluate("image => image.naturalWidth") > 0
            assert button.get_attribute("aria-pressed") == "true"
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert not wrong
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def test_the_gallery_is_of_the_worst(page):
    """In the order of the margin; the maps lie beside their pictures."""
    text = page.read_text("utf-8")
    with Image.open(page.with_name("g.png")) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    worst = text.split("<h2>Worst errors</h2>")[1].split("</section>")[0]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", worst, re.DOTALL)
    report = read_json(page.with_name("r.json"))
    assert len(captions) == round(9 * (1 - report["accuracy"])) > 0
    for source in re.findall(r"base64,([\w+/=]+)", worst):
        with Image.open(io.BytesIO(base64.b64decode(source))) as picture:
            assert picture.width == 2 * picture.height


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks(photos, tmp_path, capsys, task):
    rows = ["file,label" if task == "multi-label" else "file," + ",".join(f'"{n}"' for n in NAMES)]
    for index, path in enumerate(sorted(photos.glob("photos/*/*.png"))):
        label = ["", "ant", "ant|cat"][index % 3] if task == "multi-label" else f"{index},2,3.5"
        rows.append(f"{path.relative_to(photos)},{label}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    command = ["evaluate", str(photos / task), str(tmp_path / "table.csv"),
               "--images", str(photos), "--html", str(tmp_path / "a.html"),
               "--gallery", str(tmp_path / "g.png")]  # fmt: skip
    assert main(command) == 0, capsys.readouterr().err
    text = (tmp_path / "a.html").read_text("utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    second = "Classes" if task == "multi-label" else "Targets"
    assert titles[0] == "Measures"
    assert {"All predictions", "Worst errors"} <= set(titles)
    assert any(title.lower() == second.lower() for title in titles), titles
    assert (tmp_path / "g.png").stat().st_size > 5_000


def test_long_names_do_not_touch(tmp_path):
    """They are cut to what fits above a picture."""
    tile = np.zeros((75, 150, 3), "uint8")
    shown = [gallery.Shown(i, tile, f"a_very_long_name_of_a_file_{i}.png\n"
                           f"{'x' * 40} → {'y' * 40} 99%") for i in range(16)]  # fmt: skip
    gallery.draw_sections({"worst errors": shown}, tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.width < 1600
        pixels = np.asarray(picture.convert("L"))
    columns = np.flatnonzero((pixels[:, :] < 128).any(axis=0))
    gaps = np.diff(columns)
    assert (gaps > 3).sum() >= 3  # the captions of neighbours do not touch


def test_another_kind_of_file_is_refused_before_work(photos, tmp_path, capsys):
    command = ["evaluate", str(photos / "single-label"), str(photos / "photos")]
    assert main([*command, "--html", str(tmp_path / "a.pdf")]) == 1
    assert "It must end in .html" in capsys.readouterr().err
    assert main([*command, "--gallery", str(tmp_path / "a.jpg")]) == 1
    assert "It must end in .png" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
