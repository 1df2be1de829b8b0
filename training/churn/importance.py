"""What the columns do to the model's answers, measured through ONNX Runtime on the graph that is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.columns import Column
from training.churn.graph import feeds_of, run_graph
from training.table import Table

Rows = NDArray[np.int64]

EXPLAINED_ROWS = 64
ORDERS = 16  # of columns, each also backwards
POINTS = 40
EFFECT_ROWS = 500
MAX_CATEGORIES_SHOWN = 8
BATCH = 4096


@dataclass(frozen=True)
class Effect:
    """How the answers move when one column is set to each of ``values`` in turn and all others stay as they are."""

    column: Column
    values: tuple[float | str, ...]
    probabilities: NDArray[np.float64]  # (values, rows)


def measure_importances(
    session: onnxruntime.InferenceSession, table: Table, background: Rows, seed: int
) -> dict[str, float]:
    """The mean size of each column's Shapley value in log-odds, the largest first.

    The value of a set of columns is the mean log-odds over the background's rows with those columns taken from the row
    explained (Lundberg and Lee 2017, interventional). It is estimated over random orders of the columns and the same
    orders backwards (Mitchell et al. 2022, "Sampling Permutations for Shapley Value Estimation", section 3): in each
    order the columns change from a background row's to the explained row's, one after the other.
    """
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(table), size=min(EXPLAINED_ROWS, len(table)), replace=False)
    explained, columns = table.take(rows), len(table.preprocessing.columns)
    orders = [generator.permutation(columns) for _ in range(ORDERS)]
    orders += [order[::-1] for order in orders]
    sums = np.zeros((len(rows), columns))
    for order in orders:
        # A background row of its own for each explained row, another in each order.
        others = generator.choice(background, size=len(rows))
        steps = [table.take(others)]
        for column in order:
            steps.append(_with_column(steps[-1], explained, int(column)))
        answers = _log_odds(session, steps).reshape(columns + 1, len(rows))
        for place, column in enumerate(order):
            sums[:, column] += answers[place + 1] - answers[place]
    sizes = np.abs(sums / len(orders)).mean(axis=0)
    names = [column.name for column in table.preprocessing.columns]
    return {names[place]: float(sizes[place]) for place in np.argsort(-sizes, kind="stable")}


def measure_effects(
    session: onnxruntime.InferenceSession, table: Table, importances: Mapping[str, float]
) -> tuple[Effect, ...]:
    """How the answers move with the most important numeric column and the most important other one, as far as any is.

    Friedman 2001, "Greedy Function Approximation", section 8.2. The rows are spread over the table. A number goes
    through its quantiles.
    """
    columns = table.preprocessing.columns
    ranked = sorted(columns, key=lambda column: -importances[column.name])
    first = {column.is_numeric: column for column in reversed(ranked)}
    rows = table.take(np.arange(len(table))[:: max(1, len(table) // EFFECT_ROWS)][:EFFECT_ROWS])
    return tuple(_effect(session, table, rows, first[kind]) for kind in (True, False) if kind in first)


def _effect(session: onnxruntime.InferenceSession, table: Table, rows: Table, column: Column) -> Effect:
    values: tuple[float | str, ...]
    if column.is_numeric:
        place = table.preprocessing.numeric_columns.index(column)
        quantiles = np.nanquantile(table.numbers[:, place], np.linspace(0, 1, POINTS))
        values = tuple(np.unique(quantiles.astype(np.float32)).tolist())
    else:
        place = table.preprocessing.text_columns.index(column)
        values = column.categories[:MAX_CATEGORIES_SHOWN]
    answers = []
    for value in values:
        numbers, texts = rows.numbers.copy(), rows.texts.copy()
        (numbers if column.is_numeric else texts)[:, place] = value
        answers.append(_answer(session, numbers, texts)[0][:, 1].astype(np.float64))
    return Effect(column, values, np.stack(answers))


def _with_column(table: Table, source: Table, number: int) -> Table:
    """``table`` with one column of ``source``."""
    column = table.preprocessing.columns[number]
    numbers, texts = table.numbers.copy(), table.texts.copy()
    if column.is_numeric:
        place = table.preprocessing.numeric_columns.index(column)
        numbers[:, place] = source.numbers[:, place]
    else:
        place = table.preprocessing.text_columns.index(column)
        texts[:, place] = source.texts[:, place]
    return replace(table, numbers=numbers, texts=texts)


def _log_odds(session: onnxruntime.InferenceSession, tables: Sequence[Table]) -> NDArray[np.float64]:
    numbers = np.concatenate([table.numbers for table in tables])
    texts = np.concatenate([table.texts for table in tables])
    return _answer(session, numbers, texts)[1][:, 0].astype(np.float64)


def _answer(
    session: onnxruntime.InferenceSession, numbers: NDArray[np.float32], texts: NDArray[np.object_]
) -> list[NDArray[np.float32]]:
    return run_graph(session, feeds_of(numbers, texts), BATCH)
