"""Explanations wait for each other and for nobody else, and not for ever."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.repository import Repository
from service.config import Settings
from service.errors import DeadlineError, OverloadedError
from service.explanations import Explainer
from service.items import Item
from service.kinds import churn
from service.session import Evaluate
from tests.table_versions import PREDICTOR, add_predictor

STEP_SECONDS = 0.005


class SlowKind:
    """As churn, but an explanation is a number of evaluations with a pause after each."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.evaluations = 0
        self.priorities: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(churn, name)

    def explain(self, item: Item, assets: churn.Assets, evaluate: Evaluate) -> dict[str, Any]:
        for _ in range(self._steps):
            evaluate([values[np.newaxis] for values in item.row])
            self.evaluations += 1
            self.priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            time.sleep(STEP_SECONDS)
        return {"explained": item.facts}


def make_item(name: str) -> Item:
    return Item((np.zeros(3, np.float32), np.full(3, "", object)), name)


class Bench:
    """An explainer of a slow kind, with at most four waiting."""

    def __init__(self, root: Path, steps: int) -> None:
        self.kind = SlowKind(steps)
        manifest = add_predictor(root)
        folder = Repository(root).folder(PREDICTOR, 1)
        settings = Settings(max_queue_explanations=4)
        assets = churn.load(folder, manifest)
        self.explainer = Explainer(folder, manifest, self.kind, assets, settings, make_item("first"))
        self.kind.evaluations = 0
        self.kind.priorities.clear()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, 20)
    yield bench
    bench.explainer.close()


def soon(seconds: float = 30) -> float:
    return time.perf_counter() + seconds


def test_everybody_gets_explanations_in_order(bench: Bench) -> None:
    async def ask() -> Any:
        return await asyncio.gather(
            bench.explainer.explain([make_item("a"), make_item("b")], soon()),
            bench.explainer.explain([make_item("c")], soon()),
        )

    assert list(asyncio.run(ask())) == [[{"explained": "a"}, {"explained": "b"}], [{"explained": "c"}]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_the_thread_has_the_lowest_priority_and_the_others_keep_theirs(bench: Bench) -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    asyncio.run(bench.explainer.explain([make_item("a")], soon()))
    assert set(bench.kind.priorities) == {19}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_more_than_may_wait_are_refused(bench: Bench) -> None:
    with pytest.raises(OverloadedError):
        asyncio.run(bench.explainer.explain([make_item("a")] * 5, soon()))


def test_what_would_not_be_done_in_time_is_refused_at_once(bench: Bench) -> None:
    async def ask() -> int:
        first = asyncio.create_task(bench.explainer.explain([make_item("a")], soon()))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await bench.explainer.explain([make_item("b")], soon(STEP_SECONDS))
        await first
        return bench.kind.evaluations

    alone = asyncio.run(ask())
    asyncio.run(bench.explainer.explain([make_item("a")], soon()))
    assert bench.kind.evaluations == 2 * alone


def test_an_explanation_ends_with_its_deadline(bench: Bench) -> None:
    bench.kind._steps = 400
    with pytest.raises(DeadlineError):
        asyncio.run(bench.explainer.explain([make_item("a")], soon(0.3)))
    assert 0 < bench.kind.evaluations < 100


def test_an_explanation_that_nobody_waits_for_ends(bench: Bench) -> None:
    async def ask() -> int:
        bench.kind._steps = 400
        asked = asyncio.create_task(bench.explainer.explain([make_item("a"), make_item("b")], soon()))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        evaluations = bench.kind.evaluations
        bench.kind._steps = 1
        await bench.explainer.explain([make_item("c")], soon())
        return bench.kind.evaluations - evaluations

    assert asyncio.run(ask()) <= 3


def test_however_many_rows_are_asked_about_a_run_has_few(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.arange(600, dtype=np.float32).reshape(200, 3)
    texts = np.full((200, 3), "yearly", object)
    runs: list[int] = []
    evaluate_at_once = bench.explainer._session.evaluate

    def count(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        runs.append(len(inputs[0]))
        return evaluate_at_once(inputs)

    def explain(item: Item, assets: churn.Assets, evaluate: Evaluate) -> dict[str, Any]:
        return {"log_odds": evaluate([numbers, texts])[1]}

    monkeypatch.setattr(bench.explainer._session, "evaluate", count)
    monkeypatch.setattr(bench.kind, "explain", explain)
    (found,) = asyncio.run(bench.explainer.explain([make_item("a")], soon()))
    assert runs == [64, 64, 64, 8]
    assert found["log_odds"] == pytest.approx(evaluate_at_once([numbers, texts])[1], rel=1e-5)
