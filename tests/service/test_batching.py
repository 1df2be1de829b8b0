"""Rows of many requests are run together, and each request gets its own results."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.batching import Batcher, BatchRun
from service.errors import DeadlineError, OverloadedError
from service.forecast import Forecast

FAR = 1e12


class Device:
    """Squares numbers, remembers its batches, and fails on any batch that holds a number it was told of."""

    def __init__(self, poison: Sequence[int] = ()) -> None:
        self.batches: list[list[int]] = []
        self.poison = set(poison)
        self.gate = threading.Event()
        self.gate.set()

    def run(self, rows: Sequence[int]) -> list[int]:
        assert self.gate.wait(timeout=10)
        self.batches.append(list(rows))
        if self.poison & set(rows):
            raise ValueError(f"cannot square {sorted(self.poison & set(rows))}")
        return [row * row for row in rows]


Work = tuple[Device, Batcher[int, int], "asyncio.Task[Sequence[int]]"]


def make_batcher(
    device: Device,
    *,
    max_batch_rows: int = 8,
    max_queue_rows: int = 100,
    seconds: float = 0.001,
    executor: Executor | None = None,
    observe: Callable[[BatchRun], None] = lambda run: None,
) -> Batcher[int, int]:
    return Batcher(
        device.run,
        forecasts=[Forecast({1: seconds, max_batch_rows: seconds}, max_batch_rows)],
        choose_lane=None,
        max_queue_rows=max_queue_rows,
        executor=executor,
        observe=observe,
    )


def choose_lane(number: int) -> int:
    """Numbers below 100 stand in the first lane, those below 1000 in the second, and others in none."""
    if number >= 1000:
        raise ValueError(f"{number} is in no lane")
    return int(number >= 100)


def make_lanes(
    device: Device, *, executor: Executor | None = None, short: float = 0.001, long: float = 0.01
) -> Batcher[int, int]:
    """Eight numbers below 100 in a run, or two above."""
    return Batcher(
        device.run,
        forecasts=[Forecast({1: short, 8: short}, 8), Forecast({1: long, 2: long}, 2)],
        choose_lane=choose_lane,
        max_queue_rows=100,
        executor=executor,
        observe=lambda run: None,
    )


def run_in_both_ways(test: Callable[[Executor | None], Coroutine[Any, Any, None]]) -> None:
    """On the event loop, and with a thread for the device."""
    asyncio.run(test(None))
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(test(executor))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the device runs in a thread
            await asyncio.sleep(0.001)


@asynccontextmanager
async def at_work(make: Callable[..., Batcher[int, int]], **options: int) -> AsyncIterator[Work]:
    """A batcher whose device runs a request of the number 1, and goes on when its gate is opened."""
    device = Device()
    with ThreadPoolExecutor(1) as executor:
        batcher = make(device, executor=executor, **options)
        device.gate.clear()
        running = asyncio.create_task(batcher.submit([1], FAR))
        await until(lambda: batcher._runs == 1)
        yield device, batcher, running


def test_rows_that_arrive_together_are_run_together() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        batcher = make_batcher(device, executor=executor)
        results = await asyncio.gather(*(batcher.submit([number], FAR) for number in range(5)))
        assert results == [[0], [1], [4], [9], [16]]
        assert device.batches == [[0, 1, 2, 3, 4]]

    run_in_both_ways(test)


@pytest.mark.parametrize(("first", "batches"), [(15, [[*range(16)]]), (16, [[*range(16)], [16]])])
def test_on_the_event_loop_a_run_of_few_rows_awaits_what_comes_meanwhile(first: int, batches: list[list[int]]) -> None:
    async def test() -> None:
        device = Device()
        batcher = make_batcher(device, max_batch_rows=64)
        early = [asyncio.create_task(batcher.submit([number], FAR)) for number in range(first)]
        await asyncio.sleep(0)
        assert not device.batches
        late = asyncio.create_task(batcher.submit([first], FAR))
        await asyncio.gather(*early, late)
        assert device.batches == batches

    asyncio.run(test())


def test_a_request_alone_is_run_at_once() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        assert await make_batcher(device, executor=executor).submit([3], FAR) == [9]
        assert device.batches == [[3]]

    run_in_both_ways(test)


def test_a_request_of_many_rows_is_spread_over_runs_and_comes_back_in_order() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        batcher = make_batcher(device, executor=executor)
        rows = [list(range(20)), [100], list(range(30, 35))]
        results = await asyncio.gather(*(batcher.submit(each, FAR) for each in rows))
        assert results == [[number * number for number in each] for each in rows]
        assert [len(batch) for batch in device.batches] == [8, 8, 8, 2]
        assert batcher.pending_rows == 0

    run_in_both_ways(test)


def test_a_row_at_fault_fails_its_own_request_alone() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device(poison=[3, 6])
        batcher = make_batcher(device, executor=executor)
        requests = [[0], [1, 2], [3], [4], [5, 6, 7]]
        results = await asyncio.gather(*(batcher.submit(rows, FAR) for rows in requests), return_exceptions=True)
        assert results[:2] == [[0], [1, 4]]
        assert results[3] == [16]
        assert str(results[2]) == "cannot square [3]"
        assert str(results[4]) == "cannot square [6]"
        assert await batcher.submit([9], FAR) == [81]

    run_in_both_ways(test)


def test_rows_after_a_failed_part_of_their_request_are_not_run() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device(poison=[0])
        batcher = make_batcher(device, max_batch_rows=2, executor=executor)
        with pytest.raises(ValueError, match="cannot square"):
            await batcher.submit(list(range(10)), FAR)
        assert await batcher.submit([50], FAR) == [2500]
        assert not any(9 in batch for batch in device.batches)
        assert batcher.pending_rows == 0

    run_in_both_ways(test)


def test_what_its_client_gave_up_on_is_not_run() -> None:
    async def test() -> None:
        async with at_work(make_batcher, max_batch_rows=2) as (device, batcher, running):
            waiting = [asyncio.create_task(batcher.submit([number, number], FAR)) for number in (7, 8)]
            await asyncio.sleep(0)
            assert batcher.pending_rows == 5
            waiting[0].cancel()
            await asyncio.wait([waiting[0]])
            assert batcher.pending_rows == 3
            device.gate.set()
            assert await running == [1]
            assert await waiting[1] == [64, 64]
            assert device.batches == [[1], [8, 8]]
            assert batcher.pending_rows == 0

    asyncio.run(test())


def test_giving_up_during_the_run_disturbs_nobody() -> None:
    async def test() -> None:
        device = Device()
        with ThreadPoolExecutor(1) as executor:
            batcher = make_batcher(device, executor=executor)
            device.gate.clear()
            requests = [asyncio.create_task(batcher.submit([number], FAR)) for number in range(3)]
            await until(lambda: batcher._runs == 1)
            requests[1].cancel()
            await asyncio.wait([requests[1]])
            device.gate.set()
            assert [await requests[0], await requests[2]] == [[0], [4]]
            assert batcher.pending_rows == 0

    asyncio.run(test())


def test_more_rows_than_may_wait_are_refused_at_once() -> None:
    async def test() -> None:
        async with at_work(make_batcher, max_queue_rows=10) as (device, batcher, running):
            waiting = asyncio.create_task(batcher.submit([2] * 7, FAR))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match="over capacity") as refusal:
                await batcher.submit([3] * 4, FAR)
            assert refusal.value.retry_after_seconds > 0
            last = asyncio.create_task(batcher.submit([4] * 3, FAR))
            await asyncio.sleep(0)
            device.gate.set()
            assert await running == [1]
            assert await waiting == [4] * 7
            assert await last == [16] * 3

    asyncio.run(test())


def test_what_would_not_be_done_by_its_deadline_is_refused_at_once() -> None:
    async def test() -> None:
        batcher = make_batcher(Device(), max_batch_rows=8, seconds=1.0)
        now = time.perf_counter()
        first = asyncio.create_task(batcher.submit([2] * 8, FAR))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"the wait is 4\.0 seconds"):
            await batcher.submit([1] * 17, now + 3.5)
        assert batcher.pending_rows == 8
        assert await batcher.submit([1] * 17, now + 5) == [1] * 17
        assert await first == [4] * 8

    asyncio.run(test())


def test_a_burst_that_can_be_done_in_time_is_not_refused() -> None:
    async def test(executor: Executor | None) -> None:
        batcher = make_batcher(Device(), max_batch_rows=32, max_queue_rows=1000, seconds=0.02, executor=executor)
        deadline = time.perf_counter() + 5
        results = await asyncio.gather(*(batcher.submit([number], deadline) for number in range(400)))
        assert results == [[number * number] for number in range(400)]

    run_in_both_ways(test)


def test_what_ran_out_of_time_in_the_queue_is_not_run() -> None:
    async def test() -> None:
        async with at_work(make_batcher) as (device, batcher, running):
            deadline = time.perf_counter() + 0.05
            late = asyncio.create_task(batcher.submit([2], deadline))
            patient = asyncio.create_task(batcher.submit([3], FAR))
            await until(lambda: time.perf_counter() > deadline)
            device.gate.set()
            assert await running == [1]
            with pytest.raises(DeadlineError, match="came too late for its deadline"):
                await late
            assert await patient == [9]
            assert device.batches == [[1], [3]]
            assert batcher.pending_rows == 0

    asyncio.run(test())


def test_a_client_may_give_up_at_the_moment_in_which_its_time_runs_out() -> None:
    async def test() -> None:
        device = Device()
        batcher = make_batcher(device)
        deadline = time.perf_counter() + 0.02
        late = asyncio.create_task(batcher.submit([2, 2], deadline))
        patient = asyncio.create_task(batcher.submit([3], FAR))
        await asyncio.sleep(0)  # both are in the queue, and the run is scheduled
        while time.perf_counter() <= deadline:
            pass
        asyncio.get_running_loop().call_soon(late.cancel)  # after the run has found that the time is over
        assert await patient == [9]
        with pytest.raises(asyncio.CancelledError):
            await late
        assert device.batches == [[3]]
        assert batcher.pending_rows == 0

    asyncio.run(test())


def test_a_full_batch_stands_ready_while_the_device_is_busy() -> None:
    async def test() -> None:
        device = Device()
        with ThreadPoolExecutor(1) as executor:
            batcher = make_batcher(device, max_batch_rows=4, executor=executor)
            device.gate.clear()
            requests = [asyncio.create_task(batcher.submit([number], FAR)) for number in range(4)]
            await until(lambda: batcher._runs == 1)
            requests += [asyncio.create_task(batcher.submit([number], FAR)) for number in range(4, 7)]
            await asyncio.sleep(0.02)
            assert batcher._runs == 1  # three rows: a fourth may still come
            requests.append(asyncio.create_task(batcher.submit([7], FAR)))
            await until(lambda: batcher._runs == 2)
            device.gate.set()
            assert [await request for request in requests] == [[number**2] for number in range(8)]
            assert [len(batch) for batch in device.batches] == [4, 4]

    asyncio.run(test())


def test_every_run_is_observed() -> None:
    async def test(executor: Executor | None) -> None:
        runs: list[BatchRun] = []
        batcher = make_batcher(Device(), executor=executor, observe=runs.append)
        await asyncio.gather(*(batcher.submit([number], FAR) for number in range(10)))
        assert [run.rows for run in runs] == [8, 2]
        assert all(run.queue_seconds > 0 and run.run_seconds > 0 for run in runs)

    run_in_both_ways(test)


def test_rows_of_different_lanes_are_not_run_together() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        batcher = make_lanes(device, executor=executor)
        numbers = [1, 200, 2, 3, 201, 4, 202]
        results = await asyncio.gather(*(batcher.submit([number], FAR) for number in numbers))
        assert results == [[number * number] for number in numbers]
        assert device.batches == [[1, 2, 3, 4], [200, 201], [202]]
        assert batcher.pending_rows == 0

    run_in_both_ways(test)


def test_a_request_with_rows_of_several_lanes_comes_back_in_order() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        batcher = make_lanes(device, executor=executor)
        requests = [[100, 1, 101, 2, 102], [3], [103], [*range(90, 110)]]
        results = await asyncio.gather(*(batcher.submit(rows, FAR) for rows in requests))
        assert results == [[number * number for number in rows] for rows in requests]
        assert all(len(batch) <= (8 if batch[0] < 100 else 2) for batch in device.batches)
        assert all(len({number < 100 for number in batch}) == 1 for batch in device.batches)
        assert batcher.pending_rows == 0

    run_in_both_ways(test)


def test_what_has_waited_longest_is_in_the_next_run() -> None:
    async def test() -> None:
        device = Device()
        with ThreadPoolExecutor(1) as executor:
            batcher = make_lanes(device, executor=executor)
            device.gate.clear()
            requests = [asyncio.create_task(batcher.submit([0], FAR))]
            await until(lambda: batcher._runs == 1)
            for number in (1, 100, 2, 101, *range(3, 13), 102):
                requests.append(asyncio.create_task(batcher.submit([number], FAR)))
                await asyncio.sleep(0.001)
            device.gate.set()
            await asyncio.gather(*requests)
            assert device.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8], [100, 101], [9, 10, 11, 12], [102]]

    asyncio.run(test())


def test_a_long_row_is_not_kept_waiting_by_short_ones_that_keep_coming() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        batcher = make_lanes(device, executor=executor)
        done = asyncio.Event()

        async def send_short_ones() -> None:
            while not done.is_set():
                await asyncio.gather(*(batcher.submit([number], FAR) for number in range(20)))

        crowd = [asyncio.create_task(send_short_ones()) for _ in range(4)]
        await asyncio.sleep(0.01)
        runs = len(device.batches)
        async with asyncio.timeout(10):
            assert await batcher.submit([500], FAR) == [250_000]
        done.set()
        await asyncio.gather(*crowd)
        # Those that were there before it are run first: 80 short ones, in runs of eight, and two that had begun.
        assert device.batches.index([500]) - runs <= 12

    run_in_both_ways(test)


def test_a_failure_in_one_lane_fails_the_request_and_leaves_nothing_of_it_behind() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device(poison=[101])
        batcher = make_lanes(device, executor=executor)
        requests = [[100, 1, 101, 102, 103, *range(20, 40)], [5, 104]]
        results = await asyncio.gather(*(batcher.submit(rows, FAR) for rows in requests), return_exceptions=True)
        assert str(results[0]) == "cannot square [101]"
        assert results[1] == [25, 10_816]
        assert not any(103 in batch for batch in device.batches)
        assert batcher.pending_rows == 0

    run_in_both_ways(test)


def test_a_request_in_several_lanes_can_be_given_up() -> None:
    async def test() -> None:
        async with at_work(make_lanes) as (device, batcher, running):
            waiting = asyncio.create_task(batcher.submit([2, 100, 3, 101], FAR))
            await asyncio.sleep(0)
            assert batcher.pending_rows == 5
            waiting.cancel()
            await asyncio.wait([waiting])
            assert batcher.pending_rows == 1
            device.gate.set()
            assert await running == [1]
            assert device.batches == [[1]]

    asyncio.run(test())


def test_a_request_in_several_lanes_that_ran_out_of_time_is_not_run() -> None:
    async def test() -> None:
        async with at_work(make_lanes) as (device, batcher, running):
            deadline = time.perf_counter() + 0.05
            late = asyncio.create_task(batcher.submit([2, 100], deadline))
            patient = asyncio.create_task(batcher.submit([3, 101], FAR))
            await until(lambda: time.perf_counter() > deadline)
            device.gate.set()
            with pytest.raises(DeadlineError, match="came too late for its deadline"):
                await late
            assert (await running, await patient) == ([1], [9, 10_201])
            assert device.batches == [[1], [3], [101]]
            assert batcher.pending_rows == 0

    asyncio.run(test())


def test_the_wait_is_foretold_by_lane() -> None:
    async def test() -> None:
        device = Device()
        batcher = make_lanes(device, short=0.1, long=1.0)
        deadline = time.perf_counter() + 3.9
        first = asyncio.create_task(batcher.submit([50] * 8, FAR))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"the wait is 4\.2 seconds"):
            await batcher.submit([1, *range(100, 108)], deadline)
        assert batcher.pending_rows == 8
        assert len(await batcher.submit([*range(16), *range(100, 106)], deadline)) == 22
        assert len(await first) == 8

    asyncio.run(test())


def test_a_row_that_is_in_no_lane_refuses_its_request_alone() -> None:
    async def test() -> None:
        device = Device()
        batcher = make_lanes(device)
        results = await asyncio.gather(
            batcher.submit([1], FAR), batcher.submit([2, 1000], FAR), batcher.submit([3], FAR), return_exceptions=True
        )
        assert str(results[1]) == "1000 is in no lane"
        assert [results[0], results[2]] == [[1], [9]]
        assert device.batches == [[1, 3]]
        assert batcher.pending_rows == 0

    asyncio.run(test())


def test_any_mix_of_requests_in_any_lanes_gets_its_own_results() -> None:
    async def test(executor: Executor | None) -> None:
        device = Device()
        batcher = make_lanes(device, executor=executor)
        draw = random.Random(0)

        async def send() -> None:
            for _ in range(30):
                rows = [
                    draw.choice((draw.randrange(100), draw.randrange(100, 1000))) for _ in range(draw.randint(1, 5))
                ]
                sent = asyncio.create_task(batcher.submit(rows, FAR))
                if draw.random() < 0.2:
                    await asyncio.sleep(0)
                    sent.cancel()
                    await asyncio.wait([sent])
                else:
                    assert await sent == [number * number for number in rows]

        await asyncio.gather(*(send() for _ in range(16)))
        assert batcher.pending_rows == 0
        assert all(len({number < 100 for number in batch}) == 1 for batch in device.batches)

    run_in_both_ways(test)


@pytest.mark.parametrize("poison", [[17], [0, 63], range(64), range(0, 64, 2)])
def test_a_batch_with_rows_at_fault_is_run_again_a_bounded_number_of_times(poison: Sequence[int]) -> None:
    async def test() -> None:
        device = Device(poison=poison)
        batcher = make_batcher(device, max_batch_rows=64)
        results = await asyncio.gather(*(batcher.submit([number], FAR) for number in range(64)), return_exceptions=True)
        for number, result in enumerate(results):
            if number in poison:
                assert str(result) == f"cannot square [{number}]"
            else:
                assert result == [number * number]
        # All of them, two halves at each of six halvings, and each row alone; or without the last for one at fault.
        assert len(device.batches) <= 1 + 2 * 6 + (64 if len(poison) > 1 else 0)

    asyncio.run(test())


def test_what_rows_at_fault_take_is_not_foretold_of_others() -> None:
    async def test() -> None:
        forecast = Forecast({1: 0.5}, 1)
        device = Device(poison=[7])
        batcher: Batcher[int, int] = Batcher(
            device.run,
            forecasts=[forecast],
            choose_lane=None,
            max_queue_rows=10,
            executor=None,
            observe=lambda run: None,
        )
        with pytest.raises(ValueError, match="cannot square"):
            await batcher.submit([7], FAR)
        assert forecast.seconds(1) == 0.5

    asyncio.run(test())
