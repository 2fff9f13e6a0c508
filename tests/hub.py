"""A loopback server that speaks as much of the hub's protocol as one file needs."""

import contextlib
import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from keras_inception_v4.weights.imagenet import IMAGENET

PATH = f"/{IMAGENET.repository}/resolve/{IMAGENET.revision}/{IMAGENET.file}"


class Hub(ThreadingHTTPServer):
    """Serves `content`; `break_after` cuts the first download short, `pause` slows each."""

    daemon_threads = True

    def __init__(self, content: bytes, *, break_after=None, pause=0.0, silent=False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.break_after = break_after
        self.pause = pause
        self.silent = silent
        self.downloads = []  # first byte of each GET of the file
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        hub = self.server
        if hub.silent:
            time.sleep(60)
            return
        if self.path != PATH or hub.content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
        content = hub.content[start:]
        self.send_response(206 if start else 200)
        if start:
            size = len(hub.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("X-Repo-Commit", IMAGENET.revision)
        self.send_header("ETag", f'"{hashlib.sha256(hub.content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        hub.downloads.append(start)
        time.sleep(hub.pause)
        if hub.break_after is not None and len(hub.downloads) == 1:
            self.wfile.write(content[: hub.break_after])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)  # else the client waits for the rest
            self.close_connection = True
            return
        self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@contextlib.contextmanager
def serving(content, **options):
    hub = Hub(content, **options)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
