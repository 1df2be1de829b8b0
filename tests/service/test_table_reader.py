"""Rows are read as the contract says, by whatever way."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns import Column, TablePreprocessing, ValueProblem, read_value
from service.errors import UnprocessableError
from service.table_reader import TableReader

TARGET = Column(name="target", type="boolean", categories=("No", "Yes"))
COLUMNS = [
    Column(name="number", type="number", decimals=2),
    Column(name="date", type="date"),
    Column(name="closed", type="category", categories=("a", "0", "1", "2.5", "true")),
    Column(name="open", type="category", categories=("a", "7"), open=True),
    Column(name="yes or no", type="boolean", categories=("No", "Yes")),
    Column(name="0 or 1", type="boolean", categories=("0", "1")),
    Column(name="-1 or 1", type="boolean", categories=("-1", "1")),
]
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([0, 1, -1, 7, 2.5, 0.0, 1.0, 1e38, 1.1e38, 3.4028234e38, 3.41e38, -1e39, 10**400])
    | st.sampled_from(
        ["a", " a ", "0", "1", "-1", "7", "2.5", "true", "Yes", "yes", "NO", "f", "2026-11-21", "1e5", "NaN"]
    )
    | st.text(max_size=5)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
)


def make_reader(*columns: Column, identifier: str | None = None) -> TableReader:
    return TableReader(
        TablePreprocessing(columns=columns, target=TARGET, target_shares=(0.5, 0.5), identifier=identifier)
    )


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@given(value=VALUES)
def test_a_value_is_read_by_the_one_rule(column: Column, value: object) -> None:
    try:
        expected = read_value(column, value)  # type: ignore[arg-type]
    except ValueProblem:
        with pytest.raises(UnprocessableError):
            make_reader(column).read([{column.name: value}], "rows")
        return
    ((found,),) = make_reader(column).read([{column.name: value}], "rows")
    if column.is_numeric:
        assert np.array_equal(found, np.array([expected], np.float32), equal_nan=True)
    else:
        assert found.tolist() == [expected]


@given(rows=st.lists(st.fixed_dictionaries({column.name: VALUES for column in COLUMNS}), min_size=1, max_size=3))
def test_many_columns_of_many_rows_are_read_by_the_one_rule(rows: list[dict[str, object]]) -> None:
    problems = []
    for index, row in enumerate(rows):
        for column in COLUMNS:
            try:
                read_value(column, row[column.name])  # type: ignore[arg-type]
            except ValueProblem:
                problems.append(f"rows[{index}].{column.name}")
    reader = make_reader(*COLUMNS)
    if problems:
        with pytest.raises(UnprocessableError) as caught:
            reader.read(rows, "rows")
        assert [location for location, _ in caught.value.problems] == problems[:20]
        return
    for row, (numbers, texts) in zip(rows, reader.read(rows, "rows"), strict=True):
        values = [read_value(column, row[column.name]) for column in COLUMNS]  # type: ignore[arg-type]
        assert np.array_equal(numbers, np.array(values[:2], np.float32), equal_nan=True)
        assert texts.tolist() == values[2:]


def test_rows_of_numbers_alone_or_texts_alone_have_one_input() -> None:
    (row,) = make_reader(COLUMNS[0]).read([{"number": 3}], "rows")
    assert [array.tolist() for array in row] == [[3.0]]
    (row,) = make_reader(COLUMNS[2], COLUMNS[3]).read([{"closed": "a", "open": None}], "rows")
    assert [array.tolist() for array in row] == [["a", ""]]


def test_nothing_is_a_missing_number() -> None:
    ((numbers,),) = make_reader(COLUMNS[0]).read([{"number": None}], "rows")
    assert math.isnan(numbers[0])


@pytest.mark.parametrize("name", ["numbr", "Number", "x" * 1_000_000, "", "\0", "ü" * 61])
def test_a_column_that_there_is_not_is_named_and_shown_in_short(name: str) -> None:
    with pytest.raises(UnprocessableError) as caught:
        make_reader(COLUMNS[0], COLUMNS[1]).read([{"number": 1, "date": None, name: 1}], "rows")
    ((location, message),) = caught.value.problems
    assert location.startswith(f"rows[0].{name[:60]}")
    assert len(location) < 80
    assert message in ("unknown, did you mean 'number'?", "unknown, the model has no such column")
    assert (message == "unknown, did you mean 'number'?") == (name in ("numbr", "Number"))


def test_a_value_that_is_nested_too_deeply_to_be_shown_is_refused() -> None:
    value = json.loads("[" * 900 + "]" * 900)
    with pytest.raises(UnprocessableError, match=r"rows\[0\]\.number: a list is no number"):
        make_reader(COLUMNS[0]).read([{"number": value}], "rows")
