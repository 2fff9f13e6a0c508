"""Classes for a user's own pipeline, engines of other runtimes, and a server without HTTP."""

import asyncio
import base64
import functools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from tiny import CHANNELS, tiny

from keras_inception_v4 import embed, export_model, load_image, open_artefact
from keras_inception_v4.cli import main
from keras_inception_v4.inference.answering import Embedder, Predictor
from keras_inception_v4.inference.classification import predict_files, stream_predictions
from keras_inception_v4.inference.embedding import embed_folder, stream_embeddings
from keras_inception_v4.inference.gathering import Gathered
from keras_inception_v4.inference.server import Bounds, Server
from keras_inception_v4.inference.serving import application, name_of, run_server
from keras_inception_v4.weights.loading import read_model

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports go through TensorFlow"
)
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite", "openvino": ""}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Ten pictures, of which one is none."""
    folder = tmp_path_factory.mktemp("answering") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(10):
        pixels = rng.integers(0, 255, (40, 50, 3), "uint8")
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "4.png").write_bytes(b"no picture")
    return folder


def sound(pictures):
    return [path for path in sorted(pictures.iterdir()) if path.stem != "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("answering") / "model.keras"
    tiny().save(path)
    return path


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A model of several classes a picture."""
    path = tmp_path_factory.mktemp("answering") / "several.keras"
    tiny(activation="sigmoid").save(path)
    return path


@pytest.fixture(scope="module")
def artefacts(model, tmp_path_factory):
    """The artefact of a part in a format, made once."""
    folder = tmp_path_factory.mktemp("answering")

    @functools.cache
    def made(part, format):
        path = folder / f"{part}_{format}{SUFFIXES[format]}"
        export_model(read_model(model), path, format=format, part=part, verbose=0)
        return path

    return made


class TestEmbeddingArtefacts:
    @pytest.mark.parametrize("raw", [True, False])
    @pytest.mark.parametrize("format", SUFFIXES)
    def test_they_answer_what_embed_answers(self, pictures, tmp_path, format, raw):
        path, model = tmp_path / f"x{SUFFIXES[format]}", tiny(raw=raw)
        export_model(model, path, format=format, part="embedding", verbose=0)
        precision = "float32" if format == "openvino" else None
        about = open_artefact(path).description
        assert (about.task, about.classes, about.class_names) == ("embedding", CHANNELS, None)
        assert about.raw_pixels == raw
        expected = embed(model, sound(pictures), verbose=0)
        done = embed_folder(path, pictures, tmp_path / "x.npz", precision=precision,
                            skip_corrupt=True, verbose=0)  # fmt: skip
        assert (done[0], len(done[1])) == (9, 1)
        with np.load(tmp_path / "x.npz") as file:
            np.testing.assert_allclose(file["features"], expected, atol=1e-5)
        output = tmp_path / "x.parquet"
        assert stream_embeddings(path, pictures, output, precision=precision, verbose=0) == (9, 1)
        found = np.stack(parquet.read_table(output)["features"].to_numpy())
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_each_part_is_for_its_own_command(self, artefacts, pictures, tmp_path):
        with pytest.raises(ValueError, match="returns 3 classes or quantities, not features"):
            stream_embeddings(artefacts("classifier", "onnx"), pictures, tmp_path / "x")
        with pytest.raises(ValueError, match="it returns features, not classes"):
            predict_files(artefacts("embedding", "onnx"), sound(pictures), verbose=0)

    def test_a_saved_model_is_refused(self, model, tmp_path):
        with pytest.raises(ValueError, match="Use litert, onnx or openvino"):
            export_model(read_model(model), tmp_path / "x", format="saved_model", part="embedding")
        with pytest.raises(ValueError, match="Received part='head'"):
            export_model(read_model(model), tmp_path / "x", format="onnx", part="head")

    def test_the_command(self, model, pictures, tmp_path, capsys):
        path = tmp_path / "x.onnx"
        assert main(["export", str(model), str(path), "--format", "onnx", "--part",
                     "embedding"]) == 0  # fmt: skip
        assert "largest difference of a feature" in capsys.readouterr().out
        assert main(["embed", str(pictures), "--model", str(path), "--output",
                     str(tmp_path / "out")]) == 0  # fmt: skip
        assert "9 images embedded; 1 files left out" in capsys.readouterr().out


class TestEngines:
    @pytest.mark.parametrize("engine", ["keras", *SUFFIXES])
    def test_each_answers_what_keras_answers(self, model, pictures, tmp_path, engine):
        for name, chosen in (("keras", None), ("other", engine)):
            stream_embeddings(model, pictures, tmp_path / name, engine=chosen, verbose=0)
            stream_predictions(model, [pictures], tmp_path / f"{name}.parquet", engine=chosen,
                               verbose=0)  # fmt: skip
        for one, other in (("keras/part-00000.parquet", "other/part-00000.parquet"),
                           ("keras.parquet", "other.parquet")):  # fmt: skip
            tables = [parquet.read_table(tmp_path / name) for name in (one, other)]
            assert tables[0].schema.names == tables[1].schema.names
            assert tables[0]["path"].equals(tables[1]["path"])
            numbers = "features" if "features" in tables[0].schema.names else "probabilities"
            values = [np.stack(table[numbers].to_numpy()) for table in tables]
            np.testing.assert_allclose(values[0], values[1], atol=1e-5)

    def test_another_engine_is_refused_by_name(self, model, pictures, tmp_path):
        stream_embeddings(model, pictures, tmp_path / "out", engine="onnx", verbose=0)
        with pytest.raises(ValueError, match="engine is 'onnx' there and None here"):
            stream_embeddings(model, pictures, tmp_path / "out", verbose=0)

    def test_what_does_not_fit(self, model, artefacts, pictures, tmp_path, capsys):
        def fails(path=model, **arguments):
            with pytest.raises(ValueError, match=r"Received") as error:
                stream_embeddings(path, pictures, tmp_path / "out", verbose=0, **arguments)
            return str(error.value)

        assert "Allowed are None, keras, openvino, onnx, litert, ray" in fails(engine="tpu")
        assert "It is for the engine ray" in fails(address="auto")
        path = artefacts("embedding", "onnx")
        assert "which is an artefact and has its own runtime" in fails(path, engine="openvino")
        words = ["predict", "--model", str(model), str(pictures / "0.png")]
        for more in (["--engine", "onnx"], ["--address", "auto"], ["--column", "a"]):
            assert main([*words, *more]) == 1
            assert f"Received {more[0]} without --output" in capsys.readouterr().err


def objects(values):
    """An array of whatever they are."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


class TestInAPipeline:
    @pytest.mark.parametrize("source", ["path", "bytes", "image", "pixels", "arrays", "structs"])
    def test_a_batch_becomes_a_table(self, model, pictures, source):
        paths = sorted(pictures.iterdir())
        column = {
            "path": np.array(list(map(str, paths))),
            "bytes": np.array([path.read_bytes() for path in paths], object),
            "image": np.array([path.read_bytes() for path in paths], object),
            "arrays": objects([None if path.stem == "4" else np.asarray(Image.open(path))
                               for path in paths]),
            "structs": objects([{"bytes": path.read_bytes(), "path": "x"} for path in paths]),
            "pixels": np.stack([
                np.zeros((75, 75, 3), "float32") if path.stem == "4" else load_image(path, (75, 75))
                for path in paths
            ]),
        }[source]  # fmt: skip
        name = "image" if source in ("arrays", "structs") else source
        batch = {name: column, "number": np.arange(10), "pair": np.ones((10, 2, 2))}
        if source == "pixels":
            batch["reason"] = np.array(["" if p.stem != "4" else "none" for p in paths], object)
        table = Embedder(model)(batch)
        kept = ["path"] if source == "path" else []
        assert table.schema.names == [*kept, "number", "pair", "features", "reason"]
        rows = table.to_pylist()
        assert [row["number"] for row in rows] == list(range(10))
        assert [bool(row["reason"]) for row in rows] == [path.stem == "4" for path in paths]
        assert rows[4]["features"] is None
        found = [row["features"] for row in rows if row["features"] is not None]
        expected = embed(read_model(model), sound(pictures), verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_classes_and_other_batches(self, model, pictures):
        work = Predictor(model, top=2)
        table = work({"path": np.array([str(pictures / "0.png")])})
        ((_, top),) = predict_files(model, [pictures / "0.png"], top=2, verbose=0)
        assert table["classes"].to_pylist() == [[name for name, _ in top]]
        with pytest.raises(ValueError, match="a batch with the columns a"):
            work({"a": np.arange(3)})


def request_of(method, path, body=b"", headers=()):
    from starlette.requests import Request

    scope = {"type": "http", "method": method, "path": path, "query_string": b"",
             "headers": [(name.encode(), value.encode()) for name, value in headers]}  # fmt: skip
    chunks = [body[i : i + 1000] for i in range(0, len(body), 1000)] or [b""]

    async def receive():
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    return Request(scope, receive)


class Client:
    """Talks to a server in this process."""

    def __init__(self, name, path, **bounds):
        self.server = Server(name, {"model": str(path)}, bounds)

    def __call__(self, *request):
        response = asyncio.run(self.server(request_of(*request)))
        return response.status_code, json.loads(response.body)


@pytest.fixture
def client(artefacts):
    return Client("m", artefacts("classifier", "onnx"))


class Doubling:
    """Answers numbers in the place of pictures, and no sooner than it is told to."""

    def __init__(self):
        self.batches, self.begun, self.told = [], threading.Event(), threading.Event()

    def __call__(self, pixels):
        self.batches.append(len(pixels))
        self.begun.set()
        assert self.told.wait(30)
        if -1 in pixels:
            raise RuntimeError("no answer")
        return list(2 * pixels)


class TestGathered:
    @staticmethod
    def asked(gathered, *numbers):
        return [asyncio.create_task(gathered(np.array(number))) for number in numbers]

    def test_what_waits_while_the_model_is_busy_is_one_batch(self):
        async def ask():
            gathered = Gathered(answer, 4, 0.001)
            tasks = self.asked(gathered, 0)
            await asyncio.to_thread(answer.begun.wait, 30)
            for number in range(1, 10):  # for several times as long as the first one waited
                tasks += self.asked(gathered, number)
                await asyncio.sleep(0.002)
            answer.told.set()
            return [int(row) for row in await asyncio.gather(*tasks)]

        answer = Doubling()
        assert asyncio.run(ask()) == [2 * number for number in range(10)]
        assert answer.batches == [1, 4, 4, 1]

    def test_an_error_is_that_of_its_batch_and_the_next_is_answered(self):
        async def ask():
            gathered = Gathered(answer, 3, 0.001)
            found = self.asked(gathered, 3, -1, 5, 4)
            return await asyncio.gather(*found, return_exceptions=True)

        answer = Doubling()
        answer.told.set()
        *refused, after = asyncio.run(ask())
        assert [str(error) for error in refused] == ["no answer"] * 3
        assert after == 8
        assert answer.batches == [3, 1]

    def test_who_has_gone_is_not_answered(self):
        async def ask():
            gathered = Gathered(answer, 4, 0.001)
            first, second, third = self.asked(gathered, 1, 2, 3)
            await asyncio.sleep(0)  # all wait
            second.cancel()
            await asyncio.to_thread(answer.begun.wait, 30)
            first.cancel()  # while it is answered
            answer.told.set()
            return int(await third)

        answer = Doubling()
        assert asyncio.run(ask()) == 6
        assert answer.batches == [2]


class TestServer:
    def test_three_ways_to_ask_one_answer(self, client, model, pictures):
        path = pictures / "0.png"
        content = path.read_bytes()
        ((_, top),) = predict_files(model, [path], verbose=0)
        status, said = client("POST", "/predict", content)
        assert status == 200
        assert [entry["class"] for entry in said["top"]] == [name for name, _ in top]
        expected = [p for _, p in top]
        np.testing.assert_allclose([e["probability"] for e in said["top"]], expected, atol=1e-5)
        text = base64.b64encode(content).decode()
        body = json.dumps({"instances": [{"b64": text}]}).encode()
        for version in ("", "/versions/1"):
            status, said = client("POST", f"/v1/models/m{version}:predict", body)
            assert status == 200
            (row,) = said["predictions"]
            np.testing.assert_allclose(row["scores"], expected, atol=1e-5)
            assert len(row["probabilities"]) == 3
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
        body = json.dumps({"inputs": [tensor]}).encode()
        status, said = client("POST", "/v2/models/m/infer", body)
        assert status == 200
        outputs = {output["name"]: output for output in said["outputs"]}
        assert outputs["classes"]["data"] == [name for name, _ in top]
        np.testing.assert_allclose(outputs["scores"]["data"], expected, atol=1e-5)

    def test_what_it_tells(self, client):
        assert client("GET", "/v2/health/live") == (200, {"live": True})
        assert client("GET", "/v2/health/ready")[0] == 200
        assert client("GET", "/v2/models/m/ready") == (200, {"name": "m", "ready": True})
        status, about = client("GET", "/v2/models/m")
        assert status == 200
        assert (about["platform"], about["versions"]) == ("onnx", ["1"])
        assert [o["name"] for o in about["outputs"]] == ["probabilities", "classes", "scores"]
        told = client("GET", "/v1/models/m/metadata")[1]
        assert told["model_spec"]["name"] == "m"
        ((signature, about),) = told["metadata"]["signature_def"]["signature_def"].items()
        assert signature == "serve_bytes"
        assert about["outputs"].keys() == {"probabilities", "classes", "scores"}
        assert client("GET", "/v2")[1]["extensions"] == ["binary_tensor_data"]
        ((state,),) = client("GET", "/v1/models/m")[1].values()
        assert state["state"] == "AVAILABLE"
        assert "POST /predict" in client("GET", "/")[1]

    def test_what_is_refused(self, artefacts, pictures):
        bounds = {"most_bytes": 20_000, "most_pixels": 2_000, "pictures": 2}
        whole = (pictures / "0.png").read_bytes()
        wide = Image.new("L", (60, 40))
        wide.save(pictures.parent / "wide.png")
        pixels = np.zeros((3, 4, 4, 3)).tolist()
        client = Client("m", artefacts("classifier", "onnx"), **bounds)
        for (method, path, body, headers), status, reason in [
            (("POST", "/predict", b"no picture", ()), 400, "cannot be read as an image: cann"),
            (("POST", "/predict", whole[:900], ()), 400, "cannot be read as an image"),
            (("POST", "/predict", b"", ()), 400, "The body is empty"),
            (("POST", "/predict", bytes(20_001), ()), 413, "more than 20,000 bytes"),
            (("POST", "/predict", b"", (("content-length", "99999"),)), 413, "more than 20,0"),
            (("POST", "/predict", (pictures.parent / "wide.png").read_bytes(), ()), 400,
             "2,400 pixels, more than 2,000"),
            (("POST", "/predict", whole, (("content-type", "multipart/form-data"),)), 415,
             "not a form"),
            (("GET", "/predict", b"", ()), 405, "takes POST requests"),
            (("POST", "/v2/models/m", b"", ()), 405, "takes GET requests"),
            (("GET", "/v2/models/other", b"", ()), 404, "GET / lists what there is"),
            (("POST", "/v1/models/m:predict", b"{", ()), 400, "not JSON"),
            (("POST", "/v1/models/m:predict", json.dumps({"instances": pixels}).encode(), ()),
             413, "has 3 pictures. At most 2"),
        ]:  # fmt: skip
            found, said = client(method, path, body, headers)
            assert found == status, said
            assert reason in said["error"]
            assert "0x" not in said["error"]
        assert client("POST", "/predict", whole)[0] == 200

    def test_a_body_that_does_not_come(self, artefacts):
        client = Client("m", artefacts("classifier", "onnx"), patience=0.05)

        async def nothing():
            await asyncio.sleep(9)

        request = request_of("POST", "/predict")
        request._receive = nothing
        response = asyncio.run(client.server(request))
        assert response.status_code == 408
        assert b"took over 0.05 s" in response.body

    def test_many_pictures_are_decoded_a_few_at_a_time(self, artefacts, pictures):
        client = Client("m", artefacts("classifier", "onnx"), batch_size=1)
        now, most, real = [], [], client.server._decoded

        def decoded(picture):
            now.append(picture)
            most.append(len(now))
            time.sleep(0.01)
            now.remove(picture)
            return real(picture)

        client.server._decoded = decoded
        text = base64.b64encode((pictures / "0.png").read_bytes()).decode()
        body = json.dumps({"instances": [{"b64": text}] * 30}).encode()
        status, said = client("POST", "/v1/models/m:predict", body)
        assert status == 200
        assert len(said["predictions"]) == len(most) == 30
        assert max(most) <= 4

    def test_several_classes_are_those_from_their_threshold_on(self, several, pictures):
        content = (pictures / "0.png").read_bytes()
        ((_, top),) = predict_files(several, [pictures / "0.png"], verbose=0)
        body = json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}]}).encode()
        client = Client("m", several, batch_size=2)
        assert client("GET", "/v2/models/m")[1]["platform"] == "keras"
        _, said = client("POST", "/predict", content)
        assert [entry["class"] for entry in said["top"]] == [name for name, _ in top]
        ((row,),) = client("POST", "/v1/models/m:predict", body)[1].values()
        assert row["classes"] == [name for name, _ in top] + [""] * (3 - len(top))
        assert len(row["probabilities"]) == 3


