"""On Ray: two nodes of a cluster on this machine share the work, and a server responds. Slow."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from tiny import tiny

from keras_inception_v4 import export_model
from keras_inception_v4.inference import engines
from keras_inception_v4.inference.answering import Embedder, Predictor
from keras_inception_v4.inference.classification import predict_files, stream_predictions
from keras_inception_v4.inference.embedding import stream_embeddings
from keras_inception_v4.inference.engines import run_on
from keras_inception_v4.inference.on_ray import look_at
from keras_inception_v4.inference.server import Bounds, Server

pytestmark = pytest.mark.slow
COUNT, BAD = 300, (7, 250)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        pixels = rng.integers(0, 255, (40, 50, 3), "uint8")
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    for index in BAD:
        (folder / f"{index:03}.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("ray") / "model.keras"
    tiny().save(path)
    return path


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    """Both parts in ONNX, which a worker opens in a second instead of ten."""
    folder, made = tmp_path_factory.mktemp("ray"), {}
    for part in ("classifier", "embedding"):
        made[part] = folder / f"{part}.onnx"
        export_model(tiny(), made[part], format="onnx", part=part, verbose=0)
    return made


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    # Workers are niced by Ray, and beside other tests got a fifth of their time.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 its name
    memory = {"object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **memory})
    cluster.add_node(num_cpus=2, **memory)
    # What a worker imports is what is tested here, and the classes of this file travel by value.
    ray.init(address=cluster.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def rows(output):
    return [row for part in sorted(output.glob("part-*.parquet")) for row in
            parquet.read_table(part).to_pylist()]  # fmt: skip


def same(found, expected):
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    np.testing.assert_allclose(
        [row["features"] for row in found], [row["features"] for row in expected], atol=1e-5
    )


@pytest.fixture(scope="module")
def expected(pictures, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("ray") / "local"
    done = stream_embeddings(model, pictures, output, batch_size=16, part=120, verbose=0)
    assert done == (COUNT - 2, 2)
    return rows(output)


class Told(Embedder):
    """Says on which node it is, and begins when there is one on each of two."""

    def __init__(self, *arguments, folder, **options):
        import ray

        super().__init__(*arguments, **options)
        self.folder = Path(folder)
        (self.folder / ray.get_runtime_context().get_node_id()).touch()

    def answer(self, pixels):
        end = time.monotonic() + 120
        while len(os.listdir(self.folder)) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        return super().answer(pixels)

    def columns(self, answers):
        import pyarrow
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {**super().columns(answers), "node": pyarrow.array([node] * len(answers))}


class Dies(Embedder):
    """Is killed once, in its second batch."""

    def __init__(self, *arguments, sign, **options):
        super().__init__(*arguments, **options)
        self.sign, self.batches = Path(sign), 0

    def answer(self, pixels):
        self.batches += 1
        if self.batches == 2 and self.sign.exists():
            self.sign.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(pixels)


class Spoilt(Embedder):
    """Answers NaN."""

    def answer(self, pixels):
        return super().answer(pixels) * np.float32(np.nan)


OPTIONS = {"batch_size": 16, "part": 120, "verbose": 0}


@pytest.mark.usefixtures("cluster")
class TestRay:
    def test_two_nodes_share_the_work_and_rows_are_the_local_ones(
        self, pictures, model, expected, tmp_path, monkeypatch
    ):
        (tmp_path / "nodes").mkdir()
        arguments = {"folder": str(tmp_path / "nodes")}
        with monkeypatch.context() as opening:  # which needs no node
            opening.setattr(engines, "look_at", lambda kind, given: look_at(Embedder, {
                "model": given["model"]}))  # fmt: skip
            done = run_on("ray", Told, model, arguments, [pictures], tmp_path / "out", **OPTIONS)
        assert done == (COUNT - 2, 2)
        found = rows(tmp_path / "out")
        same(found, expected)
        assert len({row["node"] for row in found}) == 2
        bad = parquet.read_table(tmp_path / "out" / "left_out.parquet").to_pylist()
        assert [Path(row["path"]).stem for row in bad] == ["007", "250"]

    def test_a_killed_actor_s_work_is_done_again_and_so_is_a_part_that_is_gone(
        self, pictures, artefacts, expected, tmp_path
    ):
        sign = tmp_path / "sign"
        sign.touch()
        arguments = {"sign": str(sign)}
        whole = ("ray", Dies, artefacts["embedding"], arguments, [pictures], tmp_path / "out")
        done = run_on(*whole, **OPTIONS)
        assert done == (COUNT - 2, 2)
        assert not sign.exists()
        same(rows(tmp_path / "out"), expected)
        (tmp_path / "out" / "part-00001.parquet").unlink()
        assert (
            run_on(
                "ray",
                Dies,
                artefacts["embedding"],
                arguments,
                [pictures],
                tmp_path / "out",
                **OPTIONS,
            )
            == done
        )
        same(rows(tmp_path / "out"), expected)
        # And the folder of one engine is one of the other.
        (tmp_path / "out" / "part-00002.parquet").unlink()
        assert (
            stream_embeddings(artefacts["embedding"], pictures, tmp_path / "out", **OPTIONS) == done
        )
        same(rows(tmp_path / "out"), expected)

    def test_a_table_with_pictures(self, pictures, artefacts, expected, tmp_path):
        import pyarrow

        content = [path.read_bytes() for path in sorted(pictures.iterdir())]
        table = tmp_path / "table.parquet"
        parquet.write_table(pyarrow.table({"image": content}), table, row_group_size=70)
        output = tmp_path / "a.parquet"
        done = stream_predictions(
            artefacts["classifier"], [table], output, top=2, engine="ray", **OPTIONS
        )
        assert done == (COUNT - 2, 2)
        found = parquet.read_table(output).to_pylist()
        numbers = [index for index in range(COUNT) if index not in BAD]
        assert [row["path"] for row in found] == [f"{table}#{index}" for index in numbers]
        paths = [pictures / f"{index:03}.png" for index in numbers]
        for row, (_, top) in zip(
            found, predict_files(artefacts["classifier"], paths, top=2, verbose=0), strict=True
        ):
            assert row["classes"] == [name for name, _ in top]
            np.testing.assert_allclose(row["probabilities"], [p for _, p in top], atol=1e-5)

    def test_relative_places_are_those_of_this_process(
        self, pictures, artefacts, expected, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(pictures.parent)
        arguments = (os.path.relpath(artefacts["embedding"]), pictures.name, tmp_path / "out")
        assert stream_embeddings(*arguments, engine="ray", **OPTIONS) == (COUNT - 2, 2)
        found = rows(tmp_path / "out")
        assert found[0]["path"] == "pictures/000.png"
        np.testing.assert_allclose(found[-1]["features"], expected[-1]["features"], atol=1e-5)

    def test_an_error_in_a_worker_is_one_of_this_process(self, pictures, artefacts, tmp_path):
        with pytest.raises(OSError, match=r"Ray's workers failed: .*not finite"):
            run_on(
                "ray", Spoilt, artefacts["embedding"], {}, [pictures], tmp_path / "out", **OPTIONS
            )

    def test_in_a_pipeline_of_one_s_own(self, pictures, artefacts, expected):
        import ray

        data = ray.data.read_binary_files(str(pictures), include_paths=True)
        answers = data.map_batches(
            Embedder,
            fn_constructor_kwargs={"model": str(artefacts["embedding"])},
            batch_size=16,
            concurrency=1,
        )
        found = sorted(answers.take_all(), key=lambda row: row["path"])
        assert [Path(row["path"]).stem for row in found if row["reason"]] == ["007", "250"]
        same([row for row in found if not row["reason"]], expected)

    def test_what_is_wrong_is_said_in_this_process(self, pictures, artefacts, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"gone\.keras"):
            stream_embeddings(tmp_path / "gone.keras", pictures, tmp_path / "x", engine="ray")
        with pytest.raises(ValueError, match=r"007\.png cannot be read"):
            stream_embeddings(
                artefacts["embedding"], pictures, tmp_path / "y", engine="ray", strict=True
            )

    def test_a_predictor_says_the_same_to_both(self, model):
        found, here = look_at(Predictor, {"model": str(model)}), Predictor(str(model))
        assert found == (here.size, here.crop, here.known)


class Counting(Server):
    """Tells how many pictures each batch had."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.sizes = []

    def _in_known_sizes(self, batch):
        self.sizes.append(len(batch))
        return super()._in_known_sizes(batch)

    def _ways(self):
        return {"sizes": self.sizes}


