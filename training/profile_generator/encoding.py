"""A row as tokens, and tokens as a row: how a table of mixed columns becomes something to predict one by one.

A category is a token. A number is one of a few bins of equal share, and within its bin a place that a finer table of
quantiles turns into the value again; values that are frequent have a token of their own, and so has a missing value.
Of a number that follows from other columns it is the difference that is encoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.columns import MISSING, Column, TablePreprocessing
from training.profile_generator.relations import Relation, find_relations
from training.table import Table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNKNOWN: Final = -1
PLACES = 16  # of the finer table within a bin


@dataclass(frozen=True)
class TextCode:
    """A text column's tokens: what each stands for, an empty text for missing."""

    column: Column
    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.words)

    def encode(self, texts: NDArray[np.object_]) -> Integers:
        """(rows,) -> (rows,) tokens, ``UNKNOWN`` for a category that is not learnt."""
        places: Mapping[str, int] = {word: token for token, word in enumerate(self.words)}
        return np.array([places.get(text, UNKNOWN) for text in texts], dtype=np.int64)

    def describe(self, token: int) -> str:
        """The token in words."""
        return f"'{self.words[token]}'" if self.words[token] else "missing"


@dataclass(frozen=True)
class NumberCode:
    """A numeric column's tokens: bins, then frequent values, then missing where there are missing values.

    ``knots`` (tokens without missing, PLACES + 1) are what places in a token's bin stand for, from its lower to its
    upper edge; those of a frequent value are all the same. ``step`` is what all values are multiples of, in units of
    the last decimal.
    """

    column: Column
    knots: Floats
    bins: int
    step: int
    has_missing: bool
    relation: Relation | None

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.knots) + self.has_missing

    @property
    def unit(self) -> float:
        """What one step is."""
        return float(self.step / 10**self.column.decimals)

    @property
    def exact_token(self) -> int | None:
        """The token of no difference at all, where that is frequent."""
        found = np.flatnonzero(self.knots[self.bins :, 0] == 0)
        return self.bins + int(found[0]) if self.relation is not None and len(found) else None

    def encode(self, differences: Floats) -> Integers:
        """(rows,), NaN where missing -> (rows,) tokens."""
        edges = self.knots[: self.bins, 0]
        tokens = np.maximum(np.searchsorted(edges, differences, side="right") - 1, 0).astype(np.int64)
        for token in range(self.bins, len(self.knots)):
            tokens[differences == self.knots[token, 0]] = token
        tokens[np.isnan(differences)] = len(self.knots) if self.has_missing else UNKNOWN
        return tokens

    def is_exact(self, token: int) -> bool:
        """Whether the token is one value or difference, or missing, and no bin."""
        return token >= self.bins

    def is_telling(self, token: int) -> bool:
        """Whether the token can be told from a row: a bin of differences, rounded, can look like a frequent one."""
        return self.is_exact(token) and (self.relation is None or token >= len(self.knots))

    def describe(self, token: int) -> str:
        """The token in words."""
        return "missing" if token >= len(self.knots) else f"{self.knots[token, 0]:g}"


