"""Why predictions are what they are: found out where it keeps nobody waiting who does not ask for it.

An explanation asks the graph some thousand times what it would say of items that are a little different. That is done
in one thread of the lowest priority, by a session of its own, so that what the processor has left goes into it.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError
from models.manifest import Manifest
from service.batching import Batcher
from service.config import Settings
from service.errors import DeadlineError
from service.forecast import Forecast
from service.items import Item
from service.kinds import ExplainingKind
from service.priority import LOWEST, lower_priority
from service.session import GRAPH_ERRORS, Session

Explanation = dict[str, Any]

# The rows of one run at most. Between runs others get the interpreter, and whether anybody waits is looked at.
_MAX_ROWS: Final = 64
_MEASURED_RUNS: Final = 3
_MEASURED_SECONDS: Final = 0.5  # no further run is measured when they have taken this long

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    """An item to be explained, and for how long."""

    item: Item
    deadline: float
    given_up: Event


class Explainer:
    """Explains the predictions of one model, one after the other.

    Args:
        folder: the version's folder.
        manifest: its manifest.
        kind: its kind.
        assets: what the kind has loaded.
        settings: how many may wait.
        example: an item that is explained at once, to see that it can be and how long it takes.

    Raises:
        ArtifactError: the graph cannot be run on what an explanation asks.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, kind: ExplainingKind, assets: Any, settings: Settings, example: Item
    ) -> None:
        self._kind = kind
        self._assets = assets
        # The calling thread alone runs it, so that its priority is that of all the work.
        self._session = Session(folder, manifest, "cpu", intra_op_threads=1, max_batch_rows=_MAX_ROWS)
        self._thread = ThreadPoolExecutor(1, f"{manifest.kind}-explain", initializer=lower_priority, initargs=(LOWEST,))
        seconds = self._measure(folder, example)
        length = self._session.measure(example.row)
        logger.info("explains %s version %d in %.1f ms each", manifest.kind, manifest.version, seconds * 1e3)
        self._batcher: Batcher[_Job, Explanation] = Batcher(
            # Bound to this object they would keep the object alive, session, thread and all.
            partial(_explain_all, kind, assets, self._session),
            # That of a text takes longer with its length.
            forecasts=[Forecast({1: seconds * lane.length / length}, 1) for lane in self._session.lanes],
            choose_lane=partial(_choose_lane, self._session) if self._session.varies else None,
            max_queue_rows=settings.max_queue_explanations,
            executor=self._thread,
            observe=lambda _: None,
        )

    def is_wanted(self, content: Any) -> bool:
        """Whether a request asks for explanations."""
        return self._kind.wants_explanation(content)

    async def explain(self, items: Sequence[Item], deadline: float) -> Sequence[Explanation]:
        """The explanations of ``items``, in order.

        Raises:
            OverloadedError: too many wait, or these would not be done by ``deadline``.
            DeadlineError: ``deadline`` passed.
        """
        given_up = Event()
        try:
            return await self._batcher.submit([_Job(item, deadline, given_up) for item in items], deadline)
        except (asyncio.CancelledError, DeadlineError):
            given_up.set()
            raise

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _measure(self, folder: Path, example: Item) -> float:
        """The seconds that an explanation takes where nothing else is done: the best of a few."""
        times = []
        try:
            for _ in range(_MEASURED_RUNS):
                began = time.perf_counter()
                self._kind.explain(example, self._assets, self._session.evaluate)
                times.append(time.perf_counter() - began)
                if sum(times) > _MEASURED_SECONDS:
                    break
        except GRAPH_ERRORS as error:
            raise ArtifactError(f"{folder}: the graph cannot be run for an explanation: {error}") from error
        return min(times)


def _choose_lane(session: Session, job: _Job) -> int:
    return session.choose_lane(job.item.row)


def _explain_all(kind: ExplainingKind, assets: Any, session: Session, jobs: Sequence[_Job]) -> list[Explanation]:
    return [kind.explain(job.item, assets, partial(_evaluate, session, job)) for job in jobs]


def _evaluate(session: Session, job: _Job, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    parts = []
    for start in range(0, len(inputs[0]), _MAX_ROWS):
        if job.given_up.is_set() or time.perf_counter() > job.deadline:
            raise DeadlineError("the deadline passed while the prediction was explained")
        parts.append(session.evaluate([values[start : start + _MAX_ROWS] for values in inputs]))
    return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
