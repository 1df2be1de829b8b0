"""Rows are written so that they are read as what they were."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.columns import Column, TablePreprocessing, read_value, write_number, write_text
from service.table_reader import TableReader
from service.table_writer import TableWriter

COLUMNS = (
    Column(name="word", type="category", categories=("a", "7", "07")),
    Column(name="price", type="number", decimals=2),
    Column(name="day", type="date"),
    Column(name="flag", type="boolean", categories=("0", "1")),
    Column(name="count", type="number"),
    Column(name="open", type="category", categories=("x",), open=True),
)
TABLE = TablePreprocessing(
    columns=COLUMNS,
    target=Column(name="target", type="boolean", categories=("0", "1")),
    target_shares=(0.5, 0.5),
)
ROWS = [
    (np.array([29.85, 18_321, 7], np.float32), np.array(["a", "0", "x"], object)),
    (np.array([np.nan, np.nan, np.nan], np.float32), np.array(["", "", ""], object)),
    (np.array([8684.8, -1, 0], np.float32), np.array(["7", "1", "12"], object)),
    (np.array([-0.01, 0, -3], np.float32), np.array(["07", "1", "٣"], object)),
]


def test_a_row_has_its_columns_in_order_and_its_target() -> None:
    assert TableWriter(TABLE).write(ROWS[0], 1) == {
        "word": "a",
        "price": 29.85,
        "day": "2020-02-29",
        "flag": 0,
        "count": 7,
        "open": "x",
        "target": 1,
    }
    assert list(TableWriter(TABLE).write(ROWS[0], 1)) == TableWriter(TABLE).names
    assert list(TableWriter(TABLE).write(ROWS[1], 0).values()) == [None] * 6 + [0]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_read_as_what_it_was(row: tuple[NDArray[np.float32], NDArray[np.object_]]) -> None:
    (numbers, texts), *_ = TableReader(TABLE).read([TableWriter(TABLE).write(row, 0)], "rows")
    assert np.array_equal(numbers, row[0], equal_nan=True)
    assert texts.tolist() == row[1].tolist()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_written_as_training_writes_it(row: tuple[NDArray[np.float32], NDArray[np.object_]]) -> None:
    record = TableWriter(TABLE).write(row, 0)
    for column, value in zip(TABLE.numeric_columns, row[0].tolist(), strict=True):
        assert record[column.name] == write_number(column, value)
    for column, text in zip(TABLE.text_columns, row[1].tolist(), strict=True):
        assert record[column.name] == write_text(text)


@pytest.mark.parametrize("decimals", range(7))
def test_a_number_has_the_decimals_of_its_column(decimals: int) -> None:
    column = Column(name="n", type="number", decimals=decimals)
    table = TABLE.model_copy(update={"columns": (column,)})
    for value in np.random.default_rng(decimals).uniform(-9, 9, 50).astype(np.float32):
        written = TableWriter(table).write((np.array([value]),), 0)["n"]
        assert isinstance(written, float if decimals else int)
        assert written == pytest.approx(float(value), abs=0.51 * 10**-decimals)
        assert len(str(written).partition(".")[2]) <= max(decimals, 1 if decimals else 0)
        assert not math.isnan(float(read_value(column, written)))
