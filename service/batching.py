"""Rows of many requests become one run, and its results go back to their requests.

A run begins as soon as the device is free: what is there then is the batch, and nothing waits for what is not. Rows
that cost differently, as texts of different lengths do, wait in lanes: a run takes rows of one lane, so that none is
filled up to the size of a much larger one, and the lane is that of the row which has waited longest, so that none waits
for ever. Where all rows are alike there is one lane. This module knows no HTTP and no ONNX Runtime: ``run`` is any
function from rows to as many results, in their order.

Over capacity, the device does nothing that comes too late. What would not be done in time is refused at once, by a
forecast with a margin as wide as forecasts have been wrong. Where it was wrong all the same, rows are dropped when
their turn comes, if the run that they would be in ends after their deadline. They are not run in a smaller batch that
would end sooner, as then all would be small, and fewer rows done (the early drop of Shen et al. 2019, "Nexus: a GPU
cluster engine for accelerating DNN-based video analysis", SOSP). What finds nothing before it is run, whatever is
foretold: a forecast that is too high could not be learnt to be so otherwise.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, Generic, NamedTuple, TypeVar

from service.errors import DeadlineError, OverloadedError
from service.forecast import Forecast, Margin

Row = TypeVar("Row")
Result = TypeVar("Result")

# On the event loop, a run of fewer rows lets the loop look once more for what came while their requests were read.
# Measured with the 122,570-parameter net and 16 connections on one core (AMD EPYC), in turns with a batcher that does
# not: runs of 15 rows instead of 8, and 3 to 7 % less CPU for a request. There is no difference with 1 and with 64
# connections; if runs of 32 waited too, answers at 64 would come a tenth later.
_ENOUGH_ROWS: Final = 16


class BatchRun(NamedTuple):
    """What one run was: for the metrics."""

    rows: int
    queue_seconds: float  # summed over the rows
    run_seconds: float


class _Waiting(Generic[Row, Result]):
    """One request's rows in a lane, of which the first ``taken`` have been given to a run."""

    __slots__ = (
        "arrived",
        "deadline",
        "foretold_seconds",
        "future",
        "lane",
        "latest_end",
        "missing",
        "results",
        "rows",
        "taken",
    )

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
        self.latest_end = deadline  # of its run, as is foretold; infinite where it is run whatever is foretold
        self.foretold_seconds = 0.0  # the wait; 0 where it says nothing of others
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

    __slots__ = ("forecast", "queue", "queued_rows")

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.queue: deque[_Waiting[Row, Result]] = deque()
        self.queued_rows = 0


# Whose rows stand in a batch: a request, the first of its rows, and how many.
_Share = tuple[_Waiting[Row, Result], int, int]


class _Batch(Generic[Row, Result]):
    """What one run is about, in the time of ``time.perf_counter``."""

    __slots__ = ("ends", "lane", "queue_seconds", "rows", "shares", "started")

    def __init__(self, lane: _Lane[Row, Result], started: float) -> None:
        self.lane = lane
        self.started = started
        self.ends = 0.0  # as is foretold
        self.shares: list[_Share[Row, Result]] = []  # in the order of the rows
        self.rows: list[Row] = []
        self.queue_seconds = 0.0  # summed over the rows


