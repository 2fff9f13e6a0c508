"""How the benchmarks measure and report. `benchmarks/RESULTS.md` has their results."""

import importlib
import os
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # behind the installed package

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import networks, report  # noqa: E402
from benchmarks.__main__ import LONG, SUBJECTS  # noqa: E402
from benchmarks.inference import Measured, claims  # noqa: E402
from benchmarks.report import Claim, Findings, Row, Table  # noqa: E402
from benchmarks.workers import (  # noqa: E402
    Contender,
    NotMeasuredError,
    Spread,
    in_a_process,
    interleaved,
    ratio,
    require_complete,
    started,
)


def writer(path, letter, seconds):
    def prepare(word):
        def run():
            time.sleep(seconds)
            with open(path, "a") as file:
                file.write(letter + word)

        return run

    return prepare


def missing(what):
    raise ImportError(f"No module named {what!r}\nand a second line")


def refuses_large(limit):
    def prepare(word):
        if len(word) > limit:
            raise ValueError(f"at most {limit}")
        return lambda: None

    return prepare


def dies():
    os._exit(7)


def backend():
    name = os.environ["KERAS_BACKEND"]

    def prepare(word):
        raise ValueError(name)

    return prepare


def test_contenders_take_turns(tmp_path):
    path = tmp_path / "turns"
    chosen = [
        Contender(letter, writer, {"path": str(path), "letter": letter, "seconds": seconds})
        for letter, seconds in (("A", 0.01), ("B", 0.2))
    ]
    with started(chosen) as (workers, reasons):
        seconds, refused = interleaved(workers, 3, word="-")
        assert workers["A"].peak() > 1e6
        pids = [worker.process.pid for worker in workers.values()]
    assert path.read_text() == "A-B-" + 3 * "A-B-"  # warm-up, then in turns
    assert reasons == refused == {}
    assert min(seconds["A"]) >= 0.01
    assert ratio(seconds, "A", "B").median > 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_who_cannot_be_measured_says_why():
    chosen = [
        Contender("missing", missing, {"what": "timm"}),
        Contender("dies", dies),
        Contender("small", refuses_large, {"limit": 3}),
        Contender("large", refuses_large, {"limit": 9}),
        Contender("torch", backend, environment={"KERAS_BACKEND": "torch"}),
    ]
    before = dict(os.environ)
    with started(chosen) as (workers, reasons):
        seconds, refused = interleaved(workers, 2, word="seven")
        _, again = interleaved(workers, 1, word="a")
    assert reasons == {
        "missing": "ImportError: No module named 'timm'",
        "dies": "its process ended with 7",
    }
    assert refused == {"small": "ValueError: at most 3", "torch": "ValueError: torch"}
    assert list(seconds) == ["large"]
    assert set(again) == {"small", "torch"}
    assert dict(os.environ) == before


def in_precision(precision):
    return lambda **task: lambda: None


def test_bfloat16_is_not_measured_where_it_is_emulated():
    chosen = [
        Contender("fast", in_precision, {"precision": "float32"}),
        Contender("emulated", in_precision, {"precision": "bfloat16"}),
        Contender("elsewhere", in_precision, {"precision": "bfloat16"}, on_gpu=True),
    ]
    with started(chosen, lambda: False) as (workers, reasons):
        assert list(workers) == ["fast", "elsewhere"]
    assert reasons == {"emulated": "this processor does not compute in bfloat16"}


def test_plain_loops_are_no_limit():
    networks.matrix_product("TensorFlow", "float32")
    with pytest.raises(RuntimeError, match="TensorFlow has only plain loops for float32"):
        networks.matrix_product("TensorFlow", "float32", slow=float("inf"))


def test_a_step_that_fails_ends_the_subject():
    with pytest.raises(NotMeasuredError, match="dies ended with 7"):
        in_a_process(dies)


@pytest.mark.parametrize("files", [(), ("report.json",), ("model.keras",)])
def test_a_run_that_has_not_ended_is_named(tmp_path, files):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(NotMeasuredError, match=rf"{tmp_path.name} holds no complete run.*--run"):
        require_complete(tmp_path)


def test_every_subject_has_a_module():
    for subject in [*SUBJECTS, *LONG]:
        assert callable(importlib.import_module(f"benchmarks.{subject}").measure)


