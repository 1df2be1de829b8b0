"""The table as tensors, and the folds that it is split into."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import Tensor

from models.columns import MISSING, Column
from training.table import Table, load_table, split_names

if TYPE_CHECKING:
    from training.churn.train import Config

Rows = NDArray[np.int64]

WATCHED_FRACTION = 0.2


@dataclass(frozen=True)
class Inputs:
    """What the network reads of some rows, and what it learns."""

    numbers: Tensor  # (rows, numeric columns), NaN where missing
    codes: Tensor  # (rows, other columns), the place of each category among those of all columns
    targets: Tensor  # (rows,) of 0.0 and 1.0

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Rows) -> "Inputs":
        """The inputs of these rows."""
        places = torch.from_numpy(rows).to(self.targets.device)
        return Inputs(self.numbers[places], self.codes[places], self.targets[places])


@dataclass(frozen=True)
class Fold:
    """A split of the rows: what is learnt from, and what is predicted."""

    repeat: int
    number: int
    train: Rows
    test: Rows


@dataclass(frozen=True)
class Vocabulary:
    """The categories of all text columns in one row of places.

    Each column has a place for each category, one for a missing value and one for a category that it does not know.
    ``places[column][word]`` is where; ``columns`` has the column of each place.
    """

    places: tuple[dict[str | None, int], ...]
    columns: tuple[int, ...]

    def encode(self, texts: NDArray[np.object_]) -> NDArray[np.int64]:
        """(rows, columns) words -> (rows, columns) places."""
        codes = np.empty(texts.shape, dtype=np.int64)
        for column, places in enumerate(self.places):
            codes[:, column] = [places.get(word, places[None]) for word in texts[:, column]]
        return codes


def load_data(config: "Config", cache: Path) -> Table:
    """The table that ``config`` names.

    Raises:
        TrainingError: what :func:`~training.table.load_table` says.
    """
    return load_table(
        config.data,
        cache,
        config.target,
        categorical=split_names(config.categorical),
        drop=split_names(config.drop),
        max_rows=config.max_rows,
        seed=config.seed,
    )


def build_vocabulary(columns: Sequence[Column]) -> Vocabulary:
    """The places of the categories of text columns, in the order of the columns."""
    places: list[dict[str | None, int]] = []
    owners: list[int] = []
    for number, column in enumerate(columns):
        words: list[str | None] = [*column.categories, MISSING, None]
        places.append({word: len(owners) + place for place, word in enumerate(words)})
        owners += [number] * len(words)
    return Vocabulary(tuple(places), tuple(owners))


def build_inputs(table: Table) -> Inputs:
    """The rows of ``table`` as tensors."""
    codes = build_vocabulary(table.preprocessing.text_columns).encode(table.texts)
    return Inputs(
        torch.from_numpy(table.numbers), torch.from_numpy(codes), torch.from_numpy(table.targets.astype(np.float32))
    )


def split_folds(targets: Rows, folds: int, repeats: int, seed: int) -> Iterator[Fold]:
    """Stratified folds, in another order for each repeat."""
    for repeat in range(repeats):
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed * 1_000 + repeat)
        for number, (train, test) in enumerate(splitter.split(targets, targets)):
            yield Fold(repeat, number, train, test)


def hold_out(rows: Rows, targets: Rows, seed: int) -> tuple[Rows, Rows]:
    """Cut a fifth with the same mix of targets off ``rows``: what is learnt from, and what is watched."""
    kept, watched = train_test_split(rows, test_size=WATCHED_FRACTION, stratify=targets[rows], random_state=seed)
    return np.sort(kept), np.sort(watched)
