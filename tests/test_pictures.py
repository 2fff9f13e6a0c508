"""Large images: read band by band, with a memory limit over all threads."""

import contextlib
import io
import threading

import numpy as np
import pytest
from PIL import Image

from keras_inception_v4.preprocessing import Picture, check_image, opened
from keras_inception_v4.preprocessing.pictures import Budget, Limits

BICUBIC = Image.Resampling.BICUBIC


def noise(mode, height=260, width=340):
    """A picture of a mode; noise shows every pixel that is read from a wrong place."""
    rng = np.random.default_rng(0)
    if mode in ("I;16", "F"):
        grey = rng.uniform(0, 255, (height, width))
        return Image.fromarray(
            (grey * 257).astype("uint16") if mode == "I;16" else grey.astype("f")
        )
    pixels = rng.integers(0, 256, (height, width, 4), dtype="uint8")
    return Image.fromarray(pixels).convert(mode)


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def bands_of(pixels):
    return Limits(pixels, Budget(2**27))


WAYS = {
    "JPEG": ("RGB", {"format": "JPEG"}),
    "progressive JPEG": ("RGB", {"format": "JPEG", "progressive": True}),
    "JPEG of print colours": ("CMYK", {"format": "JPEG"}),
    "turned JPEG": ("RGB", {"format": "JPEG", "exif": 6}),
    "grey PNG": ("L", {"format": "PNG"}),
    "PNG of 16 bits": ("I;16", {"format": "PNG"}),
    "transparent PNG": ("RGBA", {"format": "PNG"}),
    "palette": ("P", {"format": "GIF"}),
    "black and white": ("1", {"format": "TIFF"}),
    "floating point": ("F", {"format": "TIFF"}),
    "Lab": ("LAB", {"format": "TIFF"}),
    "WebP": ("RGB", {"format": "WEBP", "lossless": True}),
}


@pytest.mark.parametrize("way", WAYS)
def test_bands_answer_what_the_whole_does(way):
    mode, options = WAYS[way]
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = options["exif"]
        options = {**options, "exif": exif}
    if mode == "LAB":
        red, green, blue, _ = noise("RGBA").split()
        file = encoded(Image.merge("LAB", (red, green, blue)), **options)
    else:
        file = encoded(noise(mode), **options)
    with opened(file) as picture:
        box = (3, 5, picture.width - 2, picture.height - 7)
        whole = picture.window(box, (31, 47), BICUBIC)
    with opened(file, limits=bands_of(1000)) as picture:
        banded = picture.window(box, (31, 47), BICUBIC)
    assert whole.shape == (31, 47, 3)
    assert whole.std() > 3
    np.testing.assert_allclose(banded, whole, atol=1e-3)


@pytest.mark.parametrize("band", [2**22, 700])
@pytest.mark.parametrize(
    "box", [(0, 0, 340, 260), (17.3, 40.9, 290.1, 251.2), (330, 0, 340, 9), (100, 100, 101, 101)]
)
def test_a_window_is_a_resize_of_the_whole(band, box):
    """Pillow's own resize, which looks at the whole image."""
    image = noise("RGB")
    with opened(encoded(image, format="PNG"), limits=bands_of(band)) as picture:
        found = picture.window(box, (24, 50), BICUBIC)
    expected = [c.convert("F").resize((50, 24), BICUBIC, box) for c in image.split()]
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=1e-2)
    of_pixels = Picture.of(np.asarray(image)).window(box, (24, 50), BICUBIC)
    np.testing.assert_allclose(of_pixels, found, atol=1e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_windows_are_upright(orientation):
    image, exif = noise("RGB"), Image.Exif()
    exif[0x0112] = orientation
    upright = image.transpose(turn) if (turn := turns().get(orientation)) is not None else image
    with opened(encoded(image, format="PNG", exif=exif)) as picture:
        assert (picture.width, picture.height) == upright.size
        found = picture.window((10, 30, 110, 230), (40, 20), BICUBIC)
    with opened(encoded(upright, format="PNG")) as picture:
        expected = picture.window((10, 30, 110, 230), (40, 20), BICUBIC)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def turns():
    """What EXIF's numbers ask for, in Pillow's words."""
    turn = Image.Transpose
    return {
        2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
        6: turn.ROTATE_270, 7: turn.TRANSVERSE, 8: turn.ROTATE_90,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["JPEG", "progressive JPEG", "transparent PNG", "WebP", "Lab"])
def test_the_scan_finds_cut_files(tmp_path, way):
    mode, options = WAYS[way]
    image = noise("RGB" if mode == "LAB" else mode)
    whole = encoded(image, **options)
    path = tmp_path / "picture"
    path.write_bytes(whole)
    check_image(path)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ValueError, match="picture cannot be read as an image"):
        check_image(path)


@pytest.mark.parametrize("row", [0, 130, 259])
def test_the_scan_looks_at_every_band(tmp_path, row):
    pixels = np.array(noise("F"))
    pixels[row, 5] = np.nan
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with (
        pytest.raises(ValueError, match="not finite"),
        opened(tmp_path / "a.tiff", limits=bands_of(1000)) as picture,
    ):
        picture.thumbnail(1)


@pytest.mark.parametrize(("each", "at_once"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_threads_share_what_may_be_decoded(each, at_once):
    """Pictures of so many thousand pixels where 5,000 are allowed."""
    file = encoded(Image.new("L", (each * 100, 10)), format="PNG")
    inside, most, meeting = set(), [], threading.Barrier(min(at_once, 4))

    class Watched(Budget):
        @contextlib.contextmanager
        def hold(self, amount):
            with super().hold(amount):
                inside.add(threading.get_ident())
                most.append(len(inside))
                meeting.wait(20)  # as many as may be inside do come together
                most.append(len(inside))
                inside.discard(threading.get_ident())
                yield

    limits = Limits(2**22, Watched(5000))

    def read():
        with opened(file, limits=limits) as picture:
            picture.window((0, 0, picture.width, picture.height), (5, 5), BICUBIC)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == at_once


def test_a_picture_that_fails_gives_back_its_share():
    limits = Limits(2**22, Budget(100))
    file = encoded(noise("RGB"), format="PNG")

    def read(content):
        with opened(content, limits=limits) as picture:
            return picture.window((0, 0, picture.width, picture.height), (5, 5), BICUBIC)

    for _ in range(3):
        with pytest.raises(ValueError, match="cannot be read"):
            read(file[:5000])
    assert read(file).shape == (5, 5, 3)
