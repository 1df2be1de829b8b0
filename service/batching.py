"""Rows of many requests become one run, and its results go back to their requests.

A run begins as soon as the device is free: what arrived until then is the batch, and nothing waits for more. Rows that
cost differently, as texts of different lengths do, wait in lanes: a run takes rows of one lane, so that none is filled
up to the size of a much larger one, and the lane is that of the row which has waited longest, so that none waits for
ever. Where all rows are alike there is one lane. This module knows no HTTP and no ONNX Runtime: ``run`` is any function
from rows to as many results, in their order.
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
    """One request's rows in a lane, of which the first ``taken`` have been given to a run."""

    __slots__ = ("arrived", "deadline", "future", "lane", "missing", "results", "rows", "taken")

    def __init__(
        self,
        rows: Sequence[Row],
        deadline: float,
        arrived: float,
        future: "asyncio.Future[Sequence[Result]]",
        lane: "_Lane[Row, Result]",
    ) -> None:
        self.rows = rows
        self.deadline = deadline
        self.arrived = arrived
        self.future = future
        self.lane = lane
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


class _Part(_Waiting[Row, Result]):
    """Those rows of a request that are in one of the several lanes that its rows are in.

    Args:
        request: the whole of it. All its parts share its future.
        places: the places of the rows in it.
        lane: where they are.
    """

    __slots__ = ("places", "request")

    def __init__(self, request: _Waiting[Row, Result], places: Sequence[int], lane: "_Lane[Row, Result]") -> None:
        rows = [request.rows[place] for place in places]
        super().__init__(rows, request.deadline, request.arrived, request.future, lane)
        self.request = request
        self.places = places

    def settle(self, start: int, results: Sequence[Result | Exception]) -> None:
        """Hand the results of the rows from ``start`` on to the request, whose places they have."""
        for place, result in zip(self.places[start : start + len(results)], results, strict=True):
            self.request.settle(place, [result])


class _Lane(Generic[Row, Result]):
    """Rows that may share a run, in the order of their arrival."""

    __slots__ = ("forecast", "pending_rows", "queue", "queued_rows")

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.queue: deque[_Waiting[Row, Result]] = deque()
        self.queued_rows = 0
        self.pending_rows = 0  # which wait or run


# Whose rows stand in a batch: a request, the first of its rows, and how many.
_Share = tuple[_Waiting[Row, Result], int, int]