@dataclass(frozen=True)
class Encoding:
    """The tokens of a table: of its text columns in their order, and of its numeric columns in ``order``."""

    preprocessing: TablePreprocessing
    texts: tuple[TextCode, ...]
    numbers: tuple[NumberCode, ...]  # in the order of the numeric columns
    order: tuple[int, ...]  # of numeric columns: factors before products

    @property
    def codes(self) -> tuple[TextCode | NumberCode, ...]:
        """The codes in the order in which tokens are generated."""
        return (*self.texts, *(self.numbers[place] for place in self.order))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many tokens each column has, in the order in which they are generated."""
        return tuple(code.size for code in self.codes)

    def encode(self, table: Table) -> Integers:
        """The tokens (rows, columns) of a table, in the order in which they are generated."""
        texts = encode_texts(self.texts, table)
        numbers = exact_numbers(table)
        columns = [texts[:, place] for place in range(texts.shape[1])]
        for place in self.order:
            differences = _differences(self.numbers[place].relation, self.numbers[place].column, numbers, place, texts)
            columns.append(self.numbers[place].encode(differences))
        return np.stack(columns, axis=1)

    def differences(self, table: Table, place: int) -> tuple[Floats, Floats]:
        """By what a numeric column with a relation differs from its base, and the scale of that, (rows,) each."""
        texts, numbers = encode_texts(self.texts, table), exact_numbers(table)
        relation, column = self.numbers[place].relation, self.numbers[place].column
        if relation is None:
            raise ValueError(f"column '{column.name}' follows from no other, expected one with a relation")
        scale = relation.scale(relation.base(numbers, np.maximum(texts, 0)))
        return _differences(relation, column, numbers, place, texts), scale


def build_encoding(table: Table, bins: int) -> Encoding:
    """Learn the tokens of ``table``, with about ``bins`` for each numeric column."""
    facts = table.preprocessing
    texts = tuple(
        TextCode(column, (*column.categories, MISSING) if column.has_missing else column.categories)
        for column in facts.text_columns
    )
    tokens, numbers = encode_texts(texts, table), exact_numbers(table)
    relations, order = find_relations(numbers, tokens, [code.size for code in texts])
    telling = _telling_values(numbers)
    codes = []
    for place, column in enumerate(facts.numeric_columns):
        differences = _differences(relations[place], column, numbers, place, tokens)
        own = telling[place] if relations[place] is None else set()
        codes.append(_number_code(column, numbers[:, place], differences, relations[place], bins, own))
    return Encoding(facts, texts, tuple(codes), tuple(order))


def encode_texts(codes: tuple[TextCode, ...], table: Table) -> Integers:
    """The tokens (rows, text columns) of the texts of ``table``."""
    columns = [code.encode(table.texts[:, place]) for place, code in enumerate(codes)]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0), np.int64)


def exact_numbers(table: Table) -> Floats:
    """The numbers of ``table`` (rows, numeric columns) as they were written, which float32 is not."""
    numbers = table.numbers.astype(np.float64)
    for place, column in enumerate(table.preprocessing.numeric_columns):
        numbers[:, place] = np.round(numbers[:, place], column.decimals)
    return numbers


def _differences(relation: Relation | None, column: Column, numbers: Floats, place: int, tokens: Integers) -> Floats:
    """What is encoded of a numeric column: its values, or what they differ by from what they follow from."""
    values = numbers[:, place]
    if relation is None:
        return values
    base = relation.base(numbers, np.maximum(tokens, 0))
    return np.round(values - base, column.decimals + 3) / relation.scale(base)


def _number_code(
    column: Column, values: Floats, differences: Floats, relation: Relation | None, bins: int, own: set[float]
) -> NumberCode:
    present = differences[~np.isnan(differences)]
    if not len(present):  # as may be of a column that is nearly always missing
        present = np.array([column.minimum], dtype=np.float64)
    found, counts = np.unique(present, return_counts=True)
    frequent = counts >= len(present) / bins
    if len(found) <= bins:
        frequent[:] = True
    frequent |= np.isin(found, sorted(own))
    rest = np.sort(present[~np.isin(present, found[frequent])])
    # No bin reaches over a frequent value, so that no value within a bin can be taken for one.
    segments = np.split(rest, np.searchsorted(rest, found[frequent]))
    bin_knots = [knots for segment in segments for knots in _bins_of(segment, bins / len(present))]
    knots = bin_knots + [np.full(PLACES + 1, value) for value in found[frequent]]
    return NumberCode(
        column=column,
        knots=np.stack(knots),
        bins=len(bin_knots),
        step=_step(values, column.decimals),
        has_missing=bool(np.isnan(values).any()),
        relation=relation,
    )


def _bins_of(values: Floats, bins_per_row: float) -> list[Floats]:
    """The knots of bins of equal share of sorted ``values``; none where there are none."""
    if not len(values):
        return []
    parts = max(1, round(len(values) * bins_per_row))
    quantiles = np.quantile(values, np.linspace(0, 1, parts * PLACES + 1))
    return [quantiles[part * PLACES : (part + 1) * PLACES + 1] for part in range(parts)]


def _step(values: Floats, decimals: int) -> int:
    """The largest number of units of the last decimal that all values are multiples of."""
    units = np.round(values[~np.isnan(values)] * 10**decimals).astype(np.int64)
    return max(1, int(np.gcd.reduce(units))) if len(units) else 1


def _telling_values(numbers: Floats) -> list[set[float]]:
    """For each numeric column the values that it always has where another is missing: they get their own tokens."""
    telling: list[set[float]] = [set() for _ in range(numbers.shape[1])]
    for place in range(numbers.shape[1]):
        for other in range(numbers.shape[1]):
            values = np.unique(numbers[np.isnan(numbers[:, other]), place])
            if other != place and len(values) == 1 and not np.isnan(values[0]):
                telling[place].add(float(values[0]))
    return telling
