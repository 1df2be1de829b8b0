"""How often a classifier is right on short and on long texts."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A bin with a smaller share of the texts is joined with the next.
MIN_SHARE = 0.01
_ENDS = tuple(round(2**power * factor) for power in range(1, 20) for factor in (1, 1.5))
_STANDARD_ERRORS = 1.959964  # to either side hold 95 % of a normal distribution


class Interval(NamedTuple):
    """Where a share lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class LengthBin:
    """The texts of ``shortest`` to ``longest`` tokens, both included, and how many of them were classified rightly."""

    shortest: int
    longest: int
    texts: int
    right: int

    @property
    def accuracy(self) -> float:
        """The share that was right."""
        return self.right / self.texts

    @property
    def interval(self) -> Interval:
        """Of the accuracy."""
        return find_interval(self.right, self.texts)


def find_interval(right: int, number: int) -> Interval:
    """The 95 % interval of a share of which ``right`` of ``number`` are seen. Source: Wilson 1927."""
    share, spread = right / number, _STANDARD_ERRORS**2 / number
    centre = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def measure_by_length(tokens: NDArray[np.int64], right: NDArray[np.bool_], limit: int) -> list[LengthBin]:
    """Sort texts by length into bins that end at 2, 3, 4, 6, 8, 12, 16, 24 … tokens, and at ``limit``.

    Args:
        tokens: (texts,) the length of each.
        right: (texts,) whether it was classified rightly.
        limit: the longest text that is read whole.

    Returns:
        Bins that hold every text once, none empty, in order of length. Each has ``MIN_SHARE`` of the texts or more,
        so that ``limit`` ends a bin only where enough texts are on either side of it.
    """
    longest = int(tokens.max())
    bins: list[LengthBin] = []
    start, least = int(tokens.min()), max(1.0, MIN_SHARE * len(tokens))
    for end in sorted({*_ENDS, limit}):
        inside, beyond = (start <= tokens) & (tokens <= end), tokens > end
        if inside.sum() >= least and beyond.sum() >= least:
            bins.append(LengthBin(start, end, int(inside.sum()), int(right[inside].sum())))
            start = end + 1
    rest = tokens >= start
    return [*bins, LengthBin(start, longest, int(rest.sum()), int(right[rest].sum()))]
