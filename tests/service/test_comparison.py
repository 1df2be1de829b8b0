"""A candidate is asked in silence: what it says is counted, and nobody waits for it or hears of it."""

import asyncio
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from service.bodies import Body
from service.catalogue import Catalogue
from service.comparison import Comparison, Difference, compare_predictions, compare_rows
from service.config import Settings
from service.metrics import Metrics
from service.queries import read_query
from tests.versions import KIND, add_version, encode, plain_picture

BODY = Body("image/png", b"image/png", encode(plain_picture((200, 10, 10))))


def test_words_agree_or_not_and_numbers_differ_by_so_much() -> None:
    answered = {"label": "cat", "risk": True, "p": 0.5, "more": {"cat": 0.5, "dog": 0.25}, "top": [{"label": "cat"}]}
    assert compare_predictions([answered], [answered]) == Difference(True, 0.0)
    other = {**answered, "p": 0.25, "more": {"cat": 1.0}, "top": []}
    assert compare_predictions([other], [answered]) == Difference(True, 0.5)
    assert compare_predictions([{**other, "label": "dog"}], [answered]) == Difference(False, 0.5)
    assert compare_predictions([{**answered, "risk": False}], [answered]) == Difference(False, 0.0)
    assert compare_predictions([answered], [{**answered, "factors": [1]}]) == Difference(True, 0.0)
    assert compare_predictions([{"label": "a"}], [{"label": "a"}]) == Difference(True, None)


def test_rows_agree_where_the_highest_number_stands_in_one_place() -> None:
    row = (np.array([0.25, 0.75], np.float32), np.array(["a"], object))
    assert compare_rows([row], [row]) == Difference(True, 0.0)
    assert compare_rows([(np.array([0.5, 0.75]), row[1])], [row]) == Difference(True, 0.25)
    assert compare_rows([(np.array([1.0, 0.75]), row[1])], [row]) == Difference(False, 0.75)
    assert compare_rows([(row[0], np.array(["b"], object))], [row]) == Difference(False, 0.0)
    assert compare_rows([(np.array([math.nan, 1.0]), row[1])], [row]) == Difference(False, None)
    assert compare_rows([(np.array([1.0]), row[1])], [row]) == Difference(False, None)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """Version 1 serves, and version 2, which has another name for red, is its shadow."""
    add_version(tmp_path)
    add_version(tmp_path, labels=("rouge", "green", "blue"))
    settings = Settings.model_validate({"models": tmp_path, "pin": {KIND: 1}, "shadow": {KIND: 2}})
    catalogue = Catalogue(settings, Metrics())
    catalogue.load()
    yield catalogue
    catalogue.close()


def count(metrics: Metrics, outcome: str) -> int:
    start = f'shadow_requests_total{{model="{KIND}",version="2",outcome="{outcome}"}} '
    lines = metrics.render().decode().splitlines()
    return int(next((line.removeprefix(start) for line in lines if line.startswith(start)), "0"))


def wait_for(metrics: Metrics, outcome: str, expected: int) -> None:
    deadline = time.monotonic() + 30
    while count(metrics, outcome) < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert count(metrics, outcome) == expected


def test_answers_are_compared_with_the_candidate_s(catalogue: Catalogue) -> None:
    metrics = catalogue._metrics
    model = catalogue.find(KIND)
    comparison = catalogue.find_comparison(model)
    assert comparison is not None
    assert catalogue.find_comparison(catalogue.find(KIND, 2)) is None
    query = read_query(model.kind.Query, b"top_k=2")
    for colour, outcome in (((200, 10, 10), "differed"), ((10, 200, 10), "agreed")):
        body = BODY._replace(content=encode(plain_picture(colour)))
        answer = asyncio.run(model.answer(body, query, b"", math.inf))
        assert isinstance(answer.content, bytes)
        comparison.offer(body, query, answer.content)
        wait_for(metrics, outcome, 1)
    assert f'shadow_difference_count{{model="{KIND}",version="2"}} 2' in metrics.render().decode()


def test_what_a_candidate_cannot_answer_is_counted(catalogue: Catalogue) -> None:
    comparison = catalogue.find_comparison(catalogue.find(KIND))
    assert comparison is not None
    query = read_query(catalogue.find(KIND).kind.Query, b"")
    comparison.offer(BODY._replace(content=b"junk"), query, b'{"predictions": []}')
    wait_for(catalogue._metrics, "failed", 1)
    comparison.offer(BODY._replace(content=b"!" * (2**20 + 1)), query, b"")
    assert count(catalogue._metrics, "dropped") == 1


def test_more_than_can_wait_is_dropped_at_once(catalogue: Catalogue) -> None:
    metrics = Metrics()
    query = read_query(catalogue.find(KIND).kind.Query, b"")
    go_on = Event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(go_on.wait)
        try:
            comparison = Comparison(catalogue.find(KIND, 2), metrics, thread)
            for _ in range(100):
                comparison.offer(BODY, query, b'{"predictions": []}')
            dropped = count(metrics, "dropped")  # while the thread does nothing
        finally:
            go_on.set()
    assert dropped == 36
    assert count(metrics, "failed") == 64  # there is no prediction to compare with
