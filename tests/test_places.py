"""Where images may be: files, folders, tables with images or paths, and addresses."""

import io
import os
import sys
from itertools import islice

import fsspec
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from tiny import tiny

from keras_inception_v4.data import addresses, places
from keras_inception_v4.data.addresses import fetched
from keras_inception_v4.data.places import PIECE, Files, Rows, piece_of, pieces
from keras_inception_v4.inference.embedding import stream_embeddings


def encoded(index):
    rng = np.random.default_rng(index)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), "uint8")).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty pictures, `f/sub` holds the last eight; number 3 is none."""
    folder = tmp_path_factory.mktemp("places") / "f"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    (folder / "sub" / ".hidden" / "x.png").touch()
    (folder / ".x.png").touch()
    for index in range(20):
        name = f"{index:02}.png" if index < 12 else f"sub/{index}.png"
        (folder / name).write_bytes(b"none" if index == 3 else encoded(index))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("places") / "model.keras"
    tiny().save(path)
    return path


def contents(folder):
    paths = sorted(path for path in folder.rglob("*.png") if "/." not in str(path))
    return paths, [path.read_bytes() for path in paths]


def write(path, /, **columns):
    parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    return path


def kinds(folder, where):
    """The same pictures in each kind of place, and what they are called there."""
    paths, content = contents(folder)
    names = list(map(str, paths))
    structs = [{"bytes": c, "path": "x.png"} for c in content]
    relative = [os.path.relpath(path, where) for path in paths]
    rows = [f"{where}/{{}}.parquet#{i}" for i in range(20)]
    return {
        "folder": (folder, names),
        "address": (f"file://{folder}", [f"file://{name}" for name in names]),
        "bytes": (write(where / "bytes.parquet", picture=content, label=list(range(20))),
                  [row.format("bytes") for row in rows]),
        "structs": (write(where / "structs.parquet", image=structs, path=relative),
                    [row.format("structs") for row in rows]),
        "paths": (write(where / "paths.parquet", file=relative, label=["a"] * 20),
                  [f"{where}/{path}" for path in relative]),
        "absolute": (write(where / "absolute.parquet", path=names), names),
        "addresses": (write(where / "addresses.parquet", path=[f"file://{n}" for n in names]),
                      [f"file://{name}" for name in names]),
        "remote-table": (f"file://{where}/bytes.parquet",
                         [f"file://{where}/bytes.parquet#{i}" for i in range(20)]),
    }  # fmt: skip


KINDS = ["folder", "address", "bytes", "structs", "paths", "absolute", "addresses", "remote-table"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_gives_the_same_features(folder, model, tmp_path, kind):
    place, names = kinds(folder, tmp_path)[kind]
    output = tmp_path / "out"
    done = stream_embeddings(model, place, output, batch_size=4, part=6, verbose=0)
    assert done == (19, 1)
    found = [row for part in sorted(output.glob("part-*")) for row in
             parquet.read_table(part).to_pylist()]  # fmt: skip
    assert [row["path"] for row in found] == names[:3] + names[4:]
    stream_embeddings(model, folder, tmp_path / "expected", batch_size=4, part=6, verbose=0)
    expected = [row for part in sorted((tmp_path / "expected").glob("part-*")) for row in
                parquet.read_table(part).to_pylist()]  # fmt: skip
    np.testing.assert_allclose(
        [row["features"] for row in found], [row["features"] for row in expected], atol=1e-6
    )
    (bad,) = parquet.read_table(output / "left_out.parquet").to_pylist()
    assert bad["path"] == names[3]
    assert "cannot be read as an image" in bad["reason"]


def test_pieces_of_many_files_are_small_and_lazy(tmp_path, monkeypatch):
    for index in range(2 * PIECE + 5):
        (tmp_path / f"{index:04}.png").touch()
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "a.png").touch()
    listed, real = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or real(folder))
    found = pieces([tmp_path, tmp_path / "0000.png"])
    assert [len(piece) for piece in islice(found, 2)] == [PIECE, PIECE]
    assert listed == [tmp_path]
    assert [len(piece) for piece in found] == [5 + 1 + 1]
    assert listed == [tmp_path, tmp_path / "z"]


def test_a_piece_survives_its_way_to_another_machine_and_a_cut(tmp_path):
    table = write(tmp_path / "a.parquet", image=[bytes([i]) for i in range(20)])
    for piece in (*pieces([table]), Files(tuple("abcde"))):
        whole = list(zip(piece.names(), piece.contents({}), strict=True))
        assert len(whole) == len(piece)
        for count in range(1, len(piece)):
            parts = [piece_of(part.as_json()) for part in piece.cut(count)]
            assert list(map(len, parts)) == [count, len(piece) - count]
            again = [pair for p in parts for pair in zip(p.names(), p.contents({}), strict=True)]
            assert again == whole
    rows = [piece for piece in pieces([table]) if isinstance(piece, Rows)]
    assert [content for piece in rows for content in piece.contents({})] == [
        bytes([i]) for i in range(20)
    ]


def test_rows_without_a_picture_are_left_out(model, tmp_path):
    table = write(tmp_path / "a.parquet", image=[encoded(0), None, b"", encoded(1)])
    assert stream_embeddings(model, table, tmp_path / "out", verbose=0) == (2, 2)
    paths = pyarrow.array(["gone.png", None], pyarrow.string())
    table = write(tmp_path / "b.parquet", path=paths)
    assert stream_embeddings(model, table, tmp_path / "out2", verbose=0) == (0, 2)


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"label": ["a"]}, None, r"has no such column among label\. Say which: --column"),
        ({"path": ["a"], "file": ["a"]}, None, r"has several such columns \(path, file\)"),
        ({"a": [b"x"], "b": [b"x"]}, None, r"has several such columns \(a, b\)"),
        ({"path": ["a"], "n": [1]}, "n", r"no column 'n' of pictures or of paths\. It has path, n"),
        ({"path": ["a"]}, "x", "no column 'x'"),
    ],
)
def test_a_column_must_be_clear(model, tmp_path, columns, asked, message):
    table = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(ValueError, match=message):
        stream_embeddings(model, table, tmp_path / "out", column=asked, verbose=0)


def test_a_column_that_was_named_is_taken_and_recorded(model, tmp_path):
    table = write(tmp_path / "a.parquet", a=[encoded(0)], b=[b"none"])
    assert stream_embeddings(model, table, tmp_path / "a", column="a", verbose=0) == (1, 0)
    assert stream_embeddings(model, table, tmp_path / "b", column="b", verbose=0) == (0, 1)
    with pytest.raises(ValueError, match="column is 'a' there and 'b' here"):
        stream_embeddings(model, table, tmp_path / "a", column="b", verbose=0)


def test_damaged_tables_and_missing_places(model, tmp_path):
    table = write(tmp_path / "a.parquet", image=[encoded(0)])
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as a table"):
        stream_embeddings(model, table, tmp_path / "out", verbose=0)
    with pytest.raises(FileNotFoundError, match="no image file, folder or table"):
        stream_embeddings(model, tmp_path / "gone", tmp_path / "out", verbose=0)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        stream_embeddings(model, f"file://{tmp_path}/gone.png", tmp_path / "out2", verbose=0)
    with pytest.raises(ValueError, match=r"Chained addresses \(::\) are not read"):
        stream_embeddings(model, "zip://*.png::file:///a.zip", tmp_path / "out3", verbose=0)
    with pytest.raises(ValueError, match="nowhere://x cannot be read"):
        stream_embeddings(model, "nowhere://x", tmp_path / "out4", verbose=0)


def test_damage_inside_a_table_names_it(model, tmp_path):
    table = write(tmp_path / "a.parquet", image=[encoded(i) for i in range(9)])
    content = bytearray(table.read_bytes())
    content[4:3000] = bytes(2996)
    table.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.parquet is damaged"):
        stream_embeddings(model, table, tmp_path / "out", verbose=0)


def test_another_table_of_as_many_rows_is_refused(model, tmp_path):
    table = tmp_path / "a.parquet"
    write(table, image=[encoded(i) for i in range(9)])
    assert stream_embeddings(model, table, tmp_path / "out", part=4, verbose=0) == (9, 0)
    (tmp_path / "out" / "part-00001.parquet").unlink()
    write(table, image=[encoded(i + 50) for i in range(9)])
    with pytest.raises(ValueError, match="holds answers for other files"):
        stream_embeddings(model, table, tmp_path / "out", part=4, verbose=0)


def test_a_folder_of_tables_or_of_pictures_but_not_both(model, tmp_path):
    """`photos/labels.parquet` names the pictures beside it: each would be answered twice."""
    (tmp_path / "shards").mkdir()
    for number in range(3):
        write(tmp_path / "shards" / f"{number}.parquet", image=[encoded(number)] * 3)
    assert stream_embeddings(model, tmp_path / "shards", tmp_path / "out", verbose=0) == (9, 0)
    paths = parquet.read_table(tmp_path / "out" / "part-00000.parquet")["path"].to_pylist()
    assert [os.path.basename(path) for path in paths] == [
        f"{table}.parquet#{row}" for table in range(3) for row in range(3)
    ]
    (tmp_path / "shards" / "x.png").write_bytes(encoded(9))
    for place in (tmp_path / "shards", f"file://{tmp_path}/shards"):
        with pytest.raises(ValueError, match=r"holds tables \(.*0.parquet\) beside other files"):
            stream_embeddings(model, place, tmp_path / "out2", verbose=0)


def test_a_row_group_is_read_once_although_parts_cut_it(model, tmp_path, monkeypatch):
    table = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"image": [encoded(i) for i in range(20)]}), table)
    begun, real = [], places._values
    monkeypatch.setattr(places, "_values", lambda rows: begun.append(rows) or real(rows))
    assert stream_embeddings(model, table, tmp_path / "out", part=3, verbose=0) == (20, 0)
    assert len(begun) == 1


@pytest.mark.parametrize("fails", [1, 9])
def test_what_cannot_be_fetched_now_is_tried_again_and_is_no_bad_picture(
    model, tmp_path, monkeypatch, fails
):
    (tmp_path / "a.png").write_bytes(encoded(0))
    system, calls = fsspec.filesystem("file"), []
    real = type(system).cat_file

    def flaky(self, path, **options):
        calls.append(path)
        if len(calls) <= fails:
            raise RuntimeError("503 SlowDown")
        return real(self, path, **options)

    monkeypatch.setattr(type(system), "cat_file", flaky)
    monkeypatch.setattr(addresses, "WAITS", (0, 0))
    place = f"file://{tmp_path}/a.png"
    if fails < 3:
        assert stream_embeddings(model, place, tmp_path / "out", verbose=0) == (1, 0)
        return
    with pytest.raises(OSError, match=r"a\.png cannot be read: RuntimeError: 503 SlowDown"):
        stream_embeddings(model, place, tmp_path / "out", verbose=0)
    assert len(calls) == 3


def test_a_listing_that_fails_is_no_empty_folder(model, folder, tmp_path, monkeypatch):
    system = fsspec.filesystem("file")
    real = type(system).ls

    def flaky(self, path, **options):
        if path.endswith("sub"):
            raise OSError("503 SlowDown")
        return real(self, path, **options)

    monkeypatch.setattr(type(system), "ls", flaky)
    with pytest.raises(OSError, match="503 SlowDown"):
        stream_embeddings(model, f"file://{folder}", tmp_path / "out", verbose=0)


def test_too_large_to_fetch(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"abc")
    monkeypatch.setattr(addresses, "MOST_BYTES", 2)
    with pytest.raises(ValueError, match="has 3 bytes, more than 2"):
        fetched(f"file://{tmp_path}/a.png")


def test_an_address_without_fsspec_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"keras-inception-v4\[ray\]"):
        list(pieces(["s3://bucket/photos"]))
    with pytest.raises(ImportError, match=r"keras-inception-v4\[ray\]"):
        fetched("s3://bucket/a.png")
