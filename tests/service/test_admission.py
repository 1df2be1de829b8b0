"""What a batcher admits and drops over capacity: played through with devices of every manner, in virtual time."""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from service.batching import Batcher
from service.errors import DeadlineError, OverloadedError
from service.forecast import Forecast
from service.session import buckets
from tests.virtual_time import VirtualLoop, VirtualThread, run_virtually

DEADLINE_SECONDS = 0.5
LEARNING_SECONDS = 4.0  # not counted: a forecast that is wrong at the start is right before long
SECONDS = 5.0
LEAST_SHARE = 0.9
# A device that becomes slower while it runs something ends it late.
MOST_P99_SECONDS = 1.02 * DEADLINE_SECONDS
SEED = 20260101

Cost = Callable[[float, int, random.Random], float]  # of a run, by its beginning, its rows and chance


@dataclass(frozen=True)
class Device:
    """What runs cost, how many rows a second can be done at most, and how many times the cost is foretold at first."""

    max_batch_rows: int
    cost: Cost
    capacity: float
    error: float = 1.0

    def foretell(self) -> Forecast:
        """The forecast at the start."""
        measured = {rows: self.error * self.cost(0, rows, random.Random(SEED)) for rows in buckets(self.max_batch_rows)}
        return Forecast(measured, self.max_batch_rows)


def be_steady(_: float, rows: int, __: random.Random) -> float:
    return 0.01 * rows


def be_parallel(_: float, rows: int, __: random.Random) -> float:
    return 0.05 + 0.001 * rows


def be_proportional(_: float, rows: int, __: random.Random) -> float:
    return 0.0005 + 0.003 * rows


def be_erratic(_: float, rows: int, chance: random.Random) -> float:
    # The mean of a log-normal distribution with this spread is 1.
    return 0.01 * rows * chance.lognormvariate(-0.125, 0.5)


def be_disturbed(now: float, rows: int, _: random.Random) -> float:
    """Every other second others have two thirds of the device."""
    return 0.01 * rows * (3 if int(now) % 2 else 1)


DEVICES = {
    "steady": Device(1, be_steady, 100),
    "parallel": Device(64, be_parallel, 64 / 0.114),
    "proportional": Device(64, be_proportional, 64 / 0.1925),
    "erratic": Device(1, be_erratic, 100),
    "disturbed": Device(1, be_disturbed, (100 + 33.3) / 2),
    "steady, foretold a tenth": Device(1, be_steady, 100, error=0.1),
    "steady, foretold a hundredfold": Device(1, be_steady, 100, error=100),
    "parallel, foretold a tenth": Device(64, be_parallel, 64 / 0.114, error=0.1),
    "parallel, foretold a hundredfold": Device(64, be_parallel, 64 / 0.114, error=100),
}


@dataclass
class Load:
    """What came of one load, in seconds."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    dropped: list[float] = field(default_factory=list)

    @property
    def good(self) -> float:
        """Answers a second that were in time."""
        return sum(seconds <= DEADLINE_SECONDS for seconds in self.answered) / SECONDS


def play(device: Device, times: float, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Ask a batcher ``times`` as often as it can answer, at random times."""
    loop, chance, warm, counted = VirtualLoop(), random.Random(SEED), Load(), Load()
    counted_from = loop.time() + LEARNING_SECONDS
    monkeypatch.setattr("service.batching.time", SimpleNamespace(perf_counter=loop.time))

    def count_seconds(starts: float, rows: Sequence[int]) -> float:
        return device.cost(starts, len(rows), chance)

    batcher: Batcher[int, int] = Batcher(
        lambda rows: [row * row for row in rows],
        forecasts=[device.foretell()],
        choose_lane=None,
        max_queue_rows=100_000,
        executor=VirtualThread(loop, count_seconds),
        observe=lambda _: None,
    )

    async def ask(number: int) -> None:
        began = loop.time()
        load = warm if began < counted_from else counted
        try:
            assert await batcher.submit([number], began + DEADLINE_SECONDS) == [number * number]
            load.answered.append(loop.time() - began)
        except OverloadedError:
            load.refused.append(loop.time() - began)
        except DeadlineError:
            load.dropped.append(loop.time() - began)

    async def ask_all() -> None:
        ends = loop.time() + LEARNING_SECONDS + SECONDS
        tasks = []
        for number in itertools.count():
            await asyncio.sleep(chance.expovariate(times * device.capacity))
            if loop.time() > ends:
                break
            tasks.append(asyncio.create_task(ask(number)))
        await asyncio.gather(*tasks)
        assert batcher.pending_rows == 0

    run_virtually(loop, ask_all())
    return counted


@pytest.mark.parametrize("name", DEVICES)
def test_over_capacity_nearly_all_that_is_run_is_of_use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = DEVICES[name]
    load = play(device, 5, monkeypatch)
    assert load.good >= LEAST_SHARE * device.capacity
    assert sorted(load.answered)[int(0.99 * len(load.answered))] <= MOST_P99_SECONDS
    assert not any(load.refused), "a refusal took time"
    assert len(load.dropped) <= 0.5 * len(load.answered)


@pytest.mark.parametrize("seconds", [1.0, 1000.0])
def test_what_finds_nothing_before_it_is_run_whatever_is_foretold(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast above every deadline would otherwise stay for ever what it was."""
    loop = VirtualLoop()
    monkeypatch.setattr("service.batching.time", SimpleNamespace(perf_counter=loop.time))
    batcher: Batcher[int, int] = Batcher(
        lambda rows: [row * row for row in rows],
        forecasts=[Forecast({1: seconds}, 1)],
        choose_lane=None,
        max_queue_rows=10,
        executor=VirtualThread(loop, lambda *_: 0.01),
        observe=lambda _: None,
    )

    async def ask(number: int) -> int:
        batcher.check(loop.time() + DEADLINE_SECONDS)
        return (await batcher.submit([number], loop.time() + DEADLINE_SECONDS))[0]

    async def test() -> None:
        first = asyncio.create_task(ask(3))
        await asyncio.sleep(0.001)
        for refuse in (ask(4), batcher.submit([4], loop.time() + DEADLINE_SECONDS)):
            with pytest.raises(OverloadedError, match="over capacity"):
                await refuse
        assert await first == 9
        assert [await ask(number) for number in range(40)] == [number * number for number in range(40)]
        # It has been learnt, and others may wait again.
        assert list(await asyncio.gather(ask(5), ask(6))) == [25, 36]

    run_virtually(loop, test())


def test_what_cannot_end_in_time_is_dropped_before_it_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = VirtualLoop()
    monkeypatch.setattr("service.batching.time", SimpleNamespace(perf_counter=loop.time))
    ran: list[int] = []

    def run(rows: Sequence[int]) -> list[int]:
        ran.extend(rows)
        return [row * row for row in rows]

    batcher: Batcher[int, int] = Batcher(
        run,
        forecasts=[Forecast({1: 0.1}, 1)],
        choose_lane=None,
        max_queue_rows=10,
        # The first run takes three times as long as was foretold.
        executor=VirtualThread(loop, lambda _, rows: 0.3 if rows == [1] else 0.1),
        observe=lambda _: None,
    )

    async def test() -> None:
        now = loop.time()
        deadlines = {1: 1.0, 2: 1.0, 3: 0.35, 4: 1.0}
        asked = [asyncio.create_task(batcher.submit([number], now + seconds)) for number, seconds in deadlines.items()]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [results[0], results[1], results[3]] == [[1], [4], [16]]
        assert isinstance(results[2], DeadlineError)
        assert ran == [1, 2, 4]
        assert batcher.pending_rows == 0

    run_virtually(loop, test())
