"""How the values of a feature are spread, in bins: what a version has seen in training, as its manifest keeps it."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.columns import MISSING

_ROUNDING: Final = 1e-4  # of shares that are written with six decimals

Value = float | str  # a number, NaN where it is missing, or a text, empty where it is missing
Finder = Callable[[Any], int]  # the bin of a value
Share = Annotated[float, Field(ge=0, le=1)]


class NumericDistribution(BaseModel):
    """A number's. A value is in the first bin whose edge it does not exceed, above all edges in one bin more.

    ``shares`` are those of the bins, ``missing`` is that of rows without a value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["numeric"] = "numeric"
    name: str = Field(min_length=1)
    edges: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    shares: tuple[Share, ...]
    missing: Share = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges: of '{self.name}' are {list(self.edges)}, expected always more")
        _check_shares(self.name, self.shares, len(self.edges) + 1, self.missing)
        return self

    @property
    def bins(self) -> tuple[float, ...]:
        """The shares of all bins, the last that of missing values."""
        return (*self.shares, self.missing)

    def make_finder(self) -> Finder:
        """What gives the bin of a value, its place in :attr:`bins`."""
        return make_number_finder(self.edges)


class CategoricalDistribution(BaseModel):
    """A text's. ``other`` is the share of values that are none of ``categories``, ``missing`` that of no value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["categorical"] = "categorical"
    name: str = Field(min_length=1)
    categories: tuple[Annotated[str, Field(min_length=1)], ...]
    shares: tuple[Share, ...]
    other: Share = 0.0
    missing: Share = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.categories)) < len(self.categories):
            raise ValueError(f"categories: of '{self.name}' are {list(self.categories)}, expected each once")
        _check_shares(self.name, self.shares, len(self.categories), self.other + self.missing)
        return self

    @property
    def bins(self) -> tuple[float, ...]:
        """The shares of all bins, the last two those of other and of missing values."""
        return (*self.shares, self.other, self.missing)

    def make_finder(self) -> Finder:
        """What gives the bin of a value, its place in :attr:`bins`."""
        return make_text_finder(self.categories)


Distribution = Annotated[NumericDistribution | CategoricalDistribution, Field(discriminator="type")]


class Statistics(BaseModel):
    """What a version has seen: the features of what it learnt from, and what it says of rows.

    ``inputs`` are those of the ``input_rows`` training rows, ``predictions`` those of ``prediction_rows`` that it did
    not learn from, as far as there are such: of what it learnt from, it is too sure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    input_rows: int = Field(ge=1)
    inputs: tuple[Distribution, ...] = Field(min_length=1)
    prediction_rows: int = Field(ge=1)
    predictions: tuple[Distribution, ...] = Field(min_length=1)


def make_number_finder(edges: Sequence[float]) -> Finder:
    """What gives the bin of a number: among the edges, behind them, and one more for a missing value."""
    missing = len(edges) + 1

    def find(value: float) -> int:
        return bisect_left(edges, value) if value == value else missing  # NaN is not itself

    return find


def make_text_finder(categories: Sequence[str]) -> Finder:
    """What gives the bin of a text: among the categories, behind them, and one more for a missing value."""
    other = len(categories)
    places = {**{category: place for place, category in enumerate(categories)}, MISSING: other + 1}

    def find(value: str) -> int:
        return places.get(value, other)

    return find


def _check_shares(name: str, shares: tuple[float, ...], bins: int, rest: float) -> None:
    if len(shares) != bins:
        raise ValueError(f"shares: of '{name}' are {len(shares)}, expected {bins}")
    total = math.fsum(shares) + rest
    if not abs(total - 1) <= _ROUNDING:
        raise ValueError(f"shares: of '{name}' and the rest add up to {total:.6g}, expected 1")
