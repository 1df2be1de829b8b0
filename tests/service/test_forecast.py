"""What is foretold of runs and waits follows what they take."""

import random

import pytest

from service.forecast import Forecast, Margin


@pytest.mark.parametrize(
    ("rows", "seconds"), [(1, 1.0), (2, 2.0), (3, 5.0), (4, 5.0), (5, 6.0), (6, 7.0), (8, 10.0), (9, 11.0)]
)
def test_a_forecast_counts_full_runs_and_a_rest(rows: int, seconds: float) -> None:
    assert Forecast({1: 1.0, 2: 2.0, 4: 5.0}, max_batch_rows=4).seconds(rows) == seconds


def test_a_forecast_learns_from_runs() -> None:
    forecast = Forecast({1: 1.0}, max_batch_rows=4)
    for _ in range(100):
        forecast.learn(3, 3.0)
    assert forecast.seconds(4) == pytest.approx(3.0, rel=0.01)
    assert forecast.seconds(1) == 1.0


def test_what_a_run_will_hardly_exceed_is_learnt_too() -> None:
    forecast, draw = Forecast({1: 1.0}, max_batch_rows=1), random.Random(0)
    assert forecast.longest_seconds(1) == 1.0
    exceeded = 0
    for _ in range(1000):
        seconds = draw.uniform(0.8, 1.2)
        exceeded += seconds > forecast.longest_seconds(1)
        forecast.learn(1, seconds)
    assert exceeded < 10
    assert forecast.longest_seconds(1) < 2


def test_one_slow_run_says_little_and_one_quick_run_says_much() -> None:
    forecast = Forecast({1: 1.0}, max_batch_rows=1)
    forecast.learn(1, 1000.0)
    assert forecast.seconds(1) < 1.5
    forecast.learn(1, 0.01)
    assert forecast.seconds(1) < 0.05


def test_a_run_says_what_others_take_at_least_and_at_most() -> None:
    forecast = Forecast({1: 5.0, 2: 8.0, 4: 100.0, 8: 100.0}, max_batch_rows=8)
    for _ in range(100):
        forecast.learn(2, 1.0)
    found = [forecast.seconds(rows) for rows in (1, 2, 4, 8)]
    assert found == pytest.approx([1.0, 1.0, 2.0, 4.0], rel=0.01)
    for _ in range(100):
        forecast.learn(2, 10.0)
    found = [forecast.seconds(rows) for rows in (1, 2, 4, 8)]
    assert found == pytest.approx([5.0, 10.0, 10.0, 10.0], rel=0.01)


def test_a_margin_is_as_wide_as_forecasts_were_wrong() -> None:
    margin = Margin()
    least = margin.factor
    for _ in range(100):
        margin.learn(1.0, 1.5)
    assert margin.factor == pytest.approx(1.5, abs=0.01)
    margin.learn(0.001, 1000.0)  # which says more of the forecast than of the next
    assert margin.factor < 2
    for _ in range(100):
        margin.learn(1.0, 0.5)
    assert margin.factor == least