def test_names_and_places_of_a_server(tmp_path):
    assert name_of(None) == "inception_v4"
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "model.keras").touch()
    (tmp_path / "a.b.onnx").touch()
    assert name_of(tmp_path / "my run" / "model.keras") == "my_run"
    assert name_of(tmp_path / "my run") == "my_run"
    assert name_of(tmp_path / "a.b.onnx") == "a.b"
    with pytest.raises(ValueError, match="may hold only letters, digits"):
        run_server(tmp_path / "a.b.onnx", name="a/b")
    with pytest.raises(ValueError, match="Received batch_size=0"):
        application(None, bounds=Bounds(batch_size=0))


def test_a_taken_port_is_said_at_once(artefacts, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = str(artefacts("classifier", "onnx"))
        assert main(["serve", path, "--port", str(port)]) == 1
    assert "Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("format", SUFFIXES)
def test_artefacts_need_their_runtime_alone(artefacts, pictures, tmp_path, format):
    """Embedding and classifying into Parquet, and a replica of a server; none tells of itself."""
    code = (
        "import sys\n"
        "from keras_inception_v4.inference.answering import Embedder\n"
        "from keras_inception_v4.inference.embedding import stream_embeddings\n"
        "from keras_inception_v4.inference.classification import stream_predictions\n"
        "from keras_inception_v4.inference.server import Server\n"
        "embedding, classifier, pictures, output = sys.argv[1:]\n"
        "stream_embeddings(embedding, pictures, output + '/e', verbose=0)\n"
        "stream_predictions(classifier, [pictures], output + '/p', verbose=0)\n"
        "Server('m', {'model': classifier}, {})\n"
        "strangers = ('keras', 'tensorflow', 'openvino_telemetry')\n"
        "print([name for name in strangers if sys.modules.get(name)])"
    )
    paths = [artefacts("embedding", format), artefacts("classifier", format), pictures, tmp_path]
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True,
                          text=True, check=True, cwd=Path(__file__).parent)  # fmt: skip
    assert done.stdout.strip() == "[]"
