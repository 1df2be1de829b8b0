"""One loaded model: its manifest, its session and its batcher, and the way of a request through them."""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import orjson

from models.errors import ArtifactError
from models.manifest import Manifest, load_golden
from service.batching import Batcher, BatchRun
from service.bodies import Body
from service.config import Settings
from service.errors import DeadlineError
from service.forecast import Forecast
from service.golden import replay_golden
from service.kinds import KINDS
from service.metrics import Metrics
from service.providers import Provider
from service.queries import Query
from service.session import GRAPH_ERRORS, Row, Session

# A run of one row that is shorter than this is done on the event loop. A thread costs 20 to 30 us a request more
# (measured at 16 connections on one core), which is a fifth of what the smallest model takes and nothing beside 1 ms;
# a longer run would keep the event loop from decoding and answering meanwhile.
INLINE_SECONDS = 0.001
# Bodies above this size are parsed and decoded off the event loop, whatever is in them.
_QUICK_BODY_BYTES = 65_536
_WARM_RUNS = 3

logger = logging.getLogger(__name__)


class Model:
    """A version that was loaded, found to be what its manifest says, and warmed.

    Args:
        folder: the version's folder, whose files are those of the manifest.
        manifest: its manifest.
        provider: where the graph runs.
        settings: batch size, queue length, threads.
        metrics: is told of every stage of every request.
        preparers: the threads that decode what is too large for the event loop.

    Raises:
        ModelError: the graph, its tensors or the golden examples are not what the manifest says.
        ProviderError: ``provider`` is not really in use.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        provider: Provider,
        settings: Settings,
        metrics: Metrics,
        preparers: Executor,
    ) -> None:
        self.kind = KINDS[manifest.kind]
        self.manifest = manifest
        self.provider = provider
        self._settings = settings
        self._metrics = metrics
        self._preparers = preparers
        self._version = str(manifest.version)
        self.kind.check(manifest)
        self._session = Session(folder, manifest, provider, settings.intra_op_threads, settings.max_batch_rows)
        seconds = _warm(folder, self._session)
        golden = load_golden(folder)
        replay_golden(folder, golden, self.kind, manifest, self._session)
        self.example_predictions = golden.examples[0].predictions
        self._runner = None if seconds[1] < INLINE_SECONDS else ThreadPoolExecutor(1, f"{manifest.kind}-run")
        self.batcher: Batcher[Row, Row] = Batcher(
            self._session.run,
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            forecast=Forecast(seconds, settings.max_batch_rows),
            executor=self._runner,
            observe=self._observe,
        )
        largest = self._session.buckets[-1]
        logger.info(
            "loaded %s version %d on %s: %.3f ms for one row, %.3f ms for %d, run %s",
            manifest.kind,
            manifest.version,
            provider,
            seconds[1] * 1e3,
            seconds[largest] * 1e3,
            largest,
            "on the event loop" if self._runner is None else "in a thread",
        )

    async def predict(self, body: Body, query: Query, deadline: float) -> bytes:
        """The answer to one request, as JSON.

        Args:
            body: the request's body.
            query: the request's query, as the kind's ``Query``.
            deadline: when the answer is of no use any more, in the time of ``time.perf_counter``.

        Raises:
            RequestError: the request cannot be answered; it says why.
        """
        rows = await self._prepare(body, query, deadline)
        outputs = await self.batcher.submit(rows, deadline)
        began = time.perf_counter()
        manifest = self.manifest
        predictions = [self.kind.postprocess(row, query, manifest) for row in outputs]
        answer = orjson.dumps({"model": manifest.kind, "version": self._version, "predictions": predictions})
        self._metrics.postprocess(manifest.kind, self._version, time.perf_counter() - began)
        return answer

    def close(self) -> None:
        """Let the thread that runs the graph go, once it is done."""
        if self._runner is not None:
            self._runner.shutdown(wait=False, cancel_futures=True)

    async def _prepare(self, body: Body, query: Query, deadline: float) -> list[Row]:
        """The rows of a request, on the event loop where that is over soon."""
        began = time.perf_counter()
        if len(body.content) <= _QUICK_BODY_BYTES:
            content = self.kind.parse(body, self._settings)
            if self.kind.is_quick(content):
                rows = list(self.kind.preprocess(content, query, self.manifest, self._settings))
                self._metrics.preprocess(self.manifest.kind, self._version, time.perf_counter() - began)
                return rows
        given_up = Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._preparers, self._prepare_slowly, body, query, deadline, given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise

    def _prepare_slowly(self, body: Body, query: Query, deadline: float, given_up: Event) -> list[Row]:
        """The rows of a request, in a thread: ends after the item at which nobody waits for them any more."""
        began = time.perf_counter()
        rows: list[Row] = []
        _check_wanted(deadline, given_up)
        content = self.kind.parse(body, self._settings)
        for row in self.kind.preprocess(content, query, self.manifest, self._settings):
            rows.append(row)
            _check_wanted(deadline, given_up)
        self._metrics.preprocess(self.manifest.kind, self._version, time.perf_counter() - began)
        return rows

    def _observe(self, run: BatchRun) -> None:
        self._metrics.batch(self.manifest.kind, self._version, run.rows, run.queue_seconds, run.run_seconds)


def _check_wanted(deadline: float, given_up: Event) -> None:
    if given_up.is_set() or time.perf_counter() > deadline:
        raise DeadlineError("the deadline passed while the request was read")


def _warm(folder: Path, session: Session) -> Mapping[int, float]:
    """Run every batch size that will be run later, and say how many seconds each takes: the best of a few."""
    seconds = {}
    row = session.example()
    try:
        for rows in session.buckets:
            times = []
            for _ in range(1 + _WARM_RUNS):
                began = time.perf_counter()
                session.run([row] * rows)
                times.append(time.perf_counter() - began)
            seconds[rows] = min(times)
    except GRAPH_ERRORS as error:
        raise ArtifactError(f"{folder}: the graph cannot be run: {error}") from error
    return seconds
