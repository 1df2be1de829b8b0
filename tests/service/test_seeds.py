"""What a request says of chance: how many, by which seed, or which way."""

import numpy as np
import pytest

from service.errors import UnprocessableError
from service.seeds import Draw, Interpolation, settle, walk

WAY = Interpolation(from_seed=1, to_seed=2, steps=5)


def test_what_is_not_given_is_one_and_drawn() -> None:
    seeds = [settle(Draw(), 10).seed for _ in range(100)]
    assert len(set(seeds)) == 100
    assert all(seed is not None and seed + 1000 < 2**53 for seed in seeds)
    assert settle(Draw(), 10).count == 1


def test_what_is_given_stays() -> None:
    assert settle(Draw(count=10, seed=2**63 - 1), 10) == Draw(count=10, seed=2**63 - 1)
    assert settle(Draw(interpolate=WAY), 5) == Draw(interpolate=WAY)


@pytest.mark.parametrize(
    ("draw", "location"),
    [
        (Draw(count=4), "count"),
        (Draw(interpolate=WAY), "interpolate.steps"),
        (Draw(interpolate=WAY, count=1), "interpolate"),
        (Draw(interpolate=WAY, seed=0), "interpolate"),
    ],
)
def test_too_many_or_both_ways_at_once_are_refused(draw: Draw, location: str) -> None:
    with pytest.raises(UnprocessableError) as refusal:
        settle(draw, 3)
    assert [place for place, _ in refusal.value.problems] == [location]


@pytest.mark.parametrize(("steps", "firsts"), [(2, 1), (3, 2), (4, 2), (9, 5)])
def test_each_step_has_what_goes_with_the_nearer_end(steps: int, firsts: int) -> None:
    first, last = np.eye(2, dtype=np.float32)
    points = list(walk(steps, (first, "first"), (last, "last")))
    assert [facts for _, facts in points] == ["first"] * firsts + ["last"] * (steps - firsts)
    assert np.array_equal(points[0][0], first)
    assert np.array_equal(points[-1][0], last)
