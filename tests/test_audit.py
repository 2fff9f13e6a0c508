"""Audits: duplicates, wrong labels and other findings, and training without the files found."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from keras_inception_v4.audit import audit
from keras_inception_v4.audit.duplicates import DISTANCE, groups_of, near_pairs
from keras_inception_v4.audit.features import look_around, wrong_labels
from keras_inception_v4.cli import main
from keras_inception_v4.data.digits import digit_scans
from keras_inception_v4.data.findings import EXACT, LABEL, NEAR, Finding, read_exclusions
from keras_inception_v4.runs.run import read_images
from keras_inception_v4.runs.settings import Settings

WRONG = 10


def write_digits(root, count=500):
    """Digits in two parts, ten with a wrong label; the names of these."""
    scans, labels = digit_scans()
    rng = np.random.default_rng(0)
    wrong = set(rng.choice(count, WRONG, replace=False).tolist())
    names = []
    for number, index in enumerate(rng.permutation(len(labels))[:count]):
        label = int(labels[index])
        if number in wrong:
            label = (label + 1 + int(rng.integers(9))) % 10
        name = f"{'val' if number % 5 == 0 else 'train'}/{label}/{number:03}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scans[index]).resize((40, 40)).save(root / name)
        if number in wrong:
            names.append(name)
    return names


def duplicate_across(root):
    """Five pictures to train on once more among the held-out ones; both names of each."""
    pairs = []
    for number, path in enumerate(sorted((root / "train").rglob("*.png"))[::70][:5]):
        image = Image.open(path)
        suffix = "jpg" if number > 2 else "png"
        copy = root / "val" / path.parent.name / f"copy{number}.{suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        if number < 2:
            copy.write_bytes(path.read_bytes())
        else:
            side = (40, 60, 26)[number - 2]
            image.resize((side, side), Image.Resampling.BICUBIC).save(copy, optimize=True)
        pairs.append((path.relative_to(root).as_posix(), copy.relative_to(root).as_posix()))
    return pairs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("audit") / "digits"
    wrong = write_digits(root)
    return root, wrong, duplicate_across(root)


def test_duplicates_across_the_split(digits, tmp_path, capsys):
    root, _, pairs = digits
    output = tmp_path / "findings.parquet"
    arguments = ["audit", str(root), "--output", str(output), "--gallery", str(tmp_path / "g.png")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    done = audit(root, verbose=False)
    found = [finding for finding in done.findings if finding.kind in (EXACT, NEAR)]
    assert {(finding.path, finding.other) for finding in found} == set(pairs)
    assert [finding.kind for finding in found].count(EXACT) == 2
    for finding in found:
        assert finding.exclude
        assert finding.part == "train"
        assert finding.detail.endswith("in validation")
        assert finding.path in printed
    assert read_exclusions(output) == {path for path, _ in pairs}
    assert done.pictures == 505
    assert done.counts["small"] == 505  # of 40 pixels, for 299
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.width > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_a_training_leaves_out_what_was_found(digits, tmp_path, capsys):
    root, _, pairs = digits
    output = tmp_path / "findings.parquet"
    assert main(["audit", str(root), "--output", str(output), "--image-size", "75"]) == 0
    settings = Settings(data=root, weights=None, image_size=75, exclude=output)
    images = read_images(settings, verbose=False)
    assert (len(images.train), len(images.validation)) == (395, 105)
    names = {path.relative_to(root).as_posix() for path in images.train.paths}
    assert not names & {path for path, _ in pairs}
    assert len(images.left_out) == 5
    assert settings.as_json()["exclude"] == str(output)
    assert "exclude" not in Settings(data=root, weights=None).as_json()


def test_kinds_that_need_no_model(tmp_path, capsys):
    root, rng = tmp_path / "photos", np.random.default_rng(0)

    def picture(name, height, width):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (6, 6, 3)).astype("uint8")
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        image.save(root / name)
        return image

    for index in range(4):
        picture(f"a/{index}.png", 300, 320)
        last = picture(f"b/{index}.png", 310, 300)
    picture("a/wide.png", 300, 900)
    picture("a/tiny.png", 90, 90)
    Image.new("RGB", (300, 300), (9, 80, 9)).save(root / "a/plain.png")
    last.save(root / "a/as_b.jpg")  # the same picture in another class
    whole = (root / "a/0.png").read_bytes()
    (root / "b/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "stray.png").write_bytes(whole)
    done = audit(root, tmp_path / "f.parquet", verbose=False)
    kinds = {(finding.path, finding.kind): finding for finding in done.findings}
    assert set(kinds) == {
        ("b/cut.png", "unreadable"),
        ("stray.png", "unreadable"),
        ("a/plain.png", "one colour"),
        ("a/wide.png", "cut by the crop"),
        ("a/tiny.png", "small"),
        ("a/as_b.jpg", NEAR),
        ("b/3.png", NEAR),
    }
    assert kinds["a/as_b.jpg", NEAR].detail == "looks like b/3.png with another label"
    assert kinds["b/3.png", NEAR].other == "a/as_b.jpg"  # nobody knows which label is right
    assert kinds["a/wide.png", "cut by the crop"].detail == "900 x 300 pixels: the crop keeps 33%"
    assert "enlarged 3.8 times" in kinds["a/tiny.png", "small"].detail
    excluded = read_exclusions(tmp_path / "f.parquet")
    assert excluded == {"b/cut.png", "stray.png", "a/plain.png", "a/as_b.jpg", "b/3.png"}
    settings = Settings(data=root, weights=None, image_size=75, exclude=tmp_path / "f.parquet")
    images = read_images(settings, verbose=False)  # nothing is left that would be refused
    assert len(images.train) + len(images.validation) == 9


def test_a_table_and_its_images(tmp_path, capsys):
    root = tmp_path / "images"
    root.mkdir()
    scans, labels = digit_scans()
    rows = []
    for index in range(40):
        Image.fromarray(scans[index]).resize((40, 40)).save(root / f"{index}.png")
        rows.append((f"{index}.png", f"{labels[index]}|{'odd' if labels[index] % 2 else 'even'}"))
    (root / "copy.png").write_bytes((root / "5.png").read_bytes())
    rows += [("copy.png", rows[5][1]), ("gone.png", "1|odd")]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows])
    arguments = ["audit", str(tmp_path / "t.csv"), "--images", str(root)]
    assert main([*arguments, "--output", str(tmp_path / "f.parquet")]) == 0
    done = audit(tmp_path / "t.csv", images=root, verbose=False)
    found = {finding.path: finding for finding in done.findings if finding.kind != "small"}
    assert set(found) == {"copy.png", f"{tmp_path / 't.csv'}:41"}
    assert found["copy.png"].label == rows[5][1]
    assert "gone.png, which does not exist" in found[f"{tmp_path / 't.csv'}:41"].detail
    settings = Settings(
        data=tmp_path / "t.csv", images=root, weights=None, exclude=tmp_path / "f.parquet"
    )
    images = read_images(settings, verbose=False)
    assert len(images.train) + len(images.validation) == 40


def as_features(count):
    """A layer of random weights over digits, their labels, and a generator of numbers."""
    scans, labels = digit_scans()
    chosen = np.random.default_rng(1).permutation(len(labels))[:count]
    rng = np.random.default_rng(2)
    pixels = scans[chosen].reshape(count, -1) / 255
    features = np.maximum(pixels @ rng.normal(size=(pixels.shape[1], 800)), 0)
    return features.astype("float32"), labels[chosen].astype("int64"), rng


def test_wrong_labels_of_one_class():
    features, labels, rng = as_features(500)
    wrong = rng.choice(500, WRONG, replace=False)
    labels[wrong] = (labels[wrong] + 1 + rng.integers(0, 9, WRONG)) % 10
    alone = np.append(labels, 10)  # a class of one picture cannot be learned
    found = wrong_labels(np.vstack([features, features[:1]]), alone, "single-label", 0)
    assert len(set(wrong) & {each.picture for each in found[:20]}) >= 8
    assert len(found) < 40
    scores = [each.score for each in found]
    assert scores == sorted(scores)
    assert 500 not in {each.picture for each in found}


def test_wrong_labels_of_several_classes():
    features, labels, rng = as_features(500)
    flags = np.stack([labels % 2 == 1, labels < 5, labels == 7], axis=1).astype("float32")
    wrong = rng.choice(500, WRONG, replace=False)
    flags[wrong, 1] = 1 - flags[wrong, 1]
    found = wrong_labels(features, flags, "multi-label", 0)
    assert len(set(wrong) & {each.picture for each in found[:25]}) >= 7
    for each in found:
        if each.picture in wrong[:5]:
            assert (1 in each.suggested) == (flags[each.picture, 1] == 0)


def test_wrong_numbers():
    features, _, rng = as_features(500)
    targets = np.stack([features.mean(axis=1), 1000 * features[:, 20]], axis=1)
    wrong = rng.choice(500, WRONG, replace=False)
    targets[wrong, 0] += 300
    found = wrong_labels(features, targets, "regression", 0)
    assert {each.picture for each in found[:WRONG]} == set(wrong)
    assert abs(found[0].suggested[0] - (targets[found[0].picture, 0] - 300)) < 60


def test_neighbours():
    """One far from all others, and a picture twice, brighter; not one whose features collapsed."""
    rng = np.random.default_rng(0)
    features = rng.normal(1, 0.3, (60, 20)).astype("float32")
    features[7] *= -1
    features[21] = features[20] + 1e-3
    features[41] = features[40] + 1e-3
    small = rng.integers(0, 200, (60, 16, 16, 3)).astype("uint8")
    small[21] = small[20] + 40
    around = look_around(features, small)
    assert [index for index, _ in around.odd] == [7]
    assert around.same.tolist() == [[20, 21]]


def test_every_pair_of_near_hashes_is_found():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300, dtype="uint64")
    for index in range(100):  # flips of up to as many bits as may differ
        bits = rng.choice(64, index % (DISTANCE + 2), replace=False)
        flips = np.bitwise_or.reduce(np.left_shift(np.uint64(1), bits.astype("uint64")), initial=0)
        hashes[200 + index] = hashes[index] ^ np.uint64(flips)
    small = np.zeros((300, 16, 16, 3), "uint8")
    found = {tuple(pair) for pair in near_pairs(hashes, small).tolist()}
    expected = {(i, 200 + i) for i in range(100) if i % (DISTANCE + 2) <= DISTANCE}
    assert found == expected
    small[200:] = 50  # and the pictures themselves decide
    assert not len(near_pairs(hashes, small))


def test_groups():
    pairs = np.array([[3, 1], [1, 7], [2, 5]])
    assert [group.tolist() for group in groups_of(pairs, 9)] == [[1, 3, 7], [2, 5]]


def test_the_kept_one_is_held_out_and_first(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 30, 3)).astype("uint8"))
    for name in ("train/a/0", "train/a/1", "test/a/2", "train/b/3", "test/b/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(("3", "4")):
            image = Image.fromarray(rng.integers(0, 256, (30, 30, 3)).astype("uint8"))
        image.save(tmp_path / f"{name}.png")
    done = audit(tmp_path, size=30, crop=1.0, verbose=False)
    told = {finding.path: (finding.other, finding.part) for finding in done.findings}
    assert told == {
        "train/a/0.png": ("test/a/2.png", "train"),
        "train/a/1.png": ("test/a/2.png", "train"),
    }


def test_what_is_wrong_is_said(digits, tmp_path, capsys, monkeypatch):
    root, _, _ = digits
    assert main(["audit", str(root), "--output", str(tmp_path / "f.csv")]) == 1
    assert "It must end in .parquet" in capsys.readouterr().err
    assert main(["audit", "nowhere", "--output", str(tmp_path / "f.parquet")]) == 1
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"exclude=.*with digits, which are no files"):
        Settings(exclude="f.parquet")
    with pytest.raises(FileNotFoundError, match="no file of findings"):
        read_exclusions(tmp_path / "f.parquet")
    (tmp_path / "f.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="cannot be read as findings"):
        read_exclusions(tmp_path / "f.parquet")
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(ImportError, match=r"An audit needs imagehash.*\[audit\]"):
        audit(root, verbose=False)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(ImportError, match=r"Finding wrong labels needs cleanlab.*\[audit\]"):
        audit(root, model="imagenet", verbose=False)


def test_findings_of_other_data_are_refused(digits, tmp_path):
    """Those of a part, from which its pictures have other names."""
    root, _, _ = digits
    (tmp_path / "few").mkdir()
    for name in ("a", "b"):
        (tmp_path / "few" / name).mkdir()
        for index in range(2):
            path = tmp_path / "few" / name / f"{index}.png"
            path.write_bytes(next((root / "train").glob("*/*.png")).read_bytes())
    audit(tmp_path / "few", tmp_path / "f.parquet", verbose=False)
    settings = Settings(data=root, weights=None, image_size=75, exclude=tmp_path / "f.parquet")
    with pytest.raises(ValueError, match=r"None of the 4 pictures to exclude is in the data"):
        read_images(settings, verbose=False)


def test_options_of_the_other_kind_of_data_are_refused(digits, tmp_path):
    root, _, _ = digits
    with pytest.raises(ValueError, match=r"Received images, task with data=.*, which is no table"):
        audit(root, images=tmp_path, task="multi-label", verbose=False)
    (tmp_path / "t.csv").write_text("file,label\n1.png,a\n")
    with pytest.raises(ValueError, match="Received nested with a table"):
        audit(tmp_path / "t.csv", nested=True, verbose=False)
    with pytest.raises(ValueError, match=r"Received crop=1.5. It must be above 0 and at most 1"):
        audit(root, crop=1.5, verbose=False)


def test_a_list_of_ones_own_may_exclude(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": ["a", "b"]}), tmp_path / "own.parquet")
    assert read_exclusions(tmp_path / "own.parquet") == {"a", "b"}
    parquet.write_table(pyarrow.table({"file": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"has the columns file. Findings have a column path"):
        read_exclusions(tmp_path / "other.parquet")
    assert Finding("a", LABEL, "").exclude
