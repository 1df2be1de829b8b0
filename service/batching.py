"""Rows of many requests become one run, and its results go back to their requests.

A run begins as soon as the device is free: what arrived until then is the batch, and nothing waits for more. This
module knows no HTTP and no ONNX Runtime: ``run`` is any function from rows to as many results, in their order.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, NamedTuple, TypeVar

from service.errors import DeadlineError, OverloadedError
from service.forecast import Forecast

Row = TypeVar("Row")
Result = TypeVar("Result")


class BatchRun(NamedTuple):
    """What one run was: for the metrics."""

    rows: int
    queue_seconds: float  # summed over the rows
    run_seconds: float


class _Waiting(Generic[Row, Result]):
    """One request's rows, of which the first ``taken`` have been given to a run."""

    __slots__ = ("arrived", "deadline", "future", "missing", "results", "rows", "taken")

    def __init__(
        self, rows: Sequence[Row], deadline: float, arrived: float, future: "asyncio.Future[Sequence[Result]]"
    ) -> None:
        self.rows = rows
        self.deadline = deadline
        self.arrived = arrived
        self.future = future
        self.taken = 0
        self.missing = len(rows)
        self.results: list[Result | None] = []

    def settle(self, start: int, results: Sequence[Result | Exception]) -> None:
        """Take the results of the rows from ``start`` on; the future is done with the last of them."""
        if self.future.done():
            return
        for result in results:
            if isinstance(result, Exception):
                self.future.set_exception(result)
                return
        if len(results) == len(self.rows):
            self.future.set_result(results)  # type: ignore[arg-type]  # there is no exception in it
            return
        if not self.results:
            self.results = [None] * len(self.rows)
        self.results[start : start + len(results)] = results  # type: ignore[assignment]
        self.missing -= len(results)
        if not self.missing:
            self.future.set_result(self.results)  # type: ignore[arg-type]  # every row has its result now


# Whose rows stand in a batch: a request, the first of its rows, and how many.
_Share = tuple[_Waiting[Row, Result], int, int]


