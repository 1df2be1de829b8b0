"""A batcher that tells the trace of each request how long its rows waited and ran."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from service.batching import Batcher
from service.session import Row
from service.trace import CURRENT, Stage


class TimedRow(tuple[Any, ...]):
    """A result that knows which run it is of."""

    run: Stage


class TimedBatcher(Batcher[Row, Row]):
    """As a Batcher of a graph's rows; the stages ``queue`` and ``inference`` go to the trace of who submits.

    Args:
        run: as a Batcher's.
        options: as a Batcher's.
    """

    def __init__(self, run: Callable[[Sequence[Row]], Sequence[Row]], **options: Any) -> None:
        super().__init__(partial(_run, run), **options)

    async def submit(self, rows: Sequence[Row], deadline: float) -> Sequence[Row]:
        """As a Batcher's."""
        trace, began = CURRENT.get(), time.perf_counter()
        results = await super().submit(rows, deadline)
        if trace is not None:
            runs = sorted({row.run for row in results if isinstance(row, TimedRow)}, key=lambda run: run.began)
            if runs:
                trace.add(Stage("queue", began, runs[0].began))
            for run in runs:
                trace.add(run)
        return results


def _run(run: Callable[[Sequence[Row]], Sequence[Row]], rows: Sequence[Row]) -> Sequence[Row]:
    began = time.perf_counter()
    results = [TimedRow(row) for row in run(rows)]
    stage = Stage("inference", began, time.perf_counter(), len(rows))
    for result in results:
        result.run = stage
    return results
