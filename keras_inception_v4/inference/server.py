"""The class that handles HTTP requests. Each replica of Ray Serve holds one."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus

import numpy as np

import keras_inception_v4
from keras_inception_v4.artefacts import format_of
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.inference import protocols
from keras_inception_v4.inference.answering import Predictor
from keras_inception_v4.inference.gathering import Gathered
from keras_inception_v4.inference.protocols import Asked, RefusedError
from keras_inception_v4.preprocessing import load_image, resize_image
from keras_inception_v4.preprocessing.pictures import opened

VERSION = r"(?:/versions/1)?"
TOP = 5
ROOM = 4  # most batches of decoded pictures in a replica


@dataclass(frozen=True)
class Bounds:
    """The limits of a server.

    Args:
        batch_size: Largest number of pictures per batch.
        wait: Seconds that a picture waits for others.
        queue: Largest number of waiting requests. Further ones are rejected with status 503.
        patience: Seconds that a body may take to arrive.
        most_bytes: Largest size of a request body, in bytes.
        most_pixels: Largest number of pixels of a picture.
        pictures: Largest number of pictures in a request.
    """

    batch_size: int = 8
    wait: float = 0.01
    queue: int = 64
    patience: float = 60.0
    most_bytes: int = 32 << 20
    most_pixels: int = 64_000_000
    pictures: int = 256

    def __post_init__(self):
        counts = {name: value for name, value in asdict(self).items() if type(value) is int}
        check_at_least(1, **counts)


class Server:
    """A handler of requests for one model; Ray Serve creates one per replica.

    Args:
        name: Name of the model in addresses.
        arguments: Arguments of `Predictor`, including `model`.
        bounds: Keyword arguments of `Bounds`.
    """

    def __init__(self, name: str, arguments: dict, bounds: dict):
        self._name, self._bounds = name, Bounds(**bounds)
        self._work = Predictor(**arguments)
        self._platform = format_of(arguments["model"] or "") or "keras"
        batch_size = self._bounds.batch_size
        smaller = [batch_size // 2**power for power in range(1, 4) if batch_size // 2**power > 1]
        self._sizes = sorted({1, *smaller, batch_size})  # at most 5; OpenVINO keeps 6
        self._room = asyncio.Semaphore(ROOM * batch_size)
        self._batched = Gathered(self._in_known_sizes, batch_size, self._bounds.wait)
        blank = np.zeros((batch_size, *self._work.size, 3), "float32")
        for size in self._sizes:  # compile each shape before the first request
            self._work.answer(blank[:size])

    async def __call__(self, request):
        """Return the response to a `starlette` request."""
        from starlette.responses import JSONResponse

        try:
            status, said = 200, await self._said(request)
        except RefusedError as refused:
            status, said = refused.status, {"error": refused.reason}
        return JSONResponse(said, status)

    async def _said(self, request) -> dict:
        path, name = request.url.path, re.escape(self._name)
        tell: dict[str, Callable[[], dict]] = {
            r"/": self._ways,
            rf"/v1/models/{name}{VERSION}": protocols.version_status,
            rf"/v1/models/{name}{VERSION}/metadata": lambda: protocols.signature(
                self._name, self._outputs()
            ),
            r"/v2": self._about_server,
            r"/v2/health/live": lambda: {"live": True},
            r"/v2/health/ready": lambda: {"ready": True},
            rf"/v2/models/{name}{VERSION}": self._about,
            rf"/v2/models/{name}{VERSION}/ready": lambda: {"name": self._name, "ready": True},
        }
        ask: dict[str, Callable[[bytes], Asked]] = {
            r"/predict": protocols.uploaded,
            rf"/v1/models/{name}{VERSION}:predict": protocols.tensorflow_serving,
            rf"/v2/models/{name}{VERSION}/infer": partial(
                protocols.open_inference,
                headers=request.headers,
                model=self._name,
                outputs=self._outputs(),
            ),
        }
        for pattern, said in tell.items():
            if re.fullmatch(pattern, path.rstrip("/") or "/"):
                _check_method(request, "GET", "HEAD")
                return said()
        for pattern, asked in ask.items():
            if re.fullmatch(pattern, path):
                _check_method(request, "POST", "PUT")
                return await self._answered(await self._in_time(request), asked)
        raise RefusedError(HTTPStatus.NOT_FOUND, f"There is no {path}. GET / lists what there is.")

    async def _in_time(self, request) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.patience):
                return await self._body(request)
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT, f"The body took over {self._bounds.patience:g} s."
            ) from None

    async def _body(self, request) -> bytes:
        most, told = self._bounds.most_bytes, request.headers.get("content-length", "0")
        too_large = RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has more than {most:,} bytes."
        )
        if told.isdigit() and int(told) > most:
            raise too_large
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/"):
            raise RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Send the picture itself as the body, not a form: curl --data-binary @FILE",
            )
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
        return bytes(body)

    async def _answered(self, body: bytes, asked: Callable[[bytes], Asked]) -> dict:
        pictures, say = await asyncio.to_thread(protocols.understood, asked, body)
        if len(pictures) > self._bounds.pictures:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The request has {len(pictures)} pictures. At most {self._bounds.pictures} are "
                "answered at once.",
            )
        rows = await asyncio.gather(*map(self._row, pictures))
        return say(self._named(np.stack(rows)))

    async def _row(self, picture: protocols.Picture) -> np.ndarray:
        async with self._room:  # decoded pixels take far more memory than the body
            return await self._batched(await asyncio.to_thread(self._decoded, picture))

    def _decoded(self, picture: protocols.Picture) -> np.ndarray:
        size, crop, most = self._work.size, self._work.crop, self._bounds.most_pixels
        try:
            if isinstance(picture, np.ndarray):
                _check_pixels(picture.shape[0] * picture.shape[1], most)
                return resize_image(picture, size, crop)
            with opened(picture) as image:
                count = image.width * image.height
            _check_pixels(count, most)
            return load_image(picture, size, crop)
        except ValueError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _in_known_sizes(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run the model in known batch sizes: five pictures run as four and one, not padded."""
        rows: list[np.ndarray] = []
        while len(rows) < len(batch):
            rest = len(batch) - len(rows)
            size = max(size for size in self._sizes if size <= rest)
            rows += list(self._work.answer(batch[len(rows) : len(rows) + size]))
        return rows

    def _outputs(self) -> dict[str, tuple[str, int]]:
        count = len(self._work.class_names)
        if self._work.task.standardized:
            return {"values": ("FP32", count)}
        best = self._best()
        return {"probabilities": ("FP32", count), "classes": ("BYTES", best),
                "scores": ("FP32", best)}  # fmt: skip

    def _best(self) -> int:
        count = len(self._work.class_names)
        least = count if self._work.task.thresholded else TOP
        return min(self._work.top or least, count)

    def _named(self, answers: np.ndarray) -> protocols.Answers:
        """Return outputs by the names of a SavedModel's; `classes` is padded with ""."""
        if self._work.task.standardized:
            return {"values": answers, "names": np.array(self._work.class_names)}
        best = self._best()
        rows = [self._work.named(row)[:best] for row in answers]
        filled = [row + [("", 0.0)] * (best - len(row)) for row in rows]
        return {
            "probabilities": answers,
            "classes": np.array([[name for name, _ in row] for row in filled]),
            "scores": np.array([[score for _, score in row] for row in filled], "float32"),
        }

    def _about(self) -> dict:
        return protocols.about(self._name, self._outputs(), self._platform)

    def _about_server(self) -> dict:
        return {
            "name": "keras_inception_v4",
            "version": keras_inception_v4.__version__,
            "extensions": ["binary_tensor_data"],
        }

    def _ways(self) -> dict:
        return {
            "model": self._name,
            "POST /predict": "a picture",
            f"POST /v1/models/{self._name}:predict": "TensorFlow Serving",
            f"POST /v2/models/{self._name}/infer": "Open Inference Protocol",
        }


def _check_method(request, *allowed: str) -> None:
    if request.method not in allowed:
        raise RefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED, f"{request.url.path} takes {allowed[0]} requests."
        )


def _check_pixels(count: int, most: int) -> None:
    if count > most:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, f"The picture has {count:,} pixels, more than {most:,}."
        )