class Batcher(Generic[Row, Result]):
    """Runs the rows of concurrent requests together.

    Args:
        run: computes one result for each row, in order. It is never called twice at a time.
        max_batch_rows: the rows of one run at most.
        max_queue_rows: the rows that may wait; more are refused at once.
        forecast: how long runs take; it learns from every run.
        executor: where ``run`` is called; None calls it on the event loop, which is cheapest where it is short.
        observe: is told of every run.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        forecast: Forecast,
        executor: Executor | None,
        observe: Callable[[BatchRun], None],
    ) -> None:
        self._run = run
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._executor = executor
        self._observe = observe
        self._forecast = forecast
        self._queue: deque[_Waiting[Row, Result]] = deque()
        self._queued_rows = 0
        self._running_rows = 0
        self._runs = 0
        self._start_scheduled = False

    @property
    def pending_rows(self) -> int:
        """The rows that wait or run."""
        return self._queued_rows + self._running_rows

    async def submit(self, rows: Sequence[Row], deadline: float) -> Sequence[Result]:
        """The results of ``rows``, in order. A cancelled call gives its place in the queue back.

        Args:
            rows: one request's rows, at least one; more than fit in one run are spread over several.
            deadline: when the results are of no use any more, in the time of ``time.perf_counter``.

        Raises:
            OverloadedError: the queue is full, or the rows would not be done by ``deadline``.
            DeadlineError: ``deadline`` passed before the rows were run.
            Exception: what ``run`` raised for one of these rows alone.
        """
        now = time.perf_counter()
        self._admit(len(rows), deadline - now)
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Row, Result] = _Waiting(rows, deadline, now, loop.create_future())
        self._queue.append(waiting)
        self._queued_rows += len(rows)
        self._schedule_start()
        try:
            return await waiting.future
        except asyncio.CancelledError:
            self._give_up(waiting)
            if not waiting.future.cancelled():
                waiting.future.exception()  # it came too late, and asyncio would complain that nobody looked at it
            raise

    def _schedule_start(self) -> None:
        if not self._start_scheduled:
            # Everything that arrives in this iteration of the loop comes before the call, so it joins the batch.
            self._start_scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _admit(self, rows: int, seconds_left: float) -> None:
        ahead = self._queued_rows + self._running_rows
        wait = self._forecast.seconds(ahead + rows)
        if self._queued_rows + rows > self._max_queue_rows or wait > seconds_left:
            raise OverloadedError(f"over capacity: the wait is {wait:.1f} seconds now", retry_after_seconds=wait)

    def _give_up(self, waiting: _Waiting[Row, Result]) -> None:
        """Take what is left of a request out of the queue, if anything is."""
        left = len(waiting.rows) - waiting.taken
        if left:
            self._queue.remove(waiting)
            self._queued_rows -= left
            waiting.taken = len(waiting.rows)

    def _start(self) -> None:
        self._start_scheduled = False
        # A second run may stand ready behind the first, but only if it is full: any other gains rows by waiting.
        while self._runs == 0 or (self._runs == 1 and self._queued_rows >= self._max_batch_rows):
            batch, rows, queue_seconds = self._take(time.perf_counter())
            if not rows:
                return
            self._runs += 1
            self._running_rows += len(rows)
            if self._executor is None:
                self._finish(batch, queue_seconds, *self._attempt(rows))
                return
            loop = asyncio.get_running_loop()
            attempt = loop.run_in_executor(self._executor, self._attempt, rows)
            attempt.add_done_callback(
                lambda done, batch=batch, queue_seconds=queue_seconds: self._finish(  # type: ignore[misc]
                    batch, queue_seconds, *done.result()
                )
            )

    def _take(self, now: float) -> tuple[list[_Share[Row, Result]], list[Row], float]:
        """The next batch: whose its rows are, in their order; the rows; the time that they waited, summed."""
        batch: list[_Share[Row, Result]] = []
        rows: list[Row] = []
        queue_seconds = 0.0
        free = self._max_batch_rows
        while self._queue and free:
            waiting = self._queue[0]
            if now > waiting.deadline and not waiting.future.done():
                waiting.future.set_exception(DeadlineError("the deadline passed while the request waited for its turn"))
            if waiting.future.done():
                self._give_up(waiting)
                continue
            start = waiting.taken
            count = min(free, len(waiting.rows) - start)
            batch.append((waiting, start, count))
            rows += waiting.rows[start : start + count]
            queue_seconds += count * (now - waiting.arrived)
            waiting.taken += count
            free -= count
            self._queued_rows -= count
            if waiting.taken == len(waiting.rows):
                self._queue.popleft()
        return batch, rows, queue_seconds

    def _attempt(self, rows: Sequence[Row]) -> tuple[Sequence[Result | Exception], float]:
        """Run ``rows``, in halves where that fails: a result or an error for each row, and the seconds."""
        began = time.perf_counter()
        try:
            results: Sequence[Result | Exception] = self._run(rows)
        except Exception as error:
            # Whatever it is, it belongs to the request whose row it is, and to no other and not to the queue.
            return self._isolate(rows, error), time.perf_counter() - began
        return results, time.perf_counter() - began

    def _isolate(self, rows: Sequence[Row], error: Exception) -> list[Result | Exception]:
        """Run the halves of a batch that failed, down to the rows at fault."""
        if len(rows) == 1:
            return [error]
        middle = len(rows) // 2
        return [*self._attempt(rows[:middle])[0], *self._attempt(rows[middle:])[0]]

    def _finish(
        self,
        batch: Sequence[_Share[Row, Result]],
        queue_seconds: float,
        results: Sequence[Result | Exception],
        run_seconds: float,
    ) -> None:
        rows = len(results)
        self._runs -= 1
        self._running_rows -= rows
        if self._queue:
            self._schedule_start()
        self._forecast.learn(rows, run_seconds)
        self._observe(BatchRun(rows, queue_seconds, run_seconds))
        position = 0
        for waiting, start, count in batch:
            waiting.settle(start, results[position : position + count])
            position += count
