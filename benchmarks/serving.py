"""A server under load of sixteen clients, good and bad bodies; and the artefact's own rate."""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.embedding import SIZE, write_photographs
from benchmarks.report import Claim, Findings, Row, Table
from benchmarks.workers import Spread

CLIENTS, SECONDS, PICTURES, BATCH = 16, 60, 24, 8
MOST = 1 << 20  # bytes of a body
REPLICA = "ServeReplica"


class Counts:
    """What clients saw."""

    def __init__(self):
        self.good = self.bad = self.wrong = 0
        self.lock = threading.Lock()

    def add(self, kind: str) -> None:
        with self.lock:
            setattr(self, kind, getattr(self, kind) + 1)


def post(port: int, body: bytes) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/predict", body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def client(port: int, seed: int, bodies: list[bytes], expected: list[dict], end, counts):
    try:
        one_client(port, seed, bodies, expected, end, counts)
    except Exception:
        counts.add("wrong")


def one_client(port: int, seed: int, bodies: list[bytes], expected: list[dict], end, counts):
    """Seven good bodies of ten, two that are corrupt and one that is too large."""
    import numpy as np

    rng = np.random.default_rng(seed)
    while time.monotonic() < end:
        kind, index = rng.integers(10), rng.integers(len(bodies))
        body = bodies[index]
        if kind == 0:
            try:
                counts.add("bad" if post(port, bytes(MOST + 1))[0] == 413 else "wrong")
            except (BrokenPipeError, ConnectionResetError):  # refused before all was sent
                counts.add("bad")
        elif kind < 3:
            counts.add("bad" if post(port, body[: len(body) // 3])[0] == 400 else "wrong")
        else:
            status, said = post(port, body)
            found = {entry["class"]: entry["probability"] for entry in said.get("top", [])}
            near = all(abs(found.get(n, 9) - p) <= 1e-3 for n, p in expected[index].items())
            counts.add("good" if status == 200 and near else "wrong")


def replica() -> tuple[int, int]:
    """The process that holds the model, and its resident bytes."""
    import psutil

    (process,) = [p for p in psutil.process_iter(["cmdline"])
                  if p.info["cmdline"] and REPLICA in " ".join(p.info["cmdline"])]  # fmt: skip
    return process.pid, process.memory_info().rss


def own_rate(path: Path) -> float:
    """Images a second of the artefact alone, in batches."""
    code = (
        "import sys, time\n"
        "import numpy as np\n"
        "from keras_inception_v4 import open_artefact\n"
        "artefact = open_artefact(sys.argv[1])\n"
        f"batch = np.random.default_rng(0).uniform(0, 255, ({BATCH}, {SIZE}, {SIZE}, 3))\n"
        "artefact.predict(batch.astype('float32'))\n"
        "begun, count = time.perf_counter(), 0\n"
        "while time.perf_counter() < begun + 10:\n"
        "    artefact.predict(batch.astype('float32'))\n"
        f"    count += {BATCH}\n"
        "print(count / (time.perf_counter() - begun))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True,
                          text=True)  # fmt: skip
    return float(done.stdout.split()[-1])


def under_load(path: Path, bodies: list[bytes], expected: list[dict]) -> dict:
    """What a server on this machine did in a minute."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "keras_inception_v4", "serve", str(path), "--port", str(port),
         "--max-megabytes", str(MOST >> 20), "--batch-size", str(BATCH)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        while "Try:" not in (line := server.stdout.readline()):
            assert line, "the server has ended"
        post(port, bodies[0])
        counts, begun = Counts(), time.monotonic()
        threads = [
            threading.Thread(
                target=client,
                args=(port, seed, bodies, expected, begun + SECONDS, counts),
            )
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 4)
        before = replica()
        for thread in threads:
            thread.join()
        taken, after = time.monotonic() - begun, replica()
    finally:
        server.terminate()
        server.wait(60)
    return {
        "good": counts.good,
        "bad": counts.bad,
        "wrong": counts.wrong,
        "rate": counts.good / taken,
        "memory": after[1] / before[1],
        "restarts": int(before[0] != after[0]),
    }


def measure(run: Path) -> Findings:
    """The whole network in ONNX, with random weights; `run` is not needed."""
    from keras_inception_v4 import InceptionV4, export_model
    from keras_inception_v4.inference.classification import predict_files

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photographs").mkdir()
        write_photographs(str(folder / "photographs"), PICTURES)
        paths = sorted((folder / "photographs").iterdir())
        path = folder / "network.onnx"
        network = InceptionV4(weights=None, input_shape=(SIZE, SIZE, 3))
        kernel = network.get_layer("predictions").kernel
        kernel.assign(100 * kernel)  # or all classes would be about as probable
        export_model(network, path, format="onnx", verbose=0)
        expected = [dict(top) for _, top in predict_files(path, paths, verbose=0)]
        bodies = [photograph.read_bytes() for photograph in paths]
        rates = [own_rate(path)]
        found = under_load(path, bodies, expected)
        rates.append(own_rate(path))
    rows = [
        Row("the artefact alone, in batches", Spread.of(rates)),
        Row(f"the server, {CLIENTS} clients", Spread.of([found["rate"]]),
            note=f"{found['good']:,} good, {found['bad']:,} bad bodies"),
    ]  # fmt: skip
    return Findings(
        [Table(f"ONNX over HTTP, {SIZE} x {SIZE}", "images/s", "", rows)],
        [
            Claim("good answers a second / the artefact's own rate in batches",
                  Spread.of([found["rate"] / rate for rate in rates]), 0.8),
            Claim("good bodies without the right answer, and bad ones without 4xx",
                  Spread.of([found["wrong"]]), 0, at_most=True),
            Claim("memory of the replica at the end / after a quarter of a minute",
                  Spread.of([found["memory"]]), 1.05, at_most=True),
            Claim("restarts", Spread.of([found["restarts"]]), 0, at_most=True),
        ],
    )  # fmt: skip
