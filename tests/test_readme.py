"""Every code block of README.md, docs/ and the public docstrings, on a shallow network. Slow.

The ImageNet files are stand-ins of the same names. `.ci/run` runs the installing blocks, and with
them the first commands at full width. Other tests check the outputs of networks of full width.
"""

import ast
import inspect
import itertools
import re
import shlex
import tarfile
import textwrap
from pathlib import Path
from unittest import mock

import pytest
import sklearn.datasets
from checkpoints import network_slim_shapes, slim_variables, write_slim
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.utils import Bunch
from thin import thin_network

import keras_inception_v4
from keras_inception_v4 import InceptionV4, train
from keras_inception_v4.cli import main, parser
from keras_inception_v4.cli.training import settings_of
from keras_inception_v4.starting import check_places
from keras_inception_v4.weights.imagenet import FETCHERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}
BLOCKS = list(  # the README's first, and of two that are alike one
    dict.fromkeys(
        block
        for text in PAGES.values()
        for block in re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    )
)
PYTHON = [block for language, block in BLOCKS if language == "python"]
PUBLIC = {name: getattr(keras_inception_v4, name)
          for name in keras_inception_v4.__all__ if name != "__version__"}  # fmt: skip
FUNCTIONS = {name: inspect.getdoc(value) for name, value in PUBLIC.items() if callable(value)}
CONSTANTS = {  # their docstrings stand below them
    name: (ROOT / "keras_inception_v4" / file).read_text().split(f"\n{name}")[1].split('"""')[1]
    for name, file in (("ENDPOINTS", "architecture.py"), ("IMAGENET", "weights/imagenet.py"))
}
EXAMPLES = {
    name: textwrap.dedent(block)
    for name, text in {**FUNCTIONS, **CONSTANTS}.items()
    for block in re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
}
SHELL = [
    line.strip() for language, block in BLOCKS if language == "sh" for line in block.splitlines()
]
SERVERS = ("keras-inception-v4 serve ", "curl ", "docker ")  # test_ray.py runs the first
COMMANDS = [line for line in dict.fromkeys(SHELL) if line.startswith("keras-inception-v4 ")
            and not line.startswith(SERVERS)]  # fmt: skip
ON_JAX = "KERAS_BACKEND=jax "  # test_devices.py runs such commands, on other images


def test_every_block_is_run():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert len(PYTHON) >= 3
    assert len(COMMANDS) >= 8
    ci = (ROOT / ".ci" / "run").read_text()
    installs = re.findall(
        r"^## ([^\n]+)\n[^#]*?```sh\n(pip.*?)```", README, re.MULTILINE | re.DOTALL
    )
    assert len(installs) == sum("pip install" in block for _, block in BLOCKS) > 0
    for title, block in installs:
        assert f"readme_command '{title}'" in ci, block
    rest = [line for line in SHELL if line not in COMMANDS and not line.startswith("pip install")]
    others = [line for line in rest if not line.startswith((ON_JAX, *SERVERS))]
    assert others == ["pytest"]


def test_links_lead_to_files():
    for path, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
    linked = {(ROOT / link).resolve() for link in re.findall(r"\]\((docs/[^)]+\.md)\)", README)}
    others = {ROOT / "README.md", ROOT / "docs" / "reference.md"}  # the latter is only on the site
    others.add(ROOT / "docs" / "tour.md")
    assert "](docs/tour.md)" in (ROOT / "CONTRIBUTING.md").read_text()
    assert linked == set(PAGES) - others


