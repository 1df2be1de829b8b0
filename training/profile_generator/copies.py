"""Keeps generated rows from being exact copies of training rows, without keeping the training rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.profile_generator.encoding import Encoding, NumberCode, encode_texts, exact_numbers
from training.table import Table

Integers = NDArray[np.int64]

SHIFTS = (0, 1, -1, 2, -2, 3, -3, 4, -4)  # in steps
MIN_DISTINCT = 100
BUCKETS_PER_ROW = 2
FACTOR_BITS = 20
UNIT_BITS = 31
MISSING_UNITS = 2**UNIT_BITS - 1


class CopyFilter(nn.Module):
    """Moves a row by the fewest steps of one number to where no training row has its checksum.

    A checksum is one of about twice as many buckets as there are training rows. So a row that is an exact copy is
    always moved, and so are two in five of the others, by a step that nobody sees; that a bucket is taken tells little
    of whether a given row was among the training rows. The number that is moved has many values and is no product;
    products follow it. No row is moved where that number is a frequent value, to which rules can be tied.
    """

    def __init__(self, encoding: Encoding, table: Table, column: int, seed: int) -> None:
        super().__init__()
        self.column = column
        self.codes = encoding.numbers
        self.register_buffer("shifts", torch.tensor([SHIFTS], dtype=torch.float64) * self.codes[column].unit)
        self.buckets = _next_prime(BUCKETS_PER_ROW * len(table))
        generator = np.random.Generator(np.random.PCG64(seed))
        count = 1 + len(encoding.texts) + len(encoding.numbers)
        self.factors = [int(factor) for factor in generator.integers(1, 2**FACTOR_BITS, count)]
        columns = [table.targets, *encode_texts(encoding.texts, table).T]
        numbers = exact_numbers(table)
        for place, code in enumerate(self.codes):
            units = np.round(numbers[:, place] * 10**code.column.decimals / code.step)
            columns.append(np.where(np.isnan(units), MISSING_UNITS, units).astype(np.int64))
        sums = sum(column * factor for column, factor in zip(columns, self.factors, strict=True))
        taken = np.zeros(self.buckets, dtype=np.float32)
        taken[np.mod(sums, self.buckets)] = 1.0
        self.register_buffer("taken", torch.from_numpy(taken))

    shifts: Tensor  # (1, shifts)
    taken: Tensor  # (buckets,)

    def shift(self, values: Tensor, tokens: Tensor) -> Tensor:
        """The column's values (batch, 1) moved by each shift, (batch, shifts), where they are no frequent value."""
        code = self.codes[self.column]
        movable = (tokens < code.bins).unsqueeze(1)
        return to_steps(values + movable * self.shifts, code)

    def choose(self, values: Mapping[int, Tensor], missing: Mapping[int, Tensor], tokens: Sequence[Tensor]) -> Tensor:
        """The first shift of each row whose bucket is free, (batch, 1); none of them: the row as it is.

        Args:
            values: of each numeric column (batch, shifts), or (batch, 1) where it is the same for all.
            missing: of each numeric column (batch, 1).
            tokens: of the target and of the text columns, (batch,) each.
        """
        columns = [token.unsqueeze(1) for token in tokens]
        for place, code in enumerate(self.codes):
            units = (values[place] * 10**code.column.decimals / code.step).round().long()
            columns.append(torch.where(missing[place], MISSING_UNITS, units))
        checksum = columns[0] * self.factors[0]
        for column, factor in zip(columns[1:], self.factors[1:], strict=True):
            checksum = checksum + column * factor
        taken = torch.nn.functional.embedding(checksum % self.buckets, self.taken.unsqueeze(1)).squeeze(2)
        return taken.argmin(dim=1, keepdim=True)


def to_steps(values: Tensor, code: NumberCode) -> Tensor:
    """Values of a column, of any shape and in double precision, as multiples of its step."""
    steps = (values * 10**code.column.decimals / code.step).round()
    rounded: Tensor = steps * code.step / 10**code.column.decimals
    return rounded


def find_free_column(encoding: Encoding, table: Table) -> int | None:
    """The numeric column that can be moved by a step unseen: of those that are no product, the one of most values."""
    numbers = exact_numbers(table)
    counts = {
        place: len(np.unique(numbers[:, place]))
        for place, code in enumerate(encoding.numbers)
        if code.relation is None or code.relation.factors is None
    }
    column = max(counts, key=lambda place: counts[place], default=None)
    return column if column is not None and counts[column] >= MIN_DISTINCT else None


def _next_prime(number: int) -> int:
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number
