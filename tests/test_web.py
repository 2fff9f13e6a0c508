"""The page that an export writes, in a real browser: predictions, pixels, maps, and errors."""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data
from tiny import tiny

from keras_inception_v4 import (
    InceptionV4,
    class_activation_map,
    export_model,
    open_artefact,
    overlay,
)
from keras_inception_v4.artefacts import PAGE
from keras_inception_v4.cli import main
from keras_inception_v4.export import formats, web
from keras_inception_v4.preprocessing import load_image

sys.path.append(str(Path(__file__).parent.parent))  # behind the installed package

from benchmarks import browser

NAMES = ["a cat", "<b>no tag</b>", "größer"]
CROP = 0.875


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def runtime():
    """The runtime's package, fetched once."""
    try:
        return web.runtime_package()
    except OSError as error:
        pytest.skip(f"needs npm and its registry: {error}")


@pytest.fixture(scope="module")
def folder(model, runtime, tmp_path_factory):
    path = tmp_path_factory.mktemp("web") / "page"
    export_model(model, path, format="web", class_names=NAMES, crop=CROP, verbose=False)
    return path


@pytest.fixture(scope="module")
def chromium():
    if browser.CHROMIUM is None:
        pytest.skip("needs Chromium, which CI installs")
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(chromium, folder):
    with browser.served(folder) as address, browser.opened(chromium, address) as (found, _):
        yield found


def photographs(folder):
    """Ten real photographs, in formats and states in which people have them."""
    astronaut, coffee, cat, rocket = (
        Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "cat", "rocket")
    )
    folder.mkdir()
    astronaut.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    turned = Image.Exif()
    turned[0x0112] = 6
    coffee.save(folder / "turned.jpg", exif=turned, quality=95)
    seen = cat.convert("RGBA")
    seen.putalpha(Image.linear_gradient("L").resize(cat.size))
    seen.save(folder / "transparent.png")
    rocket.save(folder / "lossy.webp", quality=90)
    cat.save(folder / "lossless.webp", lossless=True)
    Image.fromarray(data.camera()).save(folder / "grey.png")
    coffee.quantize(64).save(folder / "palette.gif")
    astronaut.save(folder / "progressive.jpg", progressive=True, quality=90)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rocket.resize((30, 90)).save(folder / "small with a profile.png", icc_profile=profile)
    coffee.save(folder / "bitmap.bmp")
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_pixels_scores_and_names_are_those_of_python(page, folder, model, tmp_path):
    paths = photographs(tmp_path / "photographs")
    found = browser.answers(page, paths)
    pixels = np.stack([load_image(path, (75, 75), CROP) for path in paths])
    for path, answer, expected in zip(paths, found, pixels, strict=True):
        assert answer["name"] == path.name
        apart = np.abs(np.reshape(answer["pixels"], (75, 75, 3)) - expected)
        assert apart.mean() <= 0.1, (path.name, apart.mean(), apart.max())
    given = np.reshape([answer["pixels"] for answer in found], pixels.shape)
    scores = model.predict_on_batch(given)
    np.testing.assert_allclose([answer["scores"] for answer in found], scores, atol=1e-5)
    for answer, expected in zip(found, scores, strict=True):
        order = np.argsort(-expected, kind="stable")
        assert [one["name"] for one in answer["best"]] == [NAMES[index] for index in order]
    same = scores.argmax(1) == open_artefact(folder).predict(pixels).argmax(1)
    assert same.mean() >= 0.98


@pytest.mark.slow
def test_its_maps_are_class_activation_maps(page, model, tmp_path):
    (path,) = photographs(tmp_path / "photographs")[:1]
    (answer,) = browser.answers(page, [path])
    given = np.reshape(answer["pixels"], (1, 75, 75, 3))
    for one in answer["best"]:
        (expected,) = class_activation_map(model, given, one["index"])
        found = np.reshape(one["map"], expected.shape)
        assert np.abs(found - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
def test_a_map_is_drawn_where_its_cells_look(chromium, runtime, shallow_file, tmp_path):
    """As `overlay` draws it; stretched over the picture it would be elsewhere."""
    model = InceptionV4(weights=shallow_file, input_shape=(139, 139, 3),
                        include_preprocessing=True)  # fmt: skip
    export_model(model, tmp_path / "page", format="web", crop=1.0, verbose=0)
    picture = Image.fromarray(data.astronaut()).resize((139, 139))
    picture.save(tmp_path / "picture.png")
    with (
        browser.served(tmp_path / "page") as address,
        browser.opened(chromium, address) as (page, _),
    ):
        (answer,) = browser.answers(page, [tmp_path / "picture.png"])
        page.wait_for_selector("canvas[aria-label^=Where]")
        drawn = page.evaluate("document.querySelector('canvas').toDataURL()")
    drawn = Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))).convert("RGB")
    found = np.reshape(answer["best"][0]["map"], (3, 3))
    placed, stretched = (
        np.abs(
            np.asarray(drawn.resize((139, 139), Image.Resampling.BOX), "float32")
            - overlay(np.asarray(picture), found, endpoint=endpoint)
        ).mean()
        for endpoint in ("mixed_7d", None)
    )
    assert placed < 4  # grey levels; colours are mixed before enlarging there, here after it
    assert stretched > 1.5 * placed


