"""What a numeric column follows from others: the product of two, or a sum over categories and numbers.

A total is nearly the product of a price and a number of months, a price nearly the sum of what was booked. Where that
holds, only the difference is learnt, so that generated values agree as the real ones do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_PRODUCT_SHARE = 0.98
MIN_SUM_SHARE = 0.95
MIN_ROWS = 50
RIDGE = 1e-3
EXPONENTS = (0.0, 0.5, 1.0)
SCALE_BANDS = 5


@dataclass(frozen=True)
class Relation:
    """A numeric column is ``base + scale * difference``; the scale is ``max(|base|, floor)`` to the ``exponent``.

    The base is the product of the two numeric columns ``factors``, or the intercept with a weight for the token of
    each text column. ``explained`` is the share of the variance that the base explains.
    """

    explained: float
    exponent: float
    floor: float
    factors: tuple[int, int] | None = None
    intercept: float = 0.0
    weights: tuple[Floats, ...] = ()  # for each text column (tokens,)

    def base(self, numbers: Floats, tokens: Integers) -> Floats:
        """(rows, numeric columns) and (rows, text columns) -> (rows,)."""
        if self.factors is not None:
            product: Floats = numbers[:, self.factors[0]] * numbers[:, self.factors[1]]
            return product
        total = np.full(len(tokens), self.intercept)
        for place, weights in enumerate(self.weights):
            total += weights[tokens[:, place]]
        return total

    def scale(self, base: Floats) -> Floats:
        """By what differences from ``base`` (rows,) are to be multiplied."""
        result: Floats = np.maximum(np.abs(base), self.floor) ** self.exponent
        return result


def find_relations(numbers: Floats, tokens: Integers, sizes: Sequence[int]) -> tuple[list[Relation | None], list[int]]:
    """The relation of each numeric column, where one holds, and an order in which factors stand before products.

    Args:
        numbers: (rows, numeric columns), NaN where missing.
        tokens: (rows, text columns) the category of each, -1 where it is none of those that are learnt.
        sizes: of each text column how many tokens it has.
    """
    count = numbers.shape[1]
    relations: list[Relation | None] = [None] * count
    products = sorted(
        (
            (relation.explained, column, relation)
            for column in range(count)
            for relation in _products(numbers, column)
            if relation.explained >= MIN_PRODUCT_SHARE
        ),
        key=lambda found: -found[0],
    )
    fixed: set[int] = set()
    for _, column, relation in products:
        if relations[column] is None and column not in fixed and relation.factors is not None:
            free = all(relations[factor] is None for factor in relation.factors)
            if free:
                relations[column] = relation
                fixed |= set(relation.factors)
    for column in range(count):
        if relations[column] is None:
            relations[column] = _sum(numbers[:, column], tokens, sizes)
    last = [column for column in range(count) if (found := relations[column]) is not None and found.factors]
    return relations, [column for column in range(count) if column not in last] + last


def _products(numbers: Floats, column: int) -> list[Relation]:
    found = []
    for first in range(numbers.shape[1]):
        for second in range(first + 1, numbers.shape[1]):
            if column in (first, second):
                continue
            rows = ~np.isnan(numbers[:, column])
            product = numbers[rows, first] * numbers[rows, second]
            if np.isnan(product).any() or rows.sum() < MIN_ROWS:
                continue
            explained = _explained(numbers[rows, column], product)
            alone = max(_explained_linearly(numbers[rows, column], numbers[rows, other]) for other in (first, second))
            if explained > alone:
                found.append(_relation(numbers[rows, column], product, explained, factors=(first, second)))
    return found


def _sum(values: Floats, tokens: Integers, sizes: Sequence[int]) -> Relation | None:
    """The ridge regression on the categories, if it explains nearly everything."""
    if not sizes:
        return None
    rows = ~np.isnan(values) & (tokens >= 0).all(axis=1)
    if rows.sum() < max(MIN_ROWS, 2 * sum(sizes)):
        return None
    hot = np.concatenate([np.eye(size)[tokens[rows, place]] for place, size in enumerate(sizes)], axis=1)
    mean = values[rows].mean()
    gram = hot.T @ hot + RIDGE * np.eye(hot.shape[1])
    weights = np.linalg.solve(gram, hot.T @ (values[rows] - mean))
    base = mean + hot @ weights
    explained = _explained(values[rows], base)
    if explained < MIN_SUM_SHARE:
        return None
    parts = tuple(np.split(weights, np.cumsum(sizes)[:-1]))
    return _relation(values[rows], base, explained, intercept=float(mean), weights=parts)


def _relation(
    values: Floats,
    base: Floats,
    explained: float,
    factors: tuple[int, int] | None = None,
    intercept: float = 0.0,
    weights: tuple[Floats, ...] = (),
) -> Relation:
    """With the exponent that makes differences most alike in size over small and large bases."""
    positive = np.abs(base)[base != 0]
    floor = float(positive.min()) if len(positive) else 1.0
    bands = np.array_split(np.argsort(np.abs(base), kind="stable"), SCALE_BANDS)

    def unevenness(exponent: float) -> float:
        differences = np.abs(values - base) / np.maximum(np.abs(base), floor) ** exponent
        sizes = np.array([differences[band].mean() for band in bands])
        return float(sizes.std() / max(sizes.mean(), 1e-12))

    return Relation(explained, min(EXPONENTS, key=unevenness), floor, factors, intercept, weights)


def _explained(values: Floats, base: Floats) -> float:
    total = float(((values - values.mean()) ** 2).sum())
    return 1 - float(((values - base) ** 2).sum()) / total if total > 0 else 0.0


def _explained_linearly(values: Floats, other: Floats) -> float:
    if other.std() == 0 or values.std() == 0:
        return 0.0
    return float(np.corrcoef(values, other)[0, 1]) ** 2