def findings(fast=2.0):
    rows = [
        Row("ours", Spread(10, 9, 11), Spread(1, 1, 1), 0.91),
        Row("theirs", Spread(10 * fast, 18, 22), Spread(fast, fast - 0.1, fast + 0.2)),
        Row("absent", note="it cannot be imported"),
    ]
    claims = [
        Claim("theirs / ours", Spread(fast, fast - 0.1, fast + 0.2), 1.5),
        Claim("size", Spread(0.3, 0.3, 0.3), 0.27, at_most=True),
    ]
    return Findings([Table("Batch 8", "images/s", "ours", rows, "speed")], claims, ["A remark."])


@pytest.fixture
def written(tmp_path):
    here, docs = tmp_path / "benchmarks", tmp_path / "docs"
    here.mkdir()
    docs.mkdir()
    pages = tmp_path / "README.md", docs / "benchmarks.md"
    for page, begin in zip(pages, (report.BEGIN_CHOSEN, report.BEGIN), strict=True):
        page.write_text(f"before\n{begin}\nold\n{report.END}\nafter\n")
    with mock.patch.object(report, "CHOSEN", [("inference", "theirs / ours"), ("other", "size")]):
        report.write({"inference": report.entry(findings(), 61.2)}, here, pages)
    return here


def test_results_say_what_was_measured_and_where(written):
    text = (written / "RESULTS.md").read_text()
    assert "## Inference" in text
    assert "| theirs / ours | 2 (1.9 to 2.2) | at least 1.5 | held |" in text
    assert "| size | 0.3 | at most 0.27 | **missed** |" in text
    assert "| ours | 10 (9 to 11) | 1 | 91% |" in text
    assert "| absent | not measured: it cannot be imported |  |  |" in text
    assert "A remark." in text
    assert f"{len(os.sched_getaffinity(0))} cores" in text
    assert f"tensorflow {report.machine()['tensorflow']}" in text


@pytest.mark.parametrize("page", ["README.md", "docs/benchmarks.md"])
def test_pages_have_the_ratios(written, page):
    text = (written.parent / page).read_text()
    begin = report.BEGIN_CHOSEN if page == "README.md" else report.BEGIN
    assert text.startswith(f"before\n{begin}\n| subject |")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "old" not in text
    assert "| `inference` | theirs / ours | 2 (1.9 to 2.2) | at least 1.5 |" in text
    size = "| `inference` | size | 0.3 | at most 0.27, **missed** |"
    assert (size in text) == (page != "README.md")


def test_sittings_are_taken_together():
    found = Measured(8, 75)
    found.add("float32", {"SavedModel": [1, 2], "timm": [2, 2], "LiteRT": [1, 1]}, {})
    found.add("float32", {"SavedModel": [2, 1], "timm": [8, 4]}, {"LiteRT": "it ended"})
    table = found.table()
    assert [row.name for row in table.rows] == [
        "SavedModel float32", "timm float32", "LiteRT float32",
    ]  # fmt: skip
    ours, timm, litert = table.rows
    assert ours.value == Spread(6, 4, 8)
    assert timm.value == Spread(3, 1, 4)
    assert timm.ratio == Spread(0.375, 0.25, 1)
    assert found.times("SavedModel float32", "timm float32") == Spread(3, 1, 4)
    assert (litert.value, litert.note) == (None, "it ended")


def test_without_its_reference_a_sitting_says_why():
    found = Measured(8, 299)
    found.add("float32", {"SavedModel": [1, 2], "timm": [2, 2]}, {})
    found.add("float32", {"timm": [8, 4]}, {"SavedModel": "it ended"})
    assert {row.name: (row.value, row.note) for row in found.table().rows} == {
        "SavedModel float32": (None, "it ended"),
        "timm float32": (None, "SavedModel: it ended"),
    }
    assert claims({(8, 299): found, (1, 299): Measured(1, 299)}) == []


def test_a_table_becomes_bars(written):
    pixels = np.asarray(Image.open(written / "charts" / "speed.png").convert("RGB"))
    assert pixels[0, 0].min() > 240
    ours, peers, _ = report.COLOURS.values()
    assert share_of(pixels, ours) > 0.05
    assert share_of(pixels, peers) == 0


def share_of(pixels, colour):
    return (pixels == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=2).mean()


