"""Accuracy by length, with its interval."""

from itertools import pairwise

import numpy as np
import pytest

from training.sentiment.lengths import MIN_SHARE, find_interval, measure_by_length


@pytest.mark.parametrize(
    ("right", "number", "low", "high"),
    # Of Newcombe 1998, table I, the score method without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilson_s(right: int, number: int, low: float, high: float) -> None:
    assert find_interval(right, number) == pytest.approx((low, high), abs=5e-5)


def test_every_text_is_in_one_bin() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.lognormal(5, 1, 3000).astype(np.int64)
    right = generator.random(3000) < 0.9
    bins = measure_by_length(tokens, right, 200)
    assert sum(part.texts for part in bins) == 3000
    assert sum(part.right for part in bins) == right.sum()
    assert (bins[0].shortest, bins[-1].longest) == (tokens.min(), tokens.max())
    assert all(before.longest + 1 == after.shortest for before, after in pairwise(bins))
    assert min(part.texts for part in bins) >= MIN_SHARE * 3000
    assert 200 in [part.longest for part in bins]
    for part in bins:
        inside = (part.shortest <= tokens) & (tokens <= part.longest)
        assert part.accuracy == right[inside].mean()
        assert part.interval.low < part.accuracy < part.interval.high


def test_the_limit_ends_no_bin_where_hardly_a_text_is_longer() -> None:
    tokens = np.append(np.full(999, 50), 900)
    (part,) = measure_by_length(tokens, np.ones(1000, dtype=bool), 800)
    assert (part.shortest, part.longest, part.texts, part.accuracy) == (50, 900, 1000, 1.0)


@pytest.mark.parametrize("tokens", [[0], [1], [7, 7, 7], [0, 5000]])
def test_few_texts_have_bins(tokens: list[int]) -> None:
    bins = measure_by_length(np.array(tokens), np.zeros(len(tokens), dtype=bool), 100)
    assert sum(part.texts for part in bins) == len(tokens)
    assert {part.accuracy for part in bins} == {0.0}