@pytest.mark.usefixtures("cluster")
def test_what_arrives_together_is_answered_together(pictures, model):
    from ray import serve

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    bounds = asdict(Bounds(batch_size=4, wait=0.5))
    app = serve.deployment(Counting, max_ongoing_requests=16)
    serve.run(app.bind("m", {"model": str(model)}, bounds), route_prefix="/")
    bodies = [path.read_bytes() for path in sorted(pictures.iterdir())[:7]]
    with ThreadPoolExecutor(7) as threads:
        found = list(threads.map(lambda body: post(port, "/predict", body)[0], bodies))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        sizes = json.loads(answer.read())["sizes"]
    serve.shutdown()
    assert found == [200] * 7
    assert sum(sizes) == 7
    assert len(sizes) <= 3
    assert max(sizes) >= 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(model):
    """Port of a server that was started by the command, and what it said."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_inception_v4", "serve", str(model), "--port", str(port),
         "--name", "m", "--max-megabytes", "1", "--batch-size", "4"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = process.stdout.readline() + process.stdout.readline()
    assert "Try: curl --data-binary" in said, process.communicate()[1]
    yield port
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, body)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


class TestServing:
    def test_sixteen_clients_with_good_and_bad_bodies(self, server, model, pictures):
        expected = {
            Path(path).stem: dict(top)
            for path, top in predict_files(
                model, [p for p in sorted(pictures.iterdir())[:32] if p.stem != "007"], verbose=0
            )
        }
        answers, wrong = [], []
        end = time.monotonic() + 8

        def client(number):
            try:
                ask(number)
            except Exception as error:
                wrong.append(error)

        def ask(number):
            rng = np.random.default_rng(number)
            while time.monotonic() < end:
                kind = rng.integers(10)
                name = f"{rng.integers(32):03}"
                body = (pictures / f"{name}.png").read_bytes()
                if kind == 0:
                    status, said = post(server, "/predict", body[: len(body) // 2])
                    if status != 400 or "cannot be read as an image" not in said["error"]:
                        wrong.append((status, said))
                elif kind == 1:
                    try:
                        status, said = post(server, "/predict", bytes((1 << 20) + 1))
                    except (BrokenPipeError, ConnectionResetError):
                        continue  # refused before all was sent
                    if status != 413:
                        wrong.append((status, said))
                elif name != "007":
                    answers.append((name, *post(server, "/predict", body)))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(answers) > 50
        for name, status, said in answers:
            assert status == 200, said
            found = {entry["class"]: entry["probability"] for entry in said["top"]}
            assert found.keys() == expected[name].keys()
            for key, probability in found.items():
                assert probability == pytest.approx(expected[name][key], abs=1e-3)

    def test_a_client_of_triton(self, server, model, pictures):
        """The Open Inference Protocol's, with its binary tensors."""
        import tritonclient.http as triton

        client = triton.InferenceServerClient(f"127.0.0.1:{server}")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("m")
        assert client.get_model_metadata("m")["inputs"][0]["datatype"] == "BYTES"
        paths = sorted(pictures.iterdir())[:3]
        given = triton.InferInput("image", [3], "BYTES")
        given.set_data_from_numpy(np.array([path.read_bytes() for path in paths], object))
        chosen = [triton.InferRequestedOutput("scores"),
                  triton.InferRequestedOutput("classes", binary_data=False)]  # fmt: skip
        for outputs in (None, chosen):
            answer = client.infer("m", [given], outputs=outputs)
            for row, (_, top) in enumerate(predict_files(model, paths, verbose=0)):
                np.testing.assert_allclose(
                    answer.as_numpy("scores")[row], [p for _, p in top], atol=1e-3
                )
                names = [str(name) for name in answer.as_numpy("classes")[row]]
                assert names == [name for name, _ in top]
