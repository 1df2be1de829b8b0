"""Tables as they are in real life become columns with types, or are refused by name."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.columns import Column, read_value
from tests.training.churn.customers import TELCO, write_csv, write_customers
from training import records
from training.errors import DataError, SettingError, TrainingError
from training.table import Table, describe_table, load_table, split_names

ROWS = 60

Values = Callable[[int], object]


def table_of(folder: Path, target: Values | None = None, *, delimiter: str = ",", **columns: Values) -> Path:
    """A CSV with these columns, by row, and a target that is Yes in every third row."""
    churn = target or (lambda row: "Yes" if row % 3 == 0 else "No")
    rows = [{name: of(row) for name, of in {**columns, "Churn": churn}.items()} for row in range(ROWS)]
    return write_csv(folder / "table.csv", rows, delimiter)


def load(path: Path, **options: Any) -> Table:
    return load_table(str(path), path.parent, options.pop("target", "Churn"), **options)


def column_of(folder: Path, values: Values, **options: Any) -> Column:
    """What is inferred of a column with these values."""
    table = load(table_of(folder, it=values, filler=lambda row: row * 0.37), **options)
    return {column.name: column for column in table.preprocessing.columns}["it"]


def test_the_telco_customers_have_the_types_that_they_should() -> None:
    table = load(TELCO)
    types = {column.name: column.type for column in table.preprocessing.columns}
    assert types["tenure"] == types["MonthlyCharges"] == types["TotalCharges"] == "number"
    assert types["SeniorCitizen"] == types["Partner"] == "boolean"
    assert types["Contract"] == types["gender"] == types["MultipleLines"] == "category"
    assert len(types) == 19
    assert table.preprocessing.identifier == "customerID"
    assert table.preprocessing.target.categories == ("No", "Yes")
    assert table.preprocessing.target_shares[1] == pytest.approx(19 / 72)
    total = next(column for column in table.preprocessing.columns if column.name == "TotalCharges")
    assert total.has_missing
    assert total.decimals == 2
    assert np.isnan(table.numbers).sum() == 4


def test_a_row_reads_from_its_record_as_it_stands_in_the_table(tmp_path: Path) -> None:
    for path, target in ((TELCO, "Churn"), (write_customers(tmp_path / "customers.csv"), "Exited")):
        table = load(path, target=target)
        for row in range(len(table)):
            record = table.record(row)
            read = [read_value(column, record[column.name]) for column in table.preprocessing.columns]
            numbers = np.array([value for value in read if not isinstance(value, str)], np.float32)
            assert np.array_equal(numbers, table.numbers[row], equal_nan=True)
            assert [value for value in read if isinstance(value, str)] == table.texts[row].tolist()


def test_a_number_with_blanks_is_a_number(tmp_path: Path) -> None:
    column = column_of(tmp_path, lambda row: " " if row % 7 == 0 else f" {row * 1.25} ")
    assert (column.type, column.has_missing, column.decimals) == ("number", True, 2)
    assert (column.minimum, column.maximum) == (1.25, 73.75)


@pytest.mark.parametrize("nothing", ["", "NaN", "null", "NA", "n/a", "?", "None", "unknown"])
def test_what_says_nothing_among_numbers_is_missing(tmp_path: Path, nothing: str) -> None:
    column = column_of(tmp_path, lambda row: nothing if row % 9 == 0 else row % 13)
    assert (column.type, column.has_missing) == ("number", True)


def test_a_few_words_among_numbers_are_missing_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    column = column_of(tmp_path, lambda row: "lots" if row == 30 else row * 3)
    assert (column.type, column.has_missing) == ("number", True)
    assert "column 'it': 'lots' count as missing" in caplog.text


def test_many_words_among_numbers_make_categories(tmp_path: Path) -> None:
    column = column_of(tmp_path, lambda row: ("1", "2", "more")[row % 3])
    assert column.type == "category"
    assert set(column.categories) == {"1", "2", "more"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("no", "yes"), ("no", "yes")),
        (("TRUE", "FALSE"), ("FALSE", "TRUE")),
        (("1", "0"), ("0", "1")),
        (("1.0", "0.0"), ("0", "1")),
        (("Y", "N", ""), ("N", "Y")),
        (("Yes", "yes", "NO"), ("NO", "Yes")),
    ],
)
def test_two_words_for_true_and_false_are_a_boolean(
    tmp_path: Path, values: tuple[str, ...], words: tuple[str, ...]
) -> None:
    column = column_of(tmp_path, lambda row: values[(row * 7 // 2) % len(values)])
    assert (column.type, column.categories) == ("boolean", words)


def test_two_other_words_are_categories_the_frequent_first(tmp_path: Path) -> None:
    column = column_of(tmp_path, lambda row: "Male" if row % 4 else "Female")
    assert (column.type, column.categories, column.open) == ("category", ("Male", "Female"), False)


def test_days_are_dates_and_count_from_1970(tmp_path: Path) -> None:
    column = column_of(tmp_path, lambda row: f"2024-01-{row % 28 + 1:02}T08:30:00")
    assert (column.type, column.minimum, column.decimals) == ("date", 19723.0, 0)


def test_whole_numbers_are_categories_where_one_says_so(tmp_path: Path) -> None:
    assert column_of(tmp_path, lambda row: row % 4).type == "number"
    column = column_of(tmp_path, lambda row: f"{row % 4}.0", categorical=["IT"])
    assert (column.type, column.categories) == ("category", ("0", "1", "2", "3"))
    assert read_value(column, 3.0) == read_value(column, 3) == read_value(column, "3") == "3"


def test_rare_categories_open_a_column_and_teach_what_unknown_means(tmp_path: Path) -> None:
    column = column_of(tmp_path, lambda row: "ab"[row % 2] if row > 1 else "rare")
    assert column.open
    assert column.categories == ("a", "b")
    assert read_value(column, "never seen") == "never seen"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (lambda row: "", "holds no value"),
        (lambda row: "NaN", "holds no value"),
        (lambda row: "same", "always 'same'"),
        (lambda row: f"comment number {row // 1.1}", "54 different texts in 60 rows"),
    ],
)
def test_a_column_that_says_nothing_is_dropped_with_the_reason(tmp_path: Path, values: Values, reason: str) -> None:
    table = load(table_of(tmp_path, it=values, filler=lambda row: row * 0.37))
    assert table.preprocessing.dropped == {"it": reason}
    assert f"it: dropped, {reason}" in describe_table(table)


@pytest.mark.parametrize("values", [lambda row: f"C-{row}", lambda row: 1000 + row, lambda row: (row * 7919) % 100003])
def test_an_identifier_names_the_rows_and_is_no_column(tmp_path: Path, values: Values) -> None:
    table = load(table_of(tmp_path, customer_id=values, filler=lambda row: row * 0.37))
    assert table.preprocessing.identifier == "customer_id"
    assert table.identifiers[3] == str(values(3))
    assert [column.name for column in table.preprocessing.columns] == ["filler"]


def test_numbers_that_differ_in_every_row_are_no_identifier(tmp_path: Path) -> None:
    assert column_of(tmp_path, lambda row: row * row + 10).type == "number"


def test_columns_are_dropped_as_asked(tmp_path: Path) -> None:
    path = table_of(tmp_path, it=lambda row: row % 5, filler=lambda row: row * 0.37)
    assert load(path, drop=split_names(" it, ")).preprocessing.dropped == {"it": "as asked"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_quotes_delimiters_and_spaces_are_understood(tmp_path: Path, delimiter: str) -> None:
    path = table_of(
        tmp_path,
        delimiter=delimiter,
        city=lambda row: ("Paris, France", "Rome; Italy", ' "Bonn"')[row % 3],
        price=lambda row: row * 0.5,
    )
    columns = load(path).preprocessing.columns
    assert [column.type for column in columns] == ["category", "number"]
    assert set(columns[0].categories) == {"Paris, France", "Rome; Italy", '"Bonn"'}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    path = table_of(tmp_path, größe=lambda row: row * 0.5)
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert load(path).preprocessing.columns[0].name == "größe"


def test_decimal_commas_and_thousands_are_numbers(tmp_path: Path) -> None:
    european = table_of(tmp_path, delimiter=";", it=lambda row: f"{row},25")
    assert load(european).preprocessing.columns[0].maximum == 59.25
    american = table_of(tmp_path, it=lambda row: f"{row + 1},000.5")
    assert load(american).preprocessing.columns[0].maximum == 60000.5


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (("0", "1"), ("0", "1")),
        (("1", "0"), ("0", "1")),
        (("No", "Yes"), ("No", "Yes")),
        (("True", "False"), ("False", "True")),
        (("-1", "1"), ("-1", "1")),
        (("Stayed", "Churned"), ("Stayed", "Churned")),
        (("1.0", "2.0"), ("1", "2")),
    ],
)
def test_a_target_says_yes_by_its_words_or_by_the_rarer_one(
    tmp_path: Path, words: tuple[str, str], order: tuple[str, str]
) -> None:
    path = table_of(tmp_path, lambda row: words[row % 3 == 0], it=lambda row: row % 7)
    table = load(path)
    assert table.preprocessing.target.categories == order
    assert table.targets.tolist() == [order.index(words[row % 3 == 0].removesuffix(".0")) for row in range(ROWS)]


def test_rows_without_a_target_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table_of(tmp_path, lambda row: "" if row < 4 else "Yes" if row % 3 else "No", it=lambda row: row % 7)
    assert len(load(path)) == ROWS - 4
    assert "4 rows without 'Churn' are left out" in caplog.text


def test_some_of_the_rows_have_the_same_mix_of_the_target(tmp_path: Path) -> None:
    table = load(write_customers(tmp_path / "customers.csv"), target="exited", max_rows=100)
    whole = load(tmp_path / "customers.csv", target="Exited")
    assert len(table) == 100
    assert table.targets.mean() == pytest.approx(whole.targets.mean(), abs=0.01)


def test_a_column_that_knows_the_answer_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table_of(
        tmp_path,
        score=lambda row: (80 if row % 3 == 0 else 20) + row % 11,
        reason=lambda row: ("price", "service")[row % 2] if row % 3 == 0 else "",
        honest=lambda row: row % 7,
    )
    load(path)
    assert "column 'score' alone predicts 'Churn' almost perfectly" in caplog.text
    assert "column 'reason' alone" in caplog.text
    assert "honest" not in caplog.text


def test_the_telco_customers_have_no_leak(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(TELCO)
    assert caplog.text == ""


def test_parquet_reads_as_the_same_csv_does(tmp_path: Path) -> None:
    path = write_customers(tmp_path / "customers.csv")
    raw, _ = records.read_records(path)
    typed: dict[str, pa.Array] = {name: pa.array(values) for name, values in raw.items()}
    for name, kind in (("Months", pa.int32()), ("Exited", pa.float64())):
        typed[name] = pa.array(raw[name]).cast(kind)
    typed["Price"] = pa.array([float(value) if value else None for value in raw["Price"]], pa.float32())
    typed["Joined"] = pa.array(raw["Joined"]).cast(pa.timestamp("ms"))
    typed["Mail"] = pa.array([value == "yes" if value else None for value in raw["Mail"]])
    typed["City"] = pa.array(raw["City"]).dictionary_encode()
    pq.write_table(pa.table(typed), tmp_path / "customers.parquet")
    csv_table, parquet_table = (
        load(tmp_path / name, target="Exited") for name in ("customers.csv", "customers.parquet")
    )
    assert np.array_equal(csv_table.numbers, parquet_table.numbers, equal_nan=True)
    assert np.array_equal(csv_table.targets, parquet_table.targets)
    assert csv_table.identifiers == parquet_table.identifiers
    types = [
        [(column.name, column.type, column.decimals) for column in table.preprocessing.columns]
        for table in (csv_table, parquet_table)
    ]
    assert types[0] == types[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,Churn\n", "has a header and no rows"),
        ("a Churn\n1 Yes\n", "has one column, 'a Churn'; expected fields separated by a comma"),
        ("a,b,a,Churn\n1,2,3,Yes\n", "column 'a' stands twice, as number 1 and 3"),
        ("a,b,Churn\n1,2,Yes\n1,2,3,No\n", "line 3: 4 fields, expected 3"),
        ('a,Churn\n1,"Yes\n', "line 2: unexpected end of data"),
    ],
)
def test_a_csv_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.csv") as error:
        load(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ort,Churn\nKöln,Yes\n".encode("latin-1"), "line 2: byte 0xf6 is no utf-8 text"),
        (b"PK\x03\x04a\0b,c", "holds a zero byte"),
    ],
)
def test_another_encoding_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(path)


def test_a_broken_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load(tmp_path / "broken.parquet")
    with pytest.raises(DataError, match="is no file; expected 'telco'"):
        load(tmp_path / "nowhere.csv")
    pq.write_table(pa.table({"list": [[1], [2]], "Churn": ["Yes", "No"]}), tmp_path / "nested.parquet")
    with pytest.raises(DataError, match="row 1: 'list' holds list"):
        load(tmp_path / "nested.parquet")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda row: "Yes", "the target 'Churn' is always 'Yes'"),
        (lambda row: "", "the target 'Churn' holds no value"),
        (lambda row: ("Yes", "No", "Maybe")[row % 3], "has 3 values, expected two: 'Yes (20 rows)'"),
        (lambda row: "Yes" if row < 3 else "No", "too small to split: 'Churn' is 'Yes' in 3 rows, expected 10 or more"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(tmp_path: Path, target: Values, message: str) -> None:
    with pytest.raises(DataError) as error:
        load(table_of(tmp_path, target, it=lambda row: row % 7))
    assert message in str(error.value)


def test_a_table_without_a_usable_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column to learn from \\('it': always '1'\\)"):
        load(table_of(tmp_path, it=lambda row: 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "Left"}, "target: no column 'Left', expected one of 'it', 'Churn'"),
        ({"drop": ["That"]}, "drop: no column 'That'"),
        ({"categorical": ["That"]}, "categorical: no column 'That'"),
        ({"drop": ["Churn"]}, "drop: 'Churn' is the target"),
    ],
)
def test_a_column_that_is_not_there_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load(table_of(tmp_path, it=lambda row: row % 7), **options)


def test_another_file_under_the_name_of_the_telco_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / records.TELCO_FILE).write_bytes(TELCO.read_bytes())
    with pytest.raises(TrainingError, match=f"expected {records.TELCO_SHA256}"):
        load_table("telco", tmp_path, "Churn")
