"""Owen values: exact where the evaluations reach, always adding up, and never more evaluations than allowed."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from service.owen import Masks, Score, Scores, attribute

PLENTY = 10_000


def random_game(length: int, seed: int) -> Score:
    """A score of its own, drawn at random, for each of the masks there are."""
    table = np.random.default_rng(seed).standard_normal(2**length)
    places = 2 ** np.arange(length)
    return lambda masks: table[masks @ places]


def shallow_network(length: int, seed: int) -> Score:
    """A function in which all tokens act together, for lengths with too many masks for a table."""
    generator = np.random.default_rng(seed)
    inward, outward = generator.normal(0, 1, (length, 8)), generator.normal(0, 1, 8)
    return lambda masks: np.asarray(np.tanh(masks @ inward) @ outward)


def orders_of(start: int, stop: int) -> Iterator[tuple[int, ...]]:
    """The orders of the tokens in which each half of the tree stays together."""
    if stop - start == 1:
        yield (start,)
        return
    middle = (start + stop) // 2
    for left in orders_of(start, middle):
        for right in orders_of(middle, stop):
            yield left + right
            yield right + left


def exact_values(length: int, score: Score) -> NDArray[np.float64]:
    """By the definition: the mean change at each token's appearance, over all orders that the tree allows."""
    values = np.zeros(length)
    orders = list(orders_of(0, length))
    for order in orders:
        masks = np.zeros((length + 1, length), np.bool_)
        for step, token in enumerate(order):
            masks[step + 1 :, token] = True
        values[list(order)] += np.diff(score(masks))
    return values / len(orders)


@cache
def evaluations_needed(start: int, stop: int, contexts: int = 1) -> int:
    """How many masks the halves of a group make, and theirs, and so on."""
    if stop - start == 1:
        return 0
    middle = (start + stop) // 2
    below = evaluations_needed(start, middle, 2 * contexts) + evaluations_needed(middle, stop, 2 * contexts)
    return 2 * contexts + below


