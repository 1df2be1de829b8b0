"""The table that profiles are learnt from, in three parts: to learn from, to watch the learning, to measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from training.errors import DataError
from training.table import Table, load_table

# sdmetrics asks for at least half as many held-out rows as training rows to see whether generated rows stand closer
# to the latter. A third of all leaves that, and as many rows to learn from as can be.
TEST_FRACTION = 1 / 3
MIN_ROWS = 100


@dataclass(frozen=True)
class ProfileData:
    """``train`` decides the weights, the encoding and the rules; ``validation`` watches; ``test`` chooses nothing."""

    table: Table
    train: Table
    validation: Table
    test: Table


def load_profiles(
    data: str,
    cache: Path,
    target: str,
    *,
    categorical: Sequence[str],
    drop: Sequence[str],
    max_rows: int,
    validation_fraction: float,
    seed: int,
) -> ProfileData:
    """Read a table and split it, each part with the same mix of the target.

    Args:
        data: ``telco``, or a CSV or Parquet file.
        cache: where downloads are kept.
        target: the column that a profile can be asked for by.
        categorical: columns whose values are categories, whatever they look like.
        drop: columns to leave out.
        max_rows: use so many rows; 0: all.
        validation_fraction: of the rows that are not held out for the test.
        seed: decides the split.

    Raises:
        DataError: the table cannot be read or learnt from, or is too small.
        SettingError: a named column is not there.
    """
    table = load_table(data, cache, target, categorical=categorical, drop=drop, max_rows=max_rows, seed=seed)
    if len(table) < MIN_ROWS:
        raise DataError(f"data: '{data}' has {len(table)} rows, expected {MIN_ROWS} or more to learn profiles from")
    train, test = _split(table.targets, np.arange(len(table)), TEST_FRACTION, seed)
    train, validation = _split(table.targets, train, validation_fraction, seed)
    return ProfileData(table, table.take(train), table.take(validation), table.take(test))


def _split(
    targets: NDArray[np.int64], rows: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, second = train_test_split(rows, test_size=fraction, stratify=targets[rows], random_state=seed)
    return np.sort(first), np.sort(second)