def test_bars_have_a_colour_a_side_and_a_group_a_precision(tmp_path):
    names = ("SavedModel float32", "timm float32", "limit by PyTorch int8", "OpenVINO int8")
    rows = [{"name": name, "ratio": [1.0, 0.9, 1.1]} for name in names]
    chart = tmp_path / "charts" / "speed.png"
    report.draw({"rows": rows, "unit": "images/s", "reference": names[0]}, chart)
    pixels = np.asarray(Image.open(chart).convert("RGB"))
    ours, peers, limit = (share_of(pixels, colour) for colour in report.COLOURS.values())
    assert ours > 1.5 * peers > 0
    assert limit > 0
    assert [report.side(name) for name in names] == [
        "this package", "peers", "limit or baseline", "this package",
    ]  # fmt: skip
    assert [report.precision(name) for name in names] == ["float32", "float32", "int8", "int8"]
    assert report.precision("InceptionV4 on JAX") == ""


def test_a_second_run_is_compared_by_spreads(written):
    earlier = report.read_results(written / "results.json")
    same = {"inference": report.entry(findings(2.15), 60)}
    other = {"inference": report.entry(findings(3), 60)}
    assert report.disagreements(same, earlier) == (3, [])
    count, apart = report.disagreements(other, earlier)
    assert count == 3
    assert [line.split(":")[0] for line in apart] == [
        "inference, Batch 8, theirs",
        "inference, theirs / ours",
    ]


def test_a_run_elsewhere_leaves_the_committed_results(written, tmp_path, capsys):
    readme = written.parent / "README.md"
    before = readme.read_text(), (written / "results.json").read_text()
    out, against = tmp_path / "other", str(written / "results.json")

    def run(subject, *options):
        words = [subject, "--out", str(out), *options]
        return command.main(words, here=written, findings_of=lambda subject, run: findings(3))

    assert run("inference", "--against", against) == 1
    printed = capsys.readouterr().out
    assert "written: other/RESULTS.md" in printed
    assert "1 of 3 ratios agree" in printed
    assert "another machine" not in printed
    older = tmp_path / "older.json"
    older.write_text(Path(against).read_text().replace('"instructions"', '"unknown"'))
    assert run("inference", "--against", str(older)) == 1
    assert "the earlier run of inference may be of another machine" in capsys.readouterr().out
    assert run("training") == 1  # a claim misses
    assert report.read_results(out / "results.json").keys() == {"inference", "training"}
    assert (out / "charts" / "speed.png").exists()
    assert (readme.read_text(), (written / "results.json").read_text()) == before


@pytest.mark.parametrize(
    ("option", "reason"), [("--against", "there is no such file"), ("--out", "Not a directory")]
)
def test_a_path_that_cannot_be_used_is_refused_before_measuring(option, reason, tmp_path, capsys):
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "within")
    with pytest.raises(SystemExit, match="2"):
        command.main(["gpu", option, path], findings_of=None)  # would raise a TypeError
    assert f"{option} {path}: {reason}" in capsys.readouterr().err


def test_an_earlier_run_of_another_machine_is_named():
    here = report.entry(findings(), 60)
    other = {**here, "machine": {**here["machine"], "instructions": "neon"}}
    older = {key: value for key, value in here["machine"].items() if key != "instructions"}
    earlier = {"inference": here, "training": other, "head": {**here, "machine": older}}
    now = dict.fromkeys(["inference", "training", "head", "memory"], here)
    assert report.machines_apart(now, earlier) == ["training", "head"]


def test_the_committed_results_are_written_by_the_command(written):
    committed = report.read_results(ROOT / "benchmarks" / "results.json")
    assert SUBJECTS.keys() <= committed.keys()
    names = ("README.md", "docs/benchmarks.md")
    texts = {written.parent / name: (ROOT / name).read_text() for name in names}
    for page, text in texts.items():
        page.write_text(text)
    report.write(committed, written, list(texts))
    assert {page: page.read_text() for page in texts} == texts
    ratios = {(s, claim["text"]) for s, found in committed.items() for claim in found["claims"]}
    assert set(report.CHOSEN) <= ratios
    assert len(report.CHOSEN) <= 8
    assert (written / "RESULTS.md").read_text() == (ROOT / "benchmarks/RESULTS.md").read_text()
    assert {path.name for path in (ROOT / "benchmarks" / "charts").iterdir()} == {
        path.name for path in (written / "charts").iterdir() if path.name != "speed.png"
    }


def test_so_are_those_of_another_machine(tmp_path):
    committed = ROOT / "benchmarks" / "avx2"
    report.write(report.read_results(committed / "results.json"), tmp_path)
    assert (tmp_path / "RESULTS.md").read_text() == (committed / "RESULTS.md").read_text()
    assert {path.name for path in (committed / "charts").iterdir()} == {
        path.name for path in (tmp_path / "charts").iterdir()
    }
