"""Pictures of several requests, answered together."""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np


class Gathered:
    """Answers pictures in batches: whenever the model is free, all that wait, up to a batch.

    Ray Serve's own batches are closed a few milliseconds after their first picture, also while the
    model is busy with others: sixteen clients at once were answered one by one.

    Args:
        answer: rows of answers of pixels `(images, height, width, channels)`; is called in a
            thread, once at a time.
        most: pictures of a batch.
        wait: seconds that a picture waits for others when the model is free.
    """

    def __init__(self, answer: Callable[[np.ndarray], list[np.ndarray]], most: int, wait: float):
        self._answer, self._most, self._wait = answer, most, wait
        self._waiting: deque[tuple[np.ndarray, asyncio.Future]] = deque()
        self._working: asyncio.Task | None = None

    async def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The answer to one picture, `(height, width, channels)`."""
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
                if not future.done():  # its client may have gone meanwhile
                    future.set_result(row)

    def _taken(self) -> list[tuple[np.ndarray, asyncio.Future]]:
        """The next of those whose clients are still there."""
        batch: list[tuple[np.ndarray, asyncio.Future]] = []
        while self._waiting and len(batch) < self._most:
            pixels, future = self._waiting.popleft()
            if not future.done():
                batch.append((pixels, future))
        return batch
