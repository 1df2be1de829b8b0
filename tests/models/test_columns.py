"""A value of a row becomes what the graph reads, or is refused by name."""

import math

import pytest
from pydantic import JsonValue, ValidationError

from models.columns import Column, TablePreprocessing, ValueProblem, read_value

NUMBER = Column(name="price", type="number", decimals=2)
DATE = Column(name="since", type="date")
SENIOR = Column(name="senior", type="boolean", categories=("0", "1"))
PARTNER = Column(name="partner", type="boolean", categories=("No", "Yes"))
CONTRACT = Column(name="contract", type="category", categories=("Monthly", "Yearly", "2"))
CITY = Column(name="city", type="category", categories=("Oslo",), open=True)


@pytest.mark.parametrize(
    ("column", "value", "read"),
    [
        (NUMBER, 29.85, 29.85),
        (NUMBER, 3, 3.0),
        (NUMBER, " 29.85 ", 29.85),
        (NUMBER, "-1e3", -1000.0),
        (DATE, "1970-01-02", 1.0),
        (DATE, "2026-11-21T23:59:00+05:00", 20778.0),
        (SENIOR, 0, "0"),
        (SENIOR, True, "1"),
        (SENIOR, 1.0, "1"),
        (SENIOR, "yes", "1"),
        (PARTNER, "yes", "Yes"),
        (PARTNER, False, "No"),
        (PARTNER, "1", "Yes"),
        (CONTRACT, " Monthly ", "Monthly"),
        (CONTRACT, 2.0, "2"),
        (CITY, "Lima", "Lima"),
    ],
)
def test_a_value_is_read_by_the_type_of_its_column(column: Column, value: JsonValue, read: float | str) -> None:
    assert read_value(column, value) == read


@pytest.mark.parametrize("column", [NUMBER, DATE, SENIOR, CONTRACT, CITY])
@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_nothing_is_missing_in_a_column_of_any_type(column: Column, nothing: JsonValue) -> None:
    read = read_value(column, nothing)
    assert math.isnan(read) if isinstance(read, float) else read == ""


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (NUMBER, "many", "'many' is no number"),
        (NUMBER, True, "true is no number"),
        (NUMBER, "nan", "'nan' is no number"),
        (NUMBER, 1e39, "is no number"),
        (NUMBER, 10**400, "is no number"),
        (DATE, "21.11.2026", "'21.11.2026' is no date like '2026-11-21'"),
        (DATE, 20260101, "is no date"),
        (SENIOR, 2, "2 is none of '0', '1', true, false"),
        (PARTNER, "maybe", "'maybe' is none of 'No', 'Yes', true, false"),
        (CONTRACT, "Weekly", "'Weekly' is none of 'Monthly', 'Yearly', '2'"),
        (CONTRACT, "monthly", "'monthly' is none of"),
        (CONTRACT, ["Monthly"], "is no category"),
        (NUMBER, {"price": 1}, "is no number"),
    ],
)
def test_another_value_is_refused_by_name(column: Column, value: JsonValue, message: str) -> None:
    with pytest.raises(ValueProblem) as problem:
        read_value(column, value)
    assert message in str(problem.value)


def test_a_message_is_short_whatever_was_sent() -> None:
    many = Column(name="many", type="category", categories=tuple(map(str, range(500))))
    with pytest.raises(ValueProblem) as problem:
        read_value(many, "x" * 10_000)
    assert len(str(problem.value)) < 250
    assert "and 488 more" in str(problem.value)


def test_a_name_stands_once_among_columns_target_and_identifier() -> None:
    target = Column(name="churn", type="boolean", categories=("No", "Yes"))
    for columns, identifier in (((NUMBER, NUMBER), None), ((NUMBER,), "price"), ((target,), None)):
        with pytest.raises(ValidationError, match="stands more than once"):
            TablePreprocessing(columns=columns, target=target, target_shares=(0.7, 0.3), identifier=identifier)


def test_numbers_and_texts_keep_the_order_of_the_columns() -> None:
    target = Column(name="churn", type="boolean", categories=("No", "Yes"))
    table = TablePreprocessing(columns=(CITY, NUMBER, SENIOR, DATE), target=target, target_shares=(0.7, 0.3))
    assert table.numeric_columns == (NUMBER, DATE)
    assert table.text_columns == (CITY, SENIOR)
