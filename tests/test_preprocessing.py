import io

import keras
import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from keras_inception_v4 import decode_predictions, load_image, preprocess_input
from keras_inception_v4.preprocessing import imagenet_classes, resize_image


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **{"format": "PNG", **options})
    return file.getvalue()


def photograph(height=60, width=80, channels=3):
    """Smooth enough that no resampling clips."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / (5 + c) + c) * np.cos(y / (7 - c)) for c in range(channels)]
    return np.stack(waves, axis=-1).round().astype("uint8")


@pytest.mark.backends
class TestPreprocessInput:
    @pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
    def test_array(self, dtype):
        x = np.array([[0, 51, 255]], dtype)
        before = x.copy()
        y = preprocess_input(x)
        np.testing.assert_allclose(y, [[-1, -0.6, 1]], atol=1e-6)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(x, before)

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_tensor(self, dtype):
        x = keras.ops.convert_to_tensor(np.array([[0, 51, 255]], dtype))
        y = preprocess_input(x)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(y), [[-1, -0.6, 1]], atol=1e-6)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(x), [[0, 51, 255]])

    def test_keras_tensor(self):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, preprocess_input(inputs))
        y = model.predict_on_batch(np.array([[0, 51, 127.5, 255]], "float32"))
        np.testing.assert_allclose(y, [[-1, -0.6, 0, 1]], atol=1e-6)

    def test_inside_tf_data(self):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(np.array([[0, 51, 255]], "uint8"))
        (y,) = data.map(preprocess_input).as_numpy_iterator()
        np.testing.assert_allclose(y, [-1, -0.6, 1], atol=1e-6)

    def test_data_format_is_checked(self):
        preprocess_input(np.zeros(3), data_format="channels_first")
        with pytest.raises(ValueError, match=r"data_format='NCHW'.*'channels_first'"):
            preprocess_input(np.zeros(3), data_format="NCHW")


class TestDecodePredictions:
    def test_best_first(self):
        preds = np.zeros((2, 1000), "float32")
        preds[0, [0, 3]] = [0.7, 0.3]
        preds[1, 999] = 1
        first, second = decode_predictions(preds, top=2)
        assert first[0] == ("n01440764", "tench", pytest.approx(0.7))
        assert first[1] == ("n01491361", "tiger_shark", pytest.approx(0.3))
        assert second[0][2] == 1.0
        assert second[0][0] == imagenet_classes()[999][0]

    def test_the_table_is_whole_and_sorted(self):
        synsets = [synset for synset, _ in imagenet_classes()]
        assert len(set(synsets)) == 1000
        assert synsets == sorted(synsets)
        assert imagenet_classes()[386] == ("n02504458", "African_elephant")

    @pytest.mark.backends
    def test_tensor(self):
        preds = keras.ops.one_hot(np.array([386]), 1000)
        assert decode_predictions(preds, top=1)[0][0][1] == "African_elephant"

    @pytest.mark.parametrize("shape", [(1, 10), (1, 1001), (1000,), (1, 1, 1000)])
    def test_another_head_is_refused(self, shape):
        with pytest.raises(ValueError, match=r"1000 ImageNet classes.*your class names"):
            decode_predictions(np.zeros(shape))

    @pytest.mark.parametrize("top", [0, 1001, 2.5])
    def test_top_is_checked(self, top):
        with pytest.raises(ValueError, match=f"top={top}.*from 1 to 1000"):
            decode_predictions(np.zeros((1, 1000)), top=top)


class TestLoadImage:
    def test_path_and_bytes(self, tmp_path):
        content = encoded(Image.fromarray(photograph()))
        path = tmp_path / "photo.png"
        path.write_bytes(content)
        x = load_image(path)
        assert x.shape == (299, 299, 3)
        assert x.dtype == np.float32
        np.testing.assert_array_equal(load_image(str(path)), x)
        np.testing.assert_array_equal(load_image(content), x)

    @pytest.mark.parametrize("shape", [(60, 80), (81, 60), (700, 411), (299, 299)])
    @pytest.mark.parametrize(("size", "crop"), [((299, 299), 0.875), ((75, 101), 1.0)])
    def test_it_is_tensorflow_s_antialiased_bicubic_and_a_central_crop(self, shape, size, crop):
        import tensorflow as tf

        pixels = photograph(*shape)
        height, width = size
        scale = max(int(height / crop) / shape[0], int(width / crop) / shape[1])
        scaled = [int(round(side * scale, 6)) for side in shape]
        resized = tf.image.resize(pixels, scaled, method="bicubic", antialias=True).numpy()
        top, left = (round((s - w) / 2) for s, w in zip(scaled, size, strict=True))
        expected = resized[top : top + height, left : left + width].clip(0, 255)
        found = load_image(encoded(Image.fromarray(pixels)), size, crop)
        assert np.abs(found - expected).max() <= 0.01

    def test_full_crop_keeps_the_whole_short_side(self):
        pixels = photograph(80, 120)
        found = load_image(encoded(Image.fromarray(pixels)), (80, 80), crop=1.0)
        np.testing.assert_array_equal(found, pixels[:, 20:100])

    def test_a_very_long_image_costs_only_its_window(self):
        strip = Image.new("RGB", (20_000, 2), "red")
        np.testing.assert_allclose(load_image(encoded(strip))[0, 0], [255, 0, 0])

    @pytest.mark.parametrize(
        ("mode", "color", "expected"),
        [
            ("1", 1, (255, 255, 255)),
            ("L", 77, (77, 77, 77)),
            ("P", 0, (0, 0, 0)),
            ("LA", (77, 255), (77, 77, 77)),
            ("LA", (77, 0), (255, 255, 255)),
            ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
            ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
            ("I;16", 257 * 77, (77, 77, 77)),
        ],
    )
    def test_modes_of_png(self, mode, color, expected):
        x = load_image(encoded(Image.new(mode, (9, 8), color)), (75, 75))
        np.testing.assert_allclose(x[40, 40], expected, atol=0.01)

    @pytest.mark.parametrize(
        ("mode", "format", "color", "expected"),
        [
            ("CMYK", "TIFF", (0, 255, 255, 0), (255, 0, 0)),
            ("YCbCr", "TIFF", (77, 128, 128), (77, 77, 77)),
            ("LAB", "TIFF", (255, 128, 128), (255, 255, 255)),
            ("I", "TIFF", 257 * 77, (77, 77, 77)),
            ("F", "TIFF", 77.5, (77.5, 77.5, 77.5)),
            ("RGB", "BMP", (1, 2, 3), (1, 2, 3)),
            ("P", "GIF", 0, (0, 0, 0)),
            ("RGB", "WEBP", (77, 77, 77), (77, 77, 77)),
        ],
    )
    def test_modes_of_other_formats(self, mode, format, color, expected):
        if (mode, int(PIL.__version__.split(".")[0]) < 13) == ("YCbCr", True):
            pytest.skip("Pillow before 13 does not read the YCbCr TIFF that it writes")
        x = load_image(encoded(Image.new(mode, (16, 16), color), format=format), (75, 75))
        np.testing.assert_allclose(x[40, 40], expected, atol=2)

    def test_palette_with_transparency_lies_on_white(self):
        image = Image.new("P", (9, 8), 3)
        image.putpalette([0] * 768)
        x = load_image(encoded(image, transparency=3), (75, 75))
        np.testing.assert_array_equal(x, np.full((75, 75, 3), 255))

    def test_exif_is_turned_upright(self):
        pixels = photograph(80, 80)
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
        turned = load_image(encoded(Image.fromarray(pixels), exif=exif), (80, 80), crop=1)
        np.testing.assert_array_equal(turned, np.rot90(pixels, -1))

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
    @pytest.mark.parametrize(
        "metadata", [b"Exif\0\0no tiff", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"II*\0\x08"]
    )
    def test_broken_metadata_never_refuses_pixels(self, format, metadata):
        pixels = photograph(80, 80)
        file = io.BytesIO()
        options = {"quality": 95} if format in ("JPEG", "WEBP") else {}
        if format == "TIFF":  # an orientation that is none
            options["tiffinfo"] = {0x0112: len(metadata)}
        else:
            options["exif"] = metadata
        Image.fromarray(pixels).save(file, format, **options)
        found = load_image(file.getvalue(), (80, 80), crop=1.0)
        assert np.abs(found - pixels).mean() < 6

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation_is_pillow_s(self, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = encoded(Image.fromarray(photograph(60, 80)), exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
        found = load_image(content, expected.shape[:2], crop=1.0)
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("values", [[np.nan] * 4, [np.inf], [-np.inf, 1.0], [np.nan, np.inf]])
    def test_pixels_that_are_no_numbers(self, tmp_path, values):
        pixels = np.full((9, 8), 100, "float32")
        pixels[0, : len(values)] = values
        Image.fromarray(pixels).save(tmp_path / "float.tiff")
        bad = int(np.sum(~np.isfinite(values)))
        message = rf"float\.tiff cannot be read as an image: {bad} of 72 pixels are not finite"
        with pytest.raises(ValueError, match=message):
            load_image(tmp_path / "float.tiff")

    def test_values_stay_in_range(self):
        edges = np.kron(np.eye(10), np.ones((3, 3)))[..., None].repeat(3, 2) * 255
        x = load_image(encoded(Image.fromarray(edges.astype("uint8"))), (120, 120))
        assert x.min() == 0
        assert x.max() == 255

    def test_pixels_are_treated_as_a_file_is(self):
        pixels = photograph()
        np.testing.assert_array_equal(
            resize_image(pixels, (99, 120)), load_image(encoded(Image.fromarray(pixels)), (99, 120))
        )
        grey = pixels[..., 0]
        np.testing.assert_array_equal(
            resize_image(grey, (99, 99)), load_image(encoded(Image.fromarray(grey)), (99, 99))
        )

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no image file .*nothing\.jpg"):
            load_image(tmp_path / "nothing.jpg")

    def test_folder(self, tmp_path):
        with pytest.raises(ValueError, match="is a folder"):
            load_image(tmp_path)

    @pytest.mark.parametrize("tenth", range(10))
    def test_truncated(self, tmp_path, tenth):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), "uint8")
        content = encoded(Image.fromarray(noise), format="JPEG", quality=95)
        path = tmp_path / "cut.jpg"
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(ValueError, match=r"cut\.jpg cannot be read as an image"):
            load_image(path)

    def test_bytes_that_are_no_image(self):
        with pytest.raises(ValueError, match="the given bytes cannot be read as an image"):
            load_image(b"GIF89a nonsense")

    @pytest.mark.parametrize("source", [None, 3, np.zeros((3, 3))])
    def test_another_type(self, source):
        with pytest.raises(ValueError, match=f"Received {type(source).__name__}"):
            load_image(source)

    @pytest.mark.parametrize("crop", [0, -1, 1.01])
    def test_crop_is_checked(self, crop):
        with pytest.raises(ValueError, match=f"crop={crop}"):
            load_image(encoded(Image.new("L", (9, 9))), crop=crop)

    @pytest.mark.parametrize("size", [299, (0, 3), (1, 2, 3), "ab"])
    def test_size_is_checked(self, size):
        with pytest.raises(ValueError, match=r"size=.*\(height, width\)"):
            load_image(encoded(Image.new("L", (9, 9))), size)
