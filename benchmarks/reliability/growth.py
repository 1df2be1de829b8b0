"""How much memory grows."""

from collections.abc import Sequence
from statistics import mean


def find_slope(values: Sequence[float]) -> float:
    """The growth from one value to the next over the second half of ``values``, by least squares."""
    later = values[len(values) // 2 :]
    middle, average = (len(later) - 1) / 2, mean(later)
    spread = sum((index - middle) ** 2 for index in range(len(later)))
    return sum((index - middle) * (value - average) for index, value in enumerate(later)) / spread
