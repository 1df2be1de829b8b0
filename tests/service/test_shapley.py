"""Shapley values: exact where they can be, near the truth elsewhere, and always adding up."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.shapley import Arrays, Shapley

Scores = NDArray[np.float64]


def make_rows(count: int, numbers: int, texts: int) -> list[NDArray[Any]]:
    generator = np.random.default_rng(count)
    drawn = generator.integers(0, 3, (count, numbers)).astype(np.float32)
    drawn[generator.random(drawn.shape) < 0.2] = np.nan
    words = np.array(["", "a", "b"], object)[generator.integers(0, 3, (count, texts))]
    return [drawn, words]


def exact_factors(background: Arrays, row: Arrays, score: Any) -> NDArray[np.float64]:
    """By the definition: over all orders of all columns, for all rows of the background."""
    widths = [len(values) for values in row]
    columns = [(which, place) for which, width in enumerate(widths) for place in range(width)]
    factors = np.zeros(len(columns))
    orders = list(permutations(range(len(columns))))
    for order in orders:
        mixed = [array.copy() for array in background]
        before = score(mixed)
        for column in order:
            which, place = columns[column]
            mixed[which][:, place] = row[which][place]
            after = score(mixed)
            factors[column] += (after - before).mean()
            before = after
    return factors / len(orders)


def of_pairs(inputs: Arrays) -> Scores:
    """A function of single columns and of pairs of columns."""
    numbers, texts = np.nan_to_num(inputs[0], nan=-1.0).astype(np.float64), (inputs[1] == "a").astype(np.float64)
    return np.asarray(numbers[:, 0] * texts[:, 0] + numbers.sum(axis=1) ** 2 + 3 * texts.sum(axis=1))


def of_all(inputs: Arrays) -> Scores:
    """A function in which all columns act together."""
    numbers, texts = np.nan_to_num(inputs[0], nan=-1.0).astype(np.float64), (inputs[1] == "a").astype(np.float64)
    return np.asarray(np.tanh(numbers.prod(axis=1) * (1 + texts.sum(axis=1))) + numbers[:, 0])


@pytest.mark.parametrize("score", [of_pairs, of_all])
@pytest.mark.parametrize("row", range(8))
def test_two_columns_are_exact(score: Any, row: int) -> None:
    background, rows = make_rows(9, 1, 1), make_rows(8, 1, 1)
    found = Shapley(background).explain([array[row] for array in rows], score)[1]
    assert found == pytest.approx(exact_factors(background, [array[row] for array in rows], score), abs=1e-12)


@pytest.mark.parametrize("row", range(4))
def test_columns_that_act_in_pairs_are_exact(row: int) -> None:
    background, rows = make_rows(5, 3, 2), make_rows(4, 3, 2)
    found = Shapley(background).explain([array[row] for array in rows], of_pairs)[1]
    assert found == pytest.approx(exact_factors(background, [array[row] for array in rows], of_pairs), abs=1e-9)


def test_columns_that_act_together_are_near_the_truth() -> None:
    background, rows = make_rows(64, 3, 2), make_rows(4, 3, 2)
    for place in range(4):
        row = [array[place] for array in rows]
        found = Shapley(background).explain(row, of_all)[1]
        assert found == pytest.approx(exact_factors(background, row, of_all), abs=0.08)


@pytest.mark.parametrize(("numbers", "texts"), [(3, 4), (1, 6), (7, 1)])
def test_the_baseline_and_the_factors_add_up_to_the_row_s_score(numbers: int, texts: int) -> None:
    background, rows = make_rows(16, numbers, texts), make_rows(6, numbers, texts)
    for place in range(6):
        row = [array[place] for array in rows]
        baseline, factors = Shapley(background).explain(row, of_all)
        assert baseline == pytest.approx(of_all(background).mean())
        assert baseline + factors.sum() == pytest.approx(of_all([values[np.newaxis] for values in row])[0])


def test_one_input_alone_is_explained() -> None:
    background = [np.arange(8, dtype=np.float32).reshape(4, 2)]
    baseline, factors = Shapley(background).explain(
        [np.array([9, 7], np.float32)], lambda inputs: inputs[0].sum(axis=1).astype(np.float64)
    )
    assert baseline == 7
    assert factors == pytest.approx([6, 3])


def test_a_row_of_the_background_s_own_values_has_nothing_to_explain() -> None:
    row = [np.array([np.nan, 2], np.float32), np.array(["", "a"], object)]
    background = [np.tile(values, (3, 1)) for values in row]
    assert Shapley(background).explain(row, of_pairs)[1].tolist() == [0, 0, 0, 0]


def test_it_says_the_same_again_and_asks_in_small_portions() -> None:
    background, row = make_rows(16, 4, 4), [array[0] for array in make_rows(1, 4, 4)]
    asked: list[int] = []

    def score(inputs: Arrays) -> Scores:
        asked.append(len(inputs[0]))
        return of_all(inputs)

    first, second = (Shapley(background).explain(row, score) for _ in range(2))
    assert first[0] == second[0]
    assert first[1].tolist() == second[1].tolist()
    assert max(asked) <= 16
    assert sum(asked) <= 2 * (1 + 16 + 16 * 14)
