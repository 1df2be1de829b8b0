"""What a candidate would have answered, beside what was answered: found out in silence.

It is asked in a thread of low priority, after the answer has gone. Where more requests come than that thread
can repeat, the rest is not compared.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from threading import BoundedSemaphore
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from service.bodies import Body
from service.errors import RequestError
from service.metrics import Metrics
from service.queries import Query
from service.runtime import Model
from service.session import GRAPH_ERRORS, Row

_MAX_WAITING: Final = 64
# The requests that wait keep their bodies in memory.
_MAX_BODY_BYTES: Final = 2**20

logger = logging.getLogger(__name__)


class Difference(NamedTuple):
    """How two answers differ: whether in a word or truth value, and by how much in a number (None: no numbers)."""

    agrees: bool
    largest: float | None


class Comparison:
    """Compares one candidate with what answers in its place.

    Args:
        candidate: the version that is asked in silence.
        metrics: is told of every outcome.
        thread: where it is asked.
    """

    def __init__(self, candidate: Model, metrics: Metrics, thread: Executor) -> None:
        self.candidate = candidate
        self._metrics = metrics
        self._thread = thread
        self._room = BoundedSemaphore(_MAX_WAITING)

    def offer(self, body: Body, query: Query, answer: bytes) -> None:
        """A request, and the JSON that it was answered with."""
        if len(body.content) > _MAX_BODY_BYTES:
            self._count("dropped")
            return
        self._submit(lambda: self._compare_answer(body, query, answer))

    def offer_rows(self, rows: Sequence[Row], results: Sequence[Row]) -> None:
        """Rows of the graph, and the results that they had."""
        if sum(getattr(value, "nbytes", 0) for row in rows for value in row) > _MAX_BODY_BYTES:
            self._count("dropped")
            return
        self._submit(lambda: self._compare_rows(rows, results))

    def _submit(self, compare: Callable[[], Difference]) -> None:
        if not self._room.acquire(blocking=False):
            self._count("dropped")
            return
        try:
            self._thread.submit(self._run, compare)
        except RuntimeError:  # the service ends
            self._room.release()

    def _run(self, compare: Callable[[], Difference]) -> None:
        try:
            difference = compare()
        except (RequestError, *GRAPH_ERRORS):
            self._count("failed")
        except Exception:
            # The last resort: a candidate's fault is its own and nobody's who was answered.
            logger.exception("%s: cannot be compared", self.candidate.manifest.kind)
            self._count("failed")
        else:
            self._count("agreed" if difference.agrees else "differed", difference.largest)
        finally:
            self._room.release()

    def _compare_answer(self, body: Body, query: Query, answer: bytes) -> Difference:
        found = self.candidate.predict_aside(body, query)
        return compare_predictions(found, orjson.loads(answer)["predictions"])

    def _compare_rows(self, rows: Sequence[Row], results: Sequence[Row]) -> Difference:
        return compare_rows([self.candidate.run_aside(row) for row in rows], results)

    def _count(self, outcome: str, difference: float | None = None) -> None:
        manifest = self.candidate.manifest
        self._metrics.compare(manifest.kind, str(manifest.version), outcome, difference)


def compare_predictions(found: Sequence[Mapping[str, Any]], answered: Sequence[Mapping[str, Any]]) -> Difference:
    """How a candidate's predictions differ from those that were answered.

    Words and truth values agree where they are the same. Members that stand on one side alone are left out, and so are
    lists: what a model holds for less probable may well come in another order.
    """
    pairs = [
        (left.get(name), value) for left, right in zip(found, answered, strict=True) for name, value in right.items()
    ]
    agrees = True
    differences: list[float] = []
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            pairs += [(left[name], right[name]) for name in left.keys() & right.keys()]
        elif _is_number(left) and _is_number(right):
            differences.append(abs(left - right))
        elif isinstance(left, str | bool) and isinstance(right, str | bool):
            agrees = agrees and left == right
    return Difference(agrees, max(differences, default=None))


def compare_rows(found: Sequence[Row], answered: Sequence[Row]) -> Difference:
    """How a candidate's results differ from those that were answered.

    They agree where texts and truth values are the same and the highest number of each output stands in one place.
    """
    agrees = True
    differences: list[float] = []
    for left, right in (
        (np.asarray(a), np.asarray(b)) for pair in zip(found, answered, strict=True) for a, b in zip(*pair, strict=True)
    ):
        if left.shape != right.shape:
            agrees = False
        elif left.dtype.kind not in "iuf":
            agrees = agrees and bool((left == right).all())
        elif left.size:
            largest = float(np.abs(left.astype(np.float64) - right).max())
            agrees = agrees and bool(left.argmax() == right.argmax()) and math.isfinite(largest)
            if math.isfinite(largest):
                differences.append(largest)
    return Difference(agrees, max(differences, default=None))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
