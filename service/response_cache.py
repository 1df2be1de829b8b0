"""Answers that have been given, kept for who asks the same again, byte for byte, of the same version.

Those who ask the same at the same time share one computation. It is a task of its own: it goes on while anybody waits
for it, whoever of them came first, and ends when all have gone. Errors are kept for nobody.

Everything here runs on the event loop. A version that is released takes its answers with it.
"""

import asyncio
import itertools
import weakref
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from service.bodies import QUICK_BODY_BYTES, Body
from service.errors import DeadlineError, OverloadedError
from service.exchange import Answer
from service.kinds import GeneratingKind
from service.metrics import Metrics
from service.queries import Query
from service.runtime import Model

# What an entry takes beside the bytes of its texts: 570 by tracemalloc (Python 3.11), and allocators round up.
ENTRY_BYTES: Final = 700
# Larger bodies are digested off the event loop: SHA-256 of this takes 0.2 ms (AMD EPYC).
_QUICK_DIGEST_BYTES: Final = 262_144
# RFC 9211.
_NAME: Final = b"cache-status"
_HIT: Final = (_NAME, b"modelyard; hit")
_MISS: Final = (_NAME, b"modelyard; fwd=miss")
_SHARED: Final = (_NAME, b"modelyard; fwd=miss; collapsed")


class _Key(NamedTuple):
    """What an answer depends on."""

    model: int  # the number that a loaded version has here
    content_type: bytes
    query: bytes
    accept: bytes
    digest: bytes  # of the body


class _Flight:
    """A computation that one or more requests wait for."""

    __slots__ = ("deadline", "task", "waiting")

    def __init__(self, task: "asyncio.Task[Answer]", deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        self.waiting = 0


class ResponseCache:
    """Answers for all kinds.

    Args:
        max_bytes: of all answers that are kept, with their keys; the one that was asked for longest ago goes first.
        metrics: is told of hits and misses, and of what is kept.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._answers: OrderedDict[_Key, Answer] = OrderedDict()
        self._bytes = 0
        self._flights: dict[_Key, _Flight] = {}
        self._numbers: WeakKeyDictionary[Model, int] = WeakKeyDictionary()
        self._unused_numbers = itertools.count()

    async def answer(
        self, model: Model, body: Body, query: Query, query_string: bytes, accept: bytes, deadline: float
    ) -> Answer:
        """As the model's own ``answer``: the one that is kept, or one that is made now.

        Args:
            model: who is asked.
            body: the request's body.
            query: the request's query.
            query_string: its bytes.
            accept: the request's Accept header.
            deadline: when the answer is of no use any more, in the time of ``time.perf_counter``.

        Raises:
            RequestError: the request cannot be answered; it says why.
        """
        if isinstance(model.kind, GeneratingKind):
            if len(body.content) > QUICK_BODY_BYTES or not model.kind.is_repeatable(body):
                return await model.answer(body, query, accept, deadline)
        else:
            accept = b""  # it has one form of answer
        digest = await _digest(body.content)
        key = _Key(self._find_number(model), body.content_type, query_string, accept, digest)
        while True:
            kept = self._answers.get(key)
            if kept is not None:
                self._answers.move_to_end(key)
                self._count(model, hit=True)
                return _add_header(kept, _HIT)
            flight = self._flights.get(key)
            is_first = flight is None or flight.task.done()  # one that is done may have failed
            if flight is None or is_first:
                task = asyncio.get_running_loop().create_task(model.answer(body, query, accept, deadline))
                flight = self._flights[key] = _Flight(task, deadline)
                task.add_done_callback(lambda task, key=key: self._land(key, task))  # type: ignore[misc]
            try:
                answer = await self._wait(key, flight)
            except (DeadlineError, OverloadedError):
                if is_first or flight.deadline >= deadline:
                    raise
                continue  # there is more time here than that computation had
            if not isinstance(answer.content, bytes):
                # What is made while it is sent is the first one's; nobody else can read it.
                return answer if is_first else await model.answer(body, query, accept, deadline)
            self._count(model, hit=not is_first)
            return _add_header(answer, _MISS if is_first else _SHARED)

    async def _wait(self, key: _Key, flight: _Flight) -> Answer:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                del self._flights[key]
                flight.task.cancel()

    def _land(self, key: _Key, task: "asyncio.Task[Answer]") -> None:
        """Keep the answer of a computation that has ended, if it is one that can be kept."""
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if task.cancelled() or task.exception() is not None:
            return
        answer = task.result()
        if isinstance(answer.content, bytes) and key.model in self._numbers.values():
            self._keep(key, answer)

    def _keep(self, key: _Key, answer: Answer) -> None:
        size = _measure(key, answer)
        if size > self._max_bytes or key in self._answers:
            return
        self._answers[key] = answer
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= _measure(*self._answers.popitem(last=False))
        self._tell()

    def _find_number(self, model: Model) -> int:
        number = self._numbers.get(model)
        if number is None:
            number = self._numbers[model] = next(self._unused_numbers)
            loop = asyncio.get_running_loop()
            # A version is released by whichever thread used it last.
            weakref.finalize(model, _forget_soon, loop, weakref.ref(self), number).atexit = False
        return number

    def forget(self, number: int) -> None:
        """Let go of the answers of a version that has been released: it had this number."""
        for key in [key for key in self._answers if key.model == number]:
            self._bytes -= _measure(key, self._answers.pop(key))
        self._tell()

    def _count(self, model: Model, *, hit: bool) -> None:
        self._metrics.look_up(model.manifest.kind, str(model.manifest.version), hit=hit)

    def _tell(self) -> None:
        self._metrics.keep(self._bytes, len(self._answers))


def _forget_soon(loop: asyncio.AbstractEventLoop, cache: "weakref.ref[ResponseCache]", number: int) -> None:
    found = cache()
    if found is not None:
        with suppress(RuntimeError):  # the service ends
            loop.call_soon_threadsafe(found.forget, number)


async def _digest(content: bytes) -> bytes:
    if len(content) <= _QUICK_DIGEST_BYTES:
        return sha256(content).digest()
    return (await asyncio.to_thread(sha256, content)).digest()


def _measure(key: _Key, answer: Answer) -> int:
    """The bytes that an entry takes."""
    texts = (key.content_type, key.query, key.accept, answer.content_type, *itertools.chain(*answer.headers))
    assert isinstance(answer.content, bytes)  # noqa: S101  # no other is kept
    return ENTRY_BYTES + len(answer.content) + sum(map(len, texts))


def _add_header(answer: Answer, header: tuple[bytes, bytes]) -> Answer:
    return answer._replace(headers=(*answer.headers, header))
