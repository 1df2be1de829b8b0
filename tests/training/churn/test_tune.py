"""A search finds what is good, and one that was stopped goes on as if it had not been."""

from pathlib import Path

import pytest

from training.churn.tune import Settings, search_settings


class Measured:
    """Losses that are least with much dropout, and what was asked for. It stops at a number of trials."""

    def __init__(self, stop: int = 1000) -> None:
        self.asked: list[Settings] = []
        self.stop = stop

    def __call__(self, settings: Settings) -> float:
        if len(self.asked) == self.stop:
            raise KeyboardInterrupt
        self.asked.append(settings)
        return 1.0 - float(settings["dropout"])


def test_the_best_of_what_was_tried_is_found(tmp_path: Path) -> None:
    measured = Measured()
    found = search_settings(measured, 8, tmp_path / "search", "rows", seed=1)
    assert found in measured.asked
    assert found["dropout"] == max(settings["dropout"] for settings in measured.asked)
    assert len(measured.asked) == 8


def test_a_stopped_search_tries_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole, stopped, resumed = Measured(), Measured(stop=3), Measured()
    expected = search_settings(whole, 7, tmp_path / "whole", "rows", seed=1)
    with pytest.raises(KeyboardInterrupt):
        search_settings(stopped, 7, tmp_path / "stopped", "rows", seed=1)
    assert search_settings(resumed, 7, tmp_path / "stopped", "rows", seed=1) == expected
    assert stopped.asked + resumed.asked == whole.asked


def test_searches_of_other_names_know_nothing_of_each_other(tmp_path: Path) -> None:
    first, second = Measured(), Measured()
    search_settings(first, 2, tmp_path / "search", "fold 1", seed=1)
    search_settings(second, 2, tmp_path / "search", "fold 2", seed=1)
    assert first.asked == second.asked