class Counted:
    """A score that keeps the masks it was asked about."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.calls: list[Masks] = []

    def __call__(self, masks: Masks) -> Scores:
        self.calls.append(masks.copy())
        return self.score(masks)

    @property
    def masks(self) -> Masks:
        return np.concatenate(self.calls)


@pytest.mark.parametrize("length", range(2, 7))
@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_the_definition(length: int, seed: int) -> None:
    score = random_game(length, seed)
    baseline, values = attribute(length, score, PLENTY)
    assert baseline == score(np.zeros((1, length), np.bool_))[0]
    assert values == pytest.approx(exact_values(length, score), abs=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13, 100])
def test_what_tokens_add_each_for_itself_is_their_value(length: int) -> None:
    weights = np.random.default_rng(length).standard_normal(length)
    baseline, values = attribute(length, lambda masks: masks @ weights + 0.25, PLENTY)
    assert baseline == 0.25
    assert values == pytest.approx(weights, abs=1e-12)


@pytest.mark.parametrize("length", [1, 2, 5, 37, 230])
@pytest.mark.parametrize("budget", [2, 3, 4, 5, 6, 17, 100, 501])
def test_the_baseline_and_the_values_add_up_whatever_the_budget(length: int, budget: int) -> None:
    score = Counted(shallow_network(length, budget))
    baseline, values = attribute(length, score, budget)
    ends = score.score(np.array([[False] * length, [True] * length]))
    assert baseline == pytest.approx(ends[0])
    assert baseline + values.sum() == pytest.approx(ends[1], abs=1e-12)
    assert values.shape == (length,)
    assert len(score.masks) <= budget


def test_two_evaluations_leave_every_token_an_equal_share() -> None:
    _, values = attribute(5, lambda masks: masks @ np.arange(5.0), 2)
    assert values.tolist() == [2, 2, 2, 2, 2]


def test_a_text_without_tokens_has_its_baseline_and_no_values() -> None:
    baseline, values = attribute(0, lambda masks: np.full(len(masks), 1.5), 100)
    assert baseline == 1.5
    assert values.shape == (0,)


def test_a_single_token_has_all_there_is() -> None:
    score = Counted(lambda masks: np.where(masks[:, 0], 3.0, -1.0))
    assert attribute(1, score, 100)[1].tolist() == [4]
    assert len(score.masks) == 2


@pytest.mark.parametrize("budget", [-1, 0, 1])
def test_too_few_evaluations_for_any_answer_are_refused(budget: int) -> None:
    with pytest.raises(ValueError, match=f"max_evaluations: {budget}, expected at least 2"):
        attribute(3, random_game(3, 0), budget)


@pytest.mark.parametrize("length", [4, 8, 16])
def test_tokens_that_do_the_same_have_the_same_value_where_halves_are_alike(length: int) -> None:
    _, values = attribute(length, lambda masks: np.sqrt(masks.sum(axis=1)), PLENTY)
    assert values == pytest.approx(np.full(length, np.sqrt(length) / length), abs=1e-12)


@pytest.mark.parametrize("length", [2, 7, 32])
def test_a_token_that_changes_nothing_has_no_value(length: int) -> None:
    idle = length // 3
    network = shallow_network(length, 1)

    def score(masks: Masks) -> Scores:
        masks = masks.copy()
        masks[:, idle] = True
        return network(masks)

    _, values = attribute(length, score, PLENTY)
    assert values[idle] == pytest.approx(0, abs=1e-12)
    assert np.abs(values).min(where=np.arange(length) != idle, initial=np.inf) > 1e-6


@pytest.mark.parametrize("length", [2, 3, 6, 11, 32])
def test_it_asks_no_more_than_it_needs_and_nothing_twice(length: int) -> None:
    score = Counted(shallow_network(length, 2))
    attribute(length, score, PLENTY)
    assert len(score.masks) == 2 + evaluations_needed(0, length) == pytest.approx(length**2 * 2 / 3, rel=0.2, abs=2)
    assert len(np.unique(score.masks, axis=0)) == len(score.masks)


def test_it_asks_in_batches() -> None:
    score = Counted(shallow_network(230, 3))
    attribute(230, score, 500)
    sizes = [len(masks) for masks in score.calls]
    assert sum(sizes) == 500
    assert max(sizes) == 32
    assert len(sizes) <= 25


def test_it_says_the_same_again() -> None:
    first, second = (attribute(100, shallow_network(100, 4), 200) for _ in range(2))
    assert first[0] == second[0]
    assert first[1].tolist() == second[1].tolist()


def test_the_largest_groups_are_looked_into_first() -> None:
    weights = np.zeros(256)
    weights[[10, 200]] = 3, -2
    score = Counted(lambda masks: np.asarray(masks @ weights))
    assert attribute(256, score, 200)[1] == pytest.approx(weights, abs=1e-12)


@pytest.mark.parametrize("length", [9, 64, 100])
def test_tokens_that_act_in_pairs_are_exact_with_two_evaluations_each(length: int) -> None:
    generator = np.random.default_rng(length)
    alone, together = generator.standard_normal(length), generator.standard_normal(length - 1)

    def score(masks: Masks) -> Scores:
        return np.asarray(masks @ alone + (masks[:, 1:] & masks[:, :-1]) @ together)

    expected = alone + (np.append(together, 0) + np.insert(together, 0, 0)) / 2
    assert attribute(length, score, 2 * length)[1] == pytest.approx(expected, abs=1e-12)


def test_more_evaluations_come_nearer_to_the_truth() -> None:
    errors = []
    for budget in (128, 256, 512, 1024):
        ratios = []
        for seed in range(3):
            score = shallow_network(32, seed)
            exact = attribute(32, score, PLENTY)[1]
            ratios.append(np.linalg.norm(attribute(32, score, budget)[1] - exact) / np.linalg.norm(exact))
        errors.append(float(np.mean(ratios)))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.5
    assert errors[-1] == pytest.approx(0, abs=1e-12)