class _Attempt(NamedTuple, Generic[Result]):
    """How a run went: for each row a result or an error, the seconds, and whether it was run as a whole."""

    results: Sequence[Result | Exception]
    seconds: float
    is_whole: bool


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
        self._margin = Margin()
        self._full_run_rows = min(forecast.max_rows for forecast in forecasts)
        self._queued_rows = 0  # in all lanes
        self._runs = 0
        self._running_rows = 0
        self._free_at = 0.0  # when what runs is foretold to have ended
        self._ended_at = 0.0  # when the last run did
        self._start_scheduled = False

    @property
    def pending_rows(self) -> int:
        """The rows that wait or run."""
        return self._queued_rows + self._running_rows

    def check(self, deadline: float) -> None:
        """Refuse what ``submit`` would refuse whatever its rows are, before anything is done to get them.

        Only where the rows of a run wait already: while there are fewer, there is time for nearly all.

        Raises:
            OverloadedError: the queue is full, or what is in it would not be done by ``deadline``.
        """
        if self._queued_rows >= self._full_run_rows:
            now = time.perf_counter()
            self._refuse_excess(self._queued_rows + 1, self._foretell(now), deadline - now)

    async def submit(self, rows: Sequence[Row], deadline: float) -> Sequence[Result]:
        """The results of ``rows``, in order. A cancelled call gives its place in the queue back.

        Args:
            rows: one request's rows, at least one; more than fit in one run are spread over several.
            deadline: when the results are of no use any more, in the time of ``time.perf_counter``.

        Raises:
            OverloadedError: the queue is full, or the rows would not be done by ``deadline``.
            DeadlineError: the rows' turn came when they could not be done by ``deadline`` any more.
            Exception: what ``run`` raised for one of these rows alone, or ``choose_lane`` for any of them.
        """
        now = time.perf_counter()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(rows, deadline, now, loop.create_future(), self._lanes[0])
        parts = (waiting,) if self._choose_lane is None else self._sort(waiting, self._choose_lane)
        self._admit(parts, deadline, now)
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

    def _admit(self, parts: Sequence[_Waiting[Row, Result]], deadline: float, now: float) -> None:
        """Put a request's rows into their lanes, if there is room and time for them."""
        is_first = not self.pending_rows
        for part in parts:
            self._count_queued(part.lane, len(part.rows))
        wait = self._foretell(now)
        try:
            self._refuse_excess(self._queued_rows, wait, math.inf if is_first else deadline - now)
        except OverloadedError:
            for part in parts:
                self._count_queued(part.lane, -len(part.rows))
            raise
        for part in parts:
            if is_first:
                part.latest_end = math.inf
            part.lane.queue.append(part)
        if len(parts) == 1 and not is_first:
            parts[0].foretold_seconds = wait

    def _count_queued(self, lane: _Lane[Row, Result], rows: int) -> None:
        lane.queued_rows += rows
        self._queued_rows += rows

    def _foretell(self, now: float) -> float:
        """The seconds until everything that waits or runs is done."""
        wait = max(self._free_at - now, 0.0) if self._runs else 0.0
        for lane in self._lanes:
            if lane.queued_rows:
                wait += lane.forecast.seconds(lane.queued_rows)
        return wait

    def _refuse_excess(self, queued_rows: int, wait: float, seconds_left: float) -> None:
        if queued_rows > self._max_queue_rows or wait * self._margin.factor > seconds_left:
            raise OverloadedError(f"over capacity: the wait is {wait:.1f} seconds now", retry_after_seconds=wait)

    def _schedule_start(self) -> None:
        if not self._start_scheduled:
            # Everything that arrives in this iteration of the loop comes before the call, so it joins the batch.
            self._start_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_here if self._executor is None else self._start)

    def _start_here(self) -> None:
        if self._queued_rows < _ENOUGH_ROWS:
            asyncio.get_running_loop().call_soon(self._start)
        else:
            self._start()

    def _give_up(self, waiting: _Waiting[Row, Result]) -> None:
        """Take what is left of a request out of its lane, if anything is."""
        left = len(waiting.rows) - waiting.taken
        if left:
            waiting.lane.queue.remove(waiting)
            self._count_queued(waiting.lane, -left)
            waiting.taken = len(waiting.rows)

    def _start(self) -> None:
        self._start_scheduled = False
        while self._runs < 2 and (lane := self._find_lane()) is not None:
            # A second run may stand ready behind the first, but only if it is full: any other gains rows by waiting.
            if self._runs == 1 and lane.queued_rows < lane.forecast.max_rows:
                return
            batch = self._take(lane, time.perf_counter())
            if not batch.rows:
                continue
            self._runs += 1
            self._running_rows += len(batch.rows)
            if self._executor is None:
                self._finish(batch, self._attempt(batch.rows))
                return
            attempt = asyncio.get_running_loop().run_in_executor(self._executor, self._attempt, batch.rows)
            attempt.add_done_callback(lambda done, batch=batch: self._finish(batch, done.result()))  # type: ignore[misc]

    def _find_lane(self) -> _Lane[Row, Result] | None:
        """The lane of the row that has waited longest, if any waits."""
        if self._choose_lane is None:
            return self._lanes[0] if self._lanes[0].queue else None
        lanes = [lane for lane in self._lanes if lane.queue]
        return min(lanes, key=lambda lane: lane.queue[0].arrived, default=None)

    def _take(self, lane: _Lane[Row, Result], now: float) -> _Batch[Row, Result]:
        """The next batch, without what would come too late."""
        batch = _Batch(lane, now)
        starts = max(now, self._free_at) if self._runs else now
        forecast = lane.forecast
        free = forecast.max_rows
        # Of a run with all that waits, which may be less once some of it is found to be late.
        ends = starts + forecast.longest_seconds(min(lane.queued_rows, free))
        while lane.queue and free:
            waiting = lane.queue[0]
            if not waiting.future.done() and self._is_late(waiting, now, ends):
                self._learn_wait(waiting, ends)
                waiting.future.set_exception(DeadlineError("the request's turn came too late for its deadline"))
            if waiting.future.done():
                self._give_up(waiting)
                ends = starts + forecast.longest_seconds(max(min(lane.queued_rows, forecast.max_rows), 1))
                continue
            start = waiting.taken
            count = min(free, len(waiting.rows) - start)
            batch.shares.append((waiting, start, count))
            batch.rows += waiting.rows[start : start + count]
            batch.queue_seconds += count * (now - waiting.arrived)
            waiting.taken += count
            free -= count
            if waiting.taken == len(waiting.rows):
                lane.queue.popleft()
        if batch.rows:
            self._count_queued(lane, -len(batch.rows))
            self._free_at = batch.ends = starts + forecast.seconds(len(batch.rows))
        return batch

    def _is_late(self, waiting: _Waiting[Row, Result], now: float, ends: float) -> bool:
        """Whether a request cannot be done in time any more, if its first run ends at ``ends``."""
        further_rows = len(waiting.rows) - waiting.taken - waiting.lane.forecast.max_rows
        if further_rows > 0:
            ends += waiting.lane.forecast.seconds(further_rows)
        return now > waiting.deadline or ends > waiting.latest_end

    def _learn_wait(self, waiting: _Waiting[Row, Result], ends: float) -> None:
        if waiting.foretold_seconds:
            self._margin.learn(waiting.foretold_seconds, ends - waiting.arrived)

    def _attempt(self, rows: Sequence[Row]) -> _Attempt[Result]:
        """Run ``rows``, in parts where that fails."""
        began = time.perf_counter()
        results: Sequence[Result | Exception]
        try:
            results, is_whole = self._run(rows), True
        except Exception as error:
            # Whatever it is, it belongs to the request whose row it is, and to no other and not to the queue.
            results, is_whole = self._isolate(rows, error), False
        return _Attempt(results, time.perf_counter() - began, is_whole)

    def _isolate(self, rows: Sequence[Row], error: Exception) -> list[Result | Exception]:
        """Run the halves of what failed, down to the rows at fault.

        One row is found by as many halvings as there are powers of two. If there are more at fault, what is left after
        these is run row by row, so that there are ``rows`` runs at most beside these: not twice as many.
        """
        results: list[Result | Exception] = [error] * len(rows)
        halvings = (len(rows) - 1).bit_length()
        failed = [(0, len(rows))]
        while failed:
            start, stop = failed.pop()
            if stop - start == 1:
                continue
            step = (stop - start + 1) // 2 if halvings else 1
            halvings -= halvings > 0
            for first in range(start, stop, step):
                last = min(first + step, stop)
                try:
                    results[first:last] = self._run(rows[first:last])
                except Exception as part_error:  # as above
                    results[first:last] = [part_error] * (last - first)
                    failed.append((first, last))
        return results

    def _finish(self, batch: _Batch[Row, Result], attempt: _Attempt[Result]) -> None:
        now, rows = time.perf_counter(), len(batch.rows)
        self._runs -= 1
        self._running_rows -= rows
        self._free_at += now - batch.ends  # the run that stood ready behind it begins now
        if self._find_lane() is not None:
            self._schedule_start()
        if attempt.is_whole:
            # What counts for those that wait is how long it kept them waiting, in thread and event loop.
            batch.lane.forecast.learn(rows, now - max(batch.started, self._ended_at))
        self._ended_at = now
        self._observe(BatchRun(rows, batch.queue_seconds, attempt.seconds))
        middle, start, count = batch.shares[len(batch.shares) // 2]
        if start + count == len(middle.rows):
            self._learn_wait(middle, now)
        position = 0
        for waiting, start, count in batch.shares:
            results = attempt.results[position : position + count]
            if now > waiting.deadline:
                results = [DeadlineError("the run that the request was in ended after its deadline")] * count
            waiting.settle(start, results)
            position += count
