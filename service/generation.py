"""Answers that are made while they are sent: a part at a time, whatever their length."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import Any, Final

from models.manifest import Manifest
from service.acceptance import choose_media_type
from service.batching import Batcher
from service.bodies import QUICK_BODY_BYTES, Body
from service.config import Settings
from service.encoders import Encoder
from service.errors import OverloadedError
from service.exchange import Answer, Chunks
from service.items import Item
from service.kinds import GeneratingKind
from service.metrics import Metrics
from service.queries import Query
from service.session import Row

# The rows of a part at most, and how long one may run: others wait for it, in the queue and on the event loop. What
# runs for longer gains nothing by more rows (measured on one core with 1.1 million parameters of convolutions: 2.1 ms
# for one image, 1.8 ms each for 8 and for 64).
_PART_ROWS: Final = 64
_PART_SECONDS: Final = 0.02
# How soon a part asks again for a place in the queue, where there was none.
_SHORTEST_WAIT_SECONDS: Final = 0.01


class Generation:
    """Makes the answers of one model.

    Args:
        kind: its kind.
        manifest: its manifest.
        assets: what the kind has loaded.
        batcher: runs its graph.
        settings: the limits, and the deadline of a part.
        metrics: is told of every part.
        preparers: the threads that make what takes long.
        run_seconds: how long runs of the graph take, by their rows.
    """

    def __init__(
        self,
        kind: GeneratingKind,
        manifest: Manifest,
        assets: Any,
        batcher: Batcher[Row, Row],
        settings: Settings,
        metrics: Metrics,
        preparers: Executor,
        run_seconds: Mapping[int, float],
    ) -> None:
        self._kind = kind
        self._model = manifest.kind, str(manifest.version)
        self._assets = assets
        self._batcher = batcher
        self._settings = settings
        self._metrics = metrics
        self._preparers = preparers
        short = [rows for rows, seconds in run_seconds.items() if rows <= _PART_ROWS and seconds <= _PART_SECONDS]
        self._part_rows = max(short, default=1)

    async def answer(self, body: Body, query: Query, accept: bytes, deadline: float) -> Answer:
        """An answer of one part, or the parts of a longer one.

        Args:
            body: the request's body.
            query: the request's query.
            accept: the request's Accept header.
            deadline: of the first part; each later one has as long from when it is asked for.

        Raises:
            RequestError: the request cannot be answered; it says why.
        """
        began = time.perf_counter()
        if len(body.content) <= QUICK_BODY_BYTES:
            content = self._kind.parse(body, self._settings)
        else:
            content = await asyncio.to_thread(self._kind.parse, body, self._settings)
        items = self._kind.preprocess(content, query, self._assets, self._settings)
        encoders = self._kind.ENCODERS
        encoder = encoders[choose_media_type(accept, tuple(encoders))](content, self._assets)
        part = self._take(items, began)
        rows = await self._batcher.submit([item.row for item in part], deadline)
        content, part = await self._turn(encoder, part, rows, items, query)
        first = encoder.begin() + content
        chunks = self._go_on(first, part, items, query, encoder) if part else first + encoder.finish()
        return Answer(200, encoder.content_type, chunks, encoder.headers)

    async def _go_on(
        self, content: bytes, part: list[Item], items: Iterator[Item], query: Query, encoder: Encoder
    ) -> Chunks:
        """``content``, and what the further parts add to it."""
        while part:
            yield content
            rows = await self._submit(part)
            content, part = await self._turn(encoder, part, rows, items, query)
        yield content + encoder.finish()

    async def _submit(self, part: list[Item]) -> Sequence[Row]:
        """The results of a part of an answer that has begun, which waits for a place in the queue where it has to."""
        deadline = time.perf_counter() + self._settings.deadline_seconds
        while True:
            try:
                return await self._batcher.submit([item.row for item in part], deadline)
            except OverloadedError as error:
                wait = max(error.retry_after_seconds, _SHORTEST_WAIT_SECONDS)
                if time.perf_counter() + wait > deadline:
                    raise
                await asyncio.sleep(wait)

    async def _turn(
        self, encoder: Encoder, part: list[Item], rows: Sequence[Row], items: Iterator[Item], query: Query
    ) -> tuple[bytes, list[Item]]:
        """What the results of a part add to the answer, and the next part; in a thread where that takes long."""

        def work() -> tuple[bytes, list[Item]]:
            content = self._encode(encoder, part, rows, query)
            return content, self._take(items, time.perf_counter())

        if len(part) <= encoder.quick_predictions:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._preparers, work)

    def _take(self, items: Iterator[Item], began: float) -> list[Item]:
        part = list(islice(items, self._part_rows))
        self._metrics.preprocess(*self._model, time.perf_counter() - began)
        return part

    def _encode(self, encoder: Encoder, part: list[Item], rows: Sequence[Row], query: Query) -> bytes:
        began = time.perf_counter()
        predictions = [
            self._kind.postprocess(row, item.facts, query, self._assets) for row, item in zip(rows, part, strict=True)
        ]
        content = encoder.feed(predictions)
        self._metrics.postprocess(*self._model, time.perf_counter() - began)
        return content