class Batcher(Generic[Row, Result]):
    """Runs the rows of concurrent requests together.

    Args:
        run: computes one result for each row, in order. It is never called twice at a time.
        forecasts: for each lane, how many rows a run takes at most and how long it takes; it learns from every run.
        choose_lane: the lane of a row. It may raise, which refuses the row's request. None where there is one lane.
        max_queue_rows: the rows that may wait; more are refused at once.
        executor: where ``run`` is called; None calls it on the event loop, which is cheapest where it is short.
        observe: is told of every run.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        forecasts: Sequence[Forecast],
        choose_lane: Callable[[Row], int] | None,
        max_queue_rows: int,
        executor: Executor | None,
        observe: Callable[[BatchRun], None],
    ) -> None:
        self._run = run
        self._lanes: Sequence[_Lane[Row, Result]] = [_Lane(forecast) for forecast in forecasts]
        self._choose_lane = choose_lane
        self._max_queue_rows = max_queue_rows
        self._executor = executor
        self._observe = observe
        self._runs = 0
        self._start_scheduled = False

    @property
    def pending_rows(self) -> int:
        """The rows that wait or run."""
        return sum(lane.pending_rows for lane in self._lanes)

    async def submit(self, rows: Sequence[Row], deadline: float) -> Sequence[Result]:
        """The results of ``rows``, in order. A cancelled call gives its place in the queue back.

        Args:
            rows: one request's rows, at least one; more than fit in one run are spread over several.
            deadline: when the results are of no use any more, in the time of ``time.perf_counter``.

        Raises:
            OverloadedError: the queue is full, or the rows would not be done by ``deadline``.
            DeadlineError: ``deadline`` passed before the rows were run.
            Exception: what ``run`` raised for one of these rows alone, or ``choose_lane`` for any of them.
        """
        now = time.perf_counter()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(rows, deadline, now, loop.create_future(), self._lanes[0])
        parts = (waiting,) if self._choose_lane is None else self._sort(waiting, self._choose_lane)
        self._admit(parts, len(rows), deadline - now)
        self._schedule_start()
        try:
            return await waiting.future
        except (asyncio.CancelledError, Exception):
            for part in parts:
                self._give_up(part)
            if not waiting.future.cancelled():
                waiting.future.exception()  # it came too late, and asyncio would complain that nobody looked at it
            raise

    def _sort(
        self, request: _Waiting[Row, Result], choose_lane: Callable[[Row], int]
    ) -> Sequence[_Waiting[Row, Result]]:
        """The rows of a request by lane."""
        places: dict[int, list[int]] = {}
        for place, row in enumerate(request.rows):
            places.setdefault(choose_lane(row), []).append(place)
        if len(places) == 1:
            request.lane = self._lanes[next(iter(places))]
            return (request,)
        return [_Part(request, chosen, self._lanes[lane]) for lane, chosen in places.items()]

    def _admit(self, parts: Sequence[_Waiting[Row, Result]], rows: int, seconds_left: float) -> None:
        """Put a request's rows into their lanes, if there is room and time for them."""
        for part in parts:
            part.lane.pending_rows += len(part.rows)
        wait = 0.0
        for lane in self._lanes:
            rows += lane.queued_rows
            if lane.pending_rows:
                wait += lane.forecast.seconds(lane.pending_rows)
        if rows > self._max_queue_rows or wait > seconds_left:
            for part in parts:
                part.lane.pending_rows -= len(part.rows)
            raise OverloadedError(f"over capacity: the wait is {wait:.1f} seconds now", retry_after_seconds=wait)
        for part in parts:
            part.lane.queue.append(part)
            part.lane.queued_rows += len(part.rows)

    def _schedule_start(self) -> None:
        if not self._start_scheduled:
            # Everything that arrives in this iteration of the loop comes before the call, so it joins the batch.
            self._start_scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _give_up(self, waiting: _Waiting[Row, Result]) -> None:
        """Take what is left of a request out of its lane, if anything is."""
        left = len(waiting.rows) - waiting.taken
        if left:
            waiting.lane.queue.remove(waiting)
            waiting.lane.queued_rows -= left
            waiting.lane.pending_rows -= left
            waiting.taken = len(waiting.rows)

    def _start(self) -> None:
        self._start_scheduled = False
        while self._runs < 2 and (lane := self._find_lane()) is not None:
            # A second run may stand ready behind the first, but only if it is full: any other gains rows by waiting.
            if self._runs == 1 and lane.queued_rows < lane.forecast.max_rows:
                return
            batch, rows, queue_seconds = self._take(lane, time.perf_counter())
            if not rows:
                continue
            self._runs += 1
            if self._executor is None:
                self._finish(lane, batch, queue_seconds, *self._attempt(rows))
                return
            loop = asyncio.get_running_loop()
            attempt = loop.run_in_executor(self._executor, self._attempt, rows)
            attempt.add_done_callback(
                lambda done, lane=lane, batch=batch, queue_seconds=queue_seconds: self._finish(  # type: ignore[misc]
                    lane, batch, queue_seconds, *done.result()
                )
            )

    def _find_lane(self) -> _Lane[Row, Result] | None:
        """The lane of the row that has waited longest, if any waits."""
        if self._choose_lane is None:
            return self._lanes[0] if self._lanes[0].queue else None
        lanes = [lane for lane in self._lanes if lane.queue]
        return min(lanes, key=lambda lane: lane.queue[0].arrived, default=None)

    def _take(self, lane: _Lane[Row, Result], now: float) -> tuple[list[_Share[Row, Result]], list[Row], float]:
        """The next batch: whose its rows are, in their order; the rows; the time that they waited, summed."""
        batch: list[_Share[Row, Result]] = []
        rows: list[Row] = []
        queue_seconds = 0.0
        free = lane.forecast.max_rows
        while lane.queue and free:
            waiting = lane.queue[0]
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
            if waiting.taken == len(waiting.rows):
                lane.queue.popleft()
        lane.queued_rows -= len(rows)
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
        lane: _Lane[Row, Result],
        batch: Sequence[_Share[Row, Result]],
        queue_seconds: float,
        results: Sequence[Result | Exception],
        run_seconds: float,
    ) -> None:
        rows = len(results)
        self._runs -= 1
        lane.pending_rows -= rows
        if self._find_lane() is not None:
            self._schedule_start()
        lane.forecast.learn(rows, run_seconds)
        self._observe(BatchRun(rows, queue_seconds, run_seconds))
        position = 0
        for waiting, start, count in batch:
            waiting.settle(start, results[position : position + count])
            position += count