def test_the_reference_has_every_public_name():
    reference = (ROOT / "docs" / "reference.md").read_text()
    found = re.findall(r"^::: keras_inception_v4\.(\w+)$", reference, re.MULTILINE)
    assert sorted(found) == sorted(PUBLIC)
    assert sorted(EXAMPLES) == sorted(PUBLIC)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_entry_is_whole(name):
    """The arguments of the signature, in order, what comes back, the errors, and an example."""
    parts = re.split(r"^(Args|Returns|Raises|Examples):$", FUNCTIONS[name], flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    described = re.findall(r"^    \*{0,2}(\w+): [A-Z`0-9\"]", sections["Args"], re.MULTILINE)
    taken = inspect.signature(PUBLIC[name]).parameters
    assert [d for d in described if d != "settings"] == list(taken)
    nothing = inspect.signature(PUBLIC[name]).return_annotation is None
    assert ("Returns" in sections) != nothing
    assert re.search(r"^    \w+Error: If ", sections["Raises"], re.MULTILINE)
    assert f"{name}(" in EXAMPLES[name]
    assert re.search(rf"^from keras_inception_v4 import .*\b{name}\b", EXAMPLES[name], re.MULTILINE)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_commands_on_jax_are_understood(monkeypatch, tmp_path):
    (tmp_path / "million").mkdir()
    monkeypatch.chdir(tmp_path)
    understood = [
        parser().parse_args(shlex.split(line)[2:]) for line in SHELL if line.startswith(ON_JAX)
    ]
    assert [(options.processes, options.process_id) for options in understood] == [
        (1, 0), (2, 0), (2, 1),
    ]  # fmt: skip
    for options in understood:
        check_places(options)
        settings = settings_of(options).decided({}, lambda: "float32")
        assert (settings.recipe, settings.batch_size, settings.image_size) == ("paper", 256, 299)


@pytest.fixture(scope="module")
def few_digits():
    """A sixth of scikit-learn's scans: what a network learns of them is tested elsewhere."""
    digits = sklearn.datasets.load_digits()
    few = {name: digits[name][:300] for name in ("images", "target")}
    with mock.patch.object(sklearn.datasets, "load_digits", return_value=Bunch(**few)):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, shallow_file, few_digits):
    """Everything that the README's blocks find where they are run."""
    folder = tmp_path_factory.mktemp("readme")
    with thin_network("shallow"):
        train("digits", folder / "runs" / "digits", weights=None, verbose=2)
        _fill(folder)
    (folder / "imagenet.safetensors").symlink_to(shallow_file)
    return folder


def _fill(folder):
    temple, flower = load_sample_images().images
    for part, left in (("train", 0), ("validation", 300)):
        for name, photograph in (("temple", temple), ("flower", flower)):
            (folder / "photos" / part / name).mkdir(parents=True)
            for index in range(8 if part == "train" else 2):
                cut = Image.fromarray(photograph[10 * index :, left + 5 * index :][:320, :320])
                cut.save(folder / "photos" / part / name / f"{index}.jpg")
    rows = [f"{path.relative_to(folder / 'photos')},{path.parent.name},{path.parents[1].name}"
            for path in sorted((folder / "photos").rglob("*.jpg"))]  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    (folder / "more_photos").mkdir()
    Image.fromarray(flower).save(folder / "more_photos" / "flower.jpg")
    Image.fromarray(temple).save(folder / "photo.jpg")
    slim = folder / "slim"
    slim.mkdir()
    write_slim(slim / "inception_v4.ckpt", slim_variables(network_slim_shapes()))
    with tarfile.open(folder / "inception_v4_2016_09_09.tar.gz", "w:gz", compresslevel=1) as tar:
        for path in slim.iterdir():
            tar.add(path, path.name)
    InceptionV4(weights=None, classes=3).save(folder / "my_fine_tune.keras")


@pytest.fixture
def here(folder, monkeypatch, shallow):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(FETCHERS, "imagenet", lambda: folder / "imagenet.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_command(here, capsys, line):
    words = shlex.split(line)[1:]
    status = main(words)
    out, err = capsys.readouterr()
    assert status == 0, err
    assert out
    if "--versioned" in words:
        words[2] += "/1"
    written = [b for a, b in itertools.pairwise(words) if a in ("--output", "--picture")]
    if words[0] in ("convert", "export"):
        written.append(words[2])
    for name in written:
        assert (here / name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.splitlines()[-1])
def test_python(here, capsys, block):
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_the_reference(here, capsys, name):
    exec(compile(EXAMPLES[name], name, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def _texts():
    """Every text in the package's code; what an f-string fills in is `…`."""
    for path in (ROOT / "keras_inception_v4").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_errors_on_their_page_are_those_of_the_code():
    page = (ROOT / "docs" / "errors.md").read_text()
    messages = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    texts = list(_texts())
    assert len(messages) > 25
    for message in messages:
        pattern = re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)
        assert any(pattern.search(text) for text in texts), message
