"""Shapley values: how much each value of a row has to do with what a model says of it.

A value's factor is the mean, over all orders in which the values of a row can take the places of another row's, of the
change that its own arrival brings about. The other rows are a background, such as a sample of what the model has learnt
from, so that the factors say why a row differs from it.

Sources: Štrumbelj and Kononenko 2014, "Explaining prediction models and individual predictions with feature
contributions", for sampling orders; Mitchell, Cooper, Frank and Holmes 2022, "Sampling permutations for Shapley value
estimation", for taking each order together with its reverse, which halves the error for the same work and more.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Sequence[NDArray[Any]]
Score = Callable[[Arrays], NDArray[np.float64]]  # inputs (rows, columns) each -> (rows,)


class Shapley:
    """Explains rows by a background, with one order and its reverse for each of its rows.

    Exact where no more than two columns act together, as in any row of two columns. It is deterministic: the orders are
    drawn once, from a fixed seed.

    Args:
        background: the other rows, (background rows, columns) each: one array for each input of the graph.
    """

    def __init__(self, background: Arrays) -> None:
        self._background = background
        self._widths = [array.shape[1] for array in background]
        generator = np.random.Generator(np.random.PCG64(0))
        orders = np.tile(np.arange(sum(self._widths)), (len(background[0]), 1))
        self._orders = generator.permuted(orders, axis=1)  # (background rows, columns)

    def explain(self, row: Arrays, score: Score) -> tuple[float, NDArray[np.float64]]:
        """The mean score of the background, and the factors of the row's columns, which add up to the row's score.

        Args:
            row: (columns,) for each input.
            score: what is explained. It is asked once about the background, once about the row, and then about up to
                2 (columns - 1) rows for each row of the background.
        """
        origins = score(self._background)
        goal = float(score([values[np.newaxis] for values in row])[0])
        factors = np.zeros(sum(self._widths))
        for place, order in enumerate(self._orders):
            other = [array[place] for array in self._background]
            differing = np.concatenate([_differ(mine, theirs) for mine, theirs in zip(row, other, strict=True)])
            order = order[differing[order]]  # the other columns have nothing to do with it
            if len(order):
                scores = score(list(self._mix(row, other, order))) if len(order) > 1 else np.zeros(0)
                factors[order] += _share_out(origins[place], scores, goal)
        return float(origins.mean()), factors / len(self._orders)

    def _mix(self, row: Arrays, other: Arrays, order: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Rows between ``other`` and ``row``, (2 (columns of order - 1), columns) for each input.

        The first half has the first column of ``order`` from ``row``, then the first two, and so on; the second half
        has what the first half has not, for the reverse order.
        """
        ranks = np.zeros(sum(self._widths), np.int64)
        ranks[order] = np.arange(len(order))
        first = ranks < np.arange(1, len(order))[:, np.newaxis]
        taken = np.concatenate((first, ~first))
        start = 0
        for mine, theirs, width in zip(row, other, self._widths, strict=True):
            yield np.where(taken[:, start : start + width], mine, theirs)
            start += width


def _share_out(origin: float, scores: NDArray[np.float64], goal: float) -> NDArray[np.float64]:
    """The columns' factors in their order: the mean of the steps from ``origin`` to ``goal`` on both ways."""
    there, back = scores.reshape(2, -1)
    return (np.diff(there, prepend=origin, append=goal) - np.diff(back, prepend=goal, append=origin)) / 2


def _differ(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two rows are not the same; two missing numbers are."""
    same: NDArray[np.bool_] = (mine == theirs) | ((mine != mine) & (theirs != theirs))  # NaN is not itself
    return ~same
