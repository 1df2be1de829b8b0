"""One loaded model: its manifest, its session and its batcher, and the way of a request through them."""

import asyncio
import logging
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson

from models.errors import ArtifactError
from models.manifest import Manifest, load_golden
from service.batching import Batcher, BatchRun
from service.bodies import QUICK_BODY_BYTES, Body
from service.config import Settings
from service.drift import watch_drift
from service.errors import DeadlineError
from service.exchange import JSON, Answer
from service.explanations import Explainer
from service.forecast import Forecast
from service.generation import Generation
from service.golden import make_example, replay_golden
from service.items import Item
from service.kinds import KINDS, ExplainingKind, GeneratingKind
from service.lanes import Lane, find_lane
from service.metrics import Metrics
from service.providers import Provider
from service.queries import Query
from service.session import GRAPH_ERRORS, Row, Session
from service.timed_batches import TimedBatcher
from service.trace import wants_traces

# Where rows vary in length, those of this are the usual ones: a review of 200 words or so.
_USUAL_LENGTH = 256
# A run of one row that is shorter than this is done on the event loop. A thread costs 20 to 30 us a request more
# (measured at 16 connections on one core), which is a fifth of what the smallest model takes and nothing beside 1 ms;
# a longer run would keep the event loop from decoding and answering meanwhile.
INLINE_SECONDS = 0.001
_WARM_RUNS = 3
_WARM_SECONDS = 0.05  # the runs of a batch size end when they have taken this long

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
        is_rehearsal: whether it is loaded only to see that it can be: it runs its golden examples, is not warmed, and
            explains nothing.

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
        *,
        is_rehearsal: bool = False,
    ) -> None:
        self.kind = KINDS[manifest.kind]
        self.manifest = manifest
        self.provider = provider
        self._settings = settings
        self._metrics = metrics
        self._preparers = preparers
        self._version = str(manifest.version)
        self.drift = watch_drift(manifest, settings)
        self._assets = self.kind.load(folder, manifest)
        session = self._session = Session(
            folder,
            manifest,
            provider,
            settings.intra_op_threads,
            settings.max_batch_rows,
            settings.max_batch_tokens,
        )
        measured = [_warm(folder, session, lane, 1 if is_rehearsal else lane.max_rows) for lane in session.lanes]
        golden = load_golden(folder)
        replays = replay_golden(folder, golden, self.kind, self._assets, session)
        self.example = make_example(self.kind, manifest, self._assets, golden.examples[0], replays[0].predictions)
        # What is generated comes in full batches, while others ask for single rows.
        usual_lane = find_lane(session.lanes, min(_USUAL_LENGTH, session.lanes[-1].length))
        seconds = measured[usual_lane]
        largest = max(seconds)
        usual = seconds[largest if isinstance(self.kind, GeneratingKind) else 1]
        self._runner = None if usual < INLINE_SECONDS else ThreadPoolExecutor(1, f"{manifest.kind}-run")
        batcher_class: type[Batcher[Row, Row]] = TimedBatcher if wants_traces() else Batcher
        self.batcher = batcher_class(
            session.run,
            forecasts=[Forecast(times, lane.max_rows) for times, lane in zip(measured, session.lanes, strict=True)],
            choose_lane=session.choose_lane if session.varies else None,
            max_queue_rows=settings.max_queue_rows,
            executor=self._runner,
            # Bound to the model it would keep the model alive, which nothing but its requests is to do.
            observe=partial(_observe, metrics, manifest.kind, self._version),
        )
        self._generation = self._explainer = None
        if isinstance(self.kind, GeneratingKind):
            self._generation = Generation(
                self.kind, manifest, self._assets, self.batcher, settings, metrics, preparers, seconds
            )
        if isinstance(self.kind, ExplainingKind) and not is_rehearsal:
            self._explainer = Explainer(folder, manifest, self.kind, self._assets, settings, replays[0].items[0])
        logger.info(
            "loaded %s version %d on %s: %.3f ms for one row%s, %.3f ms for %d, run %s",
            manifest.kind,
            manifest.version,
            provider,
            seconds[1] * 1e3,
            f" of {session.lanes[usual_lane].length} tokens" if session.varies else "",
            seconds[largest] * 1e3,
            largest,
            "on the event loop" if self._runner is None else "in a thread",
        )
        weakref.finalize(self, logger.info, "released %s version %d", manifest.kind, manifest.version).atexit = False

    async def answer(self, body: Body, query: Query, accept: bytes, deadline: float) -> Answer:
        """The answer to one request.

        Args:
            body: the request's body.
            query: the request's query, as the kind's ``Query``.
            accept: the request's Accept header, which counts where the kind has several forms of answer.
            deadline: when the answer is of no use any more, in the time of ``time.perf_counter``.

        Raises:
            RequestError: the request cannot be answered; it says why.
        """
        if self._generation is not None:
            return await self._generation.answer(body, query, accept, deadline)
        return Answer(200, JSON, await self._predict(body, query, deadline))

    async def _predict(self, body: Body, query: Query, deadline: float) -> bytes:
        """The predictions for everything in a request, as JSON."""
        self.batcher.check(deadline)  # to read a picture takes longer than to refuse it
        content, items = await self._prepare(body, query, deadline)
        rows = [item.row for item in items]
        outputs = await self.batcher.submit(rows, deadline)
        if self.drift is not None:
            self.drift.observe(rows, outputs)
        began = time.perf_counter()
        manifest, assets, postprocess = self.manifest, self._assets, self.kind.postprocess
        predictions = [postprocess(row, item.facts, query, assets) for row, item in zip(outputs, items, strict=True)]
        if self._explainer is not None and self._explainer.is_wanted(content):
            explanations = await self._explainer.explain(items, deadline)
            predictions = [{**pair[0], **pair[1]} for pair in zip(predictions, explanations, strict=True)]
            began = time.perf_counter()
        answer = orjson.dumps({"model": manifest.kind, "version": self._version, "predictions": predictions})
        self._metrics.postprocess(manifest.kind, self._version, time.perf_counter() - began)
        return answer

    def predict_aside(self, body: Body, query: Query) -> list[dict[str, Any]]:
        """The predictions for everything in a request, by the calling thread alone: no batch waits for them.

        Raises:
            RequestError: the request cannot be answered; it says why.
        """
        items = self.kind.preprocess(self.kind.parse(body, self._settings), query, self._assets, self._settings)
        return [self.kind.postprocess(self.run_aside(item.row), item.facts, query, self._assets) for item in items]

    def run_aside(self, row: Row) -> Row:
        """The graph's outputs for one row, by the calling thread alone."""
        inputs = [
            np.asarray(value, object if spec.dtype == "string" else spec.dtype)[np.newaxis]
            for spec, value in zip(self.manifest.inputs, row, strict=True)
        ]
        return tuple(output[0] for output in self._session.evaluate(inputs))

    def close(self) -> None:
        """Let the threads that run the graph go, once they are done."""
        if self._runner is not None:
            self._runner.shutdown(wait=False, cancel_futures=True)
        if self._explainer is not None:
            self._explainer.close()

    async def _prepare(self, body: Body, query: Query, deadline: float) -> tuple[Any, list[Item]]:
        """The content of a request and its items, on the event loop where that is over soon."""
        began = time.perf_counter()
        if len(body.content) <= QUICK_BODY_BYTES:
            content = self.kind.parse(body, self._settings)
            if self.kind.is_quick(content):
                items = list(self.kind.preprocess(content, query, self._assets, self._settings))
                self._metrics.preprocess(self.manifest.kind, self._version, time.perf_counter() - began)
                return content, items
        given_up = Event()
        loop = asyncio.get_running_loop()
        try:
            content, items, seconds = await loop.run_in_executor(
                self._preparers, self._prepare_slowly, body, query, deadline, given_up
            )
        except asyncio.CancelledError:
            given_up.set()
            raise
        self._metrics.preprocess(self.manifest.kind, self._version, seconds)
        return content, items

    def _prepare_slowly(
        self, body: Body, query: Query, deadline: float, given_up: Event
    ) -> tuple[Any, list[Item], float]:
        """As _prepare, in a thread, with its seconds: ends after the item at which nobody waits for them any more."""
        began = time.perf_counter()
        items: list[Item] = []
        _check_wanted(deadline, given_up)
        content = self.kind.parse(body, self._settings)
        for item in self.kind.preprocess(content, query, self._assets, self._settings):
            items.append(item)
            _check_wanted(deadline, given_up)
        return content, items, time.perf_counter() - began


def _observe(metrics: Metrics, kind: str, version: str, run: BatchRun) -> None:
    metrics.batch(kind, version, run.rows, run.queue_seconds, run.run_seconds)


def _check_wanted(deadline: float, given_up: Event) -> None:
    if given_up.is_set() or time.perf_counter() > deadline:
        raise DeadlineError("the deadline passed while the request was read")


def _warm(folder: Path, session: Session, lane: Lane, most_rows: int) -> Mapping[int, float]:
    """Run a lane's batch sizes up to ``most_rows``, and say how many seconds each takes: the best of a few."""
    seconds = {}
    row = session.example(lane.length)
    try:
        for rows in (bucket for bucket in session.buckets if bucket <= most_rows):
            times = []
            for _ in range(1 + _WARM_RUNS):
                began = time.perf_counter()
                session.run([row] * rows)
                times.append(time.perf_counter() - began)
                if sum(times) > _WARM_SECONDS:
                    break
            seconds[rows] = min(times)
    except GRAPH_ERRORS as error:
        raise ArtifactError(f"{folder}: the graph cannot be run: {error}") from error
    return seconds