@pytest.mark.slow
def test_a_broken_file_is_told_by_name_and_the_page_goes_on(page, tmp_path):
    broken, text = tmp_path / "broken.png", tmp_path / "no picture.jpg"
    Image.fromarray(data.camera()).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    text.write_text("no picture")
    good = tmp_path / "good.png"
    Image.fromarray(data.astronaut()).save(good)
    found = browser.answers(page, [broken, text, good])
    assert [one["state"] for one in found] == ["error", "error", "answered"]
    assert found[0]["said"] == "broken.png cannot be read as an image."
    assert found[1]["said"] == "no picture.jpg cannot be read as an image."


@pytest.mark.slow
def test_nothing_is_asked_of_others_and_the_network_may_go(chromium, folder, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(data.astronaut()).save(path)
    with browser.served(folder) as address, browser.opened(chromium, address) as (page, asked):
        assert {url.partition("?")[0].removeprefix(address) for url in asked} >= {
            "", "app.js", "worker.js", "pixels.js", "style.css", PAGE, web.BINARY, *web.SCRIPTS,
        }  # fmt: skip
        elsewhere = f"{address.replace('127.0.0.1', 'localhost')}{PAGE}"
        for asker in (page, page.workers[0]):
            refused = asker.evaluate("""elsewhere => new Promise(found => {
                addEventListener("securitypolicyviolation", event => found(event.blockedURI));
                fetch(elsewhere).then(() => found("answered"), () => {});
            })""", elsewhere)  # fmt: skip
            assert refused == elsewhere
        page.context.set_offline(True)
        (answer,) = browser.answers(page, [path])
        assert answer["state"] == "answered"
        page.get_by_role("checkbox").click()
        page.get_by_role("button", name="größer").click()
        assert all(url.startswith((address, f"blob:{address}")) for url in asked
                   if url != elsewhere)  # fmt: skip


@pytest.mark.slow
def test_keyboard_screen_reader_and_camera(chromium, folder, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(data.astronaut()).save(path)
    with browser.served(folder) as address, browser.opened(chromium, address) as (page, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "files"
        browser.answers(page, [path])
        assert page.get_by_role("status").inner_text().startswith("picture.png: ")
        first = page.locator(".best button").first
        second = page.locator(".best button").nth(1)
        assert first.get_attribute("aria-pressed") == "true"
        second.focus()
        page.keyboard.press("Enter")
        assert second.get_attribute("aria-pressed") == "true"
        name = second.locator(".name").inner_text()
        page.get_by_role("img", name=f"Where {name} was seen").wait_for()
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Take a picture").click()
        page.wait_for_selector("li[data-state=answered] h2:has-text('camera.png')")
        page.get_by_role("button", name="Close the camera").click()
        page.get_by_role("button", name="Remove all").click()
        assert page.locator("#answers > li").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_network_is_told(chromium, folder, tmp_path, damage):
    shutil.copytree(folder, tmp_path / "page")
    part = next((tmp_path / "page").glob("network.onnx.*"))
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with (
        browser.served(tmp_path / "page") as address,
        browser.opened(chromium, address) as (page, _),
    ):
        said = page.get_by_role("status").inner_text()
    assert "The network was not loaded: network.onnx.00 is damaged" in said


@pytest.mark.slow
def test_of_several_classes_those_from_the_threshold_on_are_marked(chromium, runtime, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(data.astronaut()).save(path)
    model = tiny(activation="sigmoid")
    export_model(
        model, tmp_path / "page", format="web", class_names=NAMES, thresholds=[0, 1, 0], verbose=0
    )
    with (
        browser.served(tmp_path / "page") as address,
        browser.opened(chromium, address) as (page, _),
    ):
        (answer,) = browser.answers(page, [path])
        assert len(answer["best"]) == 3
        marked = page.locator(".best .answered").all_inner_texts()
    assert sorted(marked) == ["a cat", "größer"]


@pytest.mark.slow
def test_threads_and_scaled_pixels(chromium, runtime, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(data.astronaut()).save(path)
    model = tiny(raw=False)
    export_model(model, tmp_path / "page", format="web", class_names=NAMES, verbose=0)
    expected = open_artefact(tmp_path / "page")
    with (
        browser.served(tmp_path / "page") as address,
        browser.opened(chromium, address, threads=2) as (page, _),
    ):
        assert "2 threads" in page.locator("#about").inner_text()
        (answer,) = browser.answers(page, [path])
    given = np.reshape(answer["pixels"], (1, 75, 75, 3))
    np.testing.assert_allclose([answer["scores"]], expected.predict(given), atol=1e-5)


def test_of_an_unknown_size_the_page_takes_the_usual_one(runtime, tmp_path):
    export_model(tiny(size=None), tmp_path / "page", format="web", verbose=0)
    assert open_artefact(tmp_path / "page").description.size == (299, 299)


def test_other_heads_have_no_map(runtime, tmp_path):
    inner = tiny()
    inputs = keras.Input((75, 75, 3))
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.Dense(4)(inner(inputs)))
    export_model(
        keras.Model(inputs, outputs), tmp_path / "page", format="web", pixels="raw", verbose=0
    )
    assert json.loads((tmp_path / "page" / PAGE).read_text())["map"] is False


def test_parts_are_small_and_the_page_is_an_artefact(model, runtime, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(web, "PART", 10_000)
    export_model(model, tmp_path / "page", format="web", class_names=NAMES, verbose=0)
    told = json.loads((tmp_path / "page" / PAGE).read_text())
    assert len(told["parts"]) > 3
    for part in told["parts"]:
        content = (tmp_path / "page" / part["name"]).read_bytes()
        assert len(content) == part["size"] <= 10_000
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
    Image.fromarray(data.astronaut()).save(tmp_path / "picture.png")
    arguments = ["predict", "--model", str(tmp_path / "page"), str(tmp_path / "picture.png")]
    assert main([*arguments, "--format", "csv"]) == 0
    assert "größer" in capsys.readouterr().out


@pytest.mark.parametrize("moment", ["verify", "write"])
def test_an_interrupted_export_leaves_the_old_page(model, runtime, tmp_path, monkeypatch, moment):
    path = tmp_path / "page"
    export_model(model, path, format="web", verification=False)
    before = {file.name: file.read_bytes() for file in path.iterdir()}

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    if moment == "verify":
        monkeypatch.setattr(formats, "verify", interrupt)
    else:
        monkeypatch.setattr(web, "_written", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_model(model, path, format="web", class_names=NAMES, overwrite=True, verbose=0)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


def test_what_cannot_be_a_page(tmp_path):
    with pytest.raises(ValueError, match="A web page cannot show an embedding"):
        export_model(tiny(), tmp_path / "page", format="web", part="embedding")
    grey = keras.Input((75, 75, 1))
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(grey))
    with pytest.raises(ValueError, match=r"needs input of shape \(height, width, 3\)"):
        export_model(keras.Model(grey, outputs), tmp_path / "page", format="web", pixels="raw")
    assert not list(tmp_path.iterdir())


def test_without_npm_or_with_another_runtime(tmp_path, monkeypatch, model):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    with monkeypatch.context() as without:
        without.setattr(shutil, "which", lambda name: None)
        with pytest.raises(OSError, match=r"npm, which is not installed. Get onnxruntime-web-1"):
            export_model(model, tmp_path / "page", format="web", verbose=0)
    with monkeypatch.context() as offline:
        offline.setattr(
            subprocess, "run",
            lambda command, **_: subprocess.CompletedProcess(command, 1, "", "npm error offline\n"),
        )  # fmt: skip
        with pytest.raises(OSError, match=r"it says: npm error offline\. Get onnxruntime-web-1"):
            export_model(model, tmp_path / "page", format="web", verbose=0)
    home = tmp_path / "home" / "keras_inception_v4"
    assert not list(home.iterdir())
    (home / f"{web.RUNTIME}-{web.VERSION}.tgz").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"its SHA-512 differs\. Remove it"):
        export_model(model, tmp_path / "page", format="web", verbose=0)
    assert not (tmp_path / "page").exists()
