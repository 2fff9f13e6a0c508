"""Batches of pictures from several requests."""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np


class Gathered:
    """A queue of pictures that the model processes in batches.

    Whenever the model is free, it takes all waiting pictures, up to one batch. Ray Serve's own
    batching closes a batch a few milliseconds after its first picture, even while the model is
    busy. With it, sixteen simultaneous clients were served one by one.

    Args:
        answer: Function from pixels `(images, height, width, channels)` to rows of outputs. It is
            called in a thread, one call at a time.
        most: Largest number of pictures per batch.
        wait: Seconds to wait for more pictures when the model is free.
    """

    def __init__(self, answer: Callable[[np.ndarray], list[np.ndarray]], most: int, wait: float):
        self._answer, self._most, self._wait = answer, most, wait
        self._waiting: deque[tuple[np.ndarray, asyncio.Future]] = deque()
        self._working: asyncio.Task | None = None

    async def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the outputs for one picture of shape `(height, width, channels)`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        await asyncio.sleep(self._wait)
        while batch := self._taken():
            try:
                pixels = np.stack([given for given, _ in batch])
                rows = await asyncio.to_thread(self._answer, pixels)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), row in zip(batch, rows, strict=True):
                if not future.done():  # the client may have disconnected meanwhile
                    future.set_result(row)

    def _taken(self) -> list[tuple[np.ndarray, asyncio.Future]]:
        """Take the next batch from the queue, without pictures of disconnected clients."""
        batch: list[tuple[np.ndarray, asyncio.Future]] = []
        while self._waiting and len(batch) < self._most:
            pixels, future = self._waiting.popleft()
            if not future.done():
                batch.append((pixels, future))
        return batch
