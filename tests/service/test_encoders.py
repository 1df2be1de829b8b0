"""Answers made in parts are those made at once."""

import csv
import io

import orjson
import pytest

from service.encoders import CsvEncoder, Encoder, JsonEncoder

ROWS = [
    {"a": number, 'b "x", y': text} for number, text in enumerate(["", "plain", "a,b", 'say "no"', "two\nlines", "ü"])
]
ROWS += [{"a": None, 'b "x", y': None}, {"a": 0.1, 'b "x", y': True}]


def encode(encoder: Encoder, size: int) -> bytes:
    parts = [ROWS[start : start + size] for start in range(0, len(ROWS), size)]
    return encoder.begin() + b"".join(encoder.feed(part) for part in parts) + encoder.finish()


@pytest.mark.parametrize("size", [1, 3, 8])
def test_json_has_its_members_and_all_rows(size: int) -> None:
    members = {"model": "x", "seed": None}
    assert orjson.loads(encode(JsonEncoder(members, "rows"), size)) == {**members, "rows": ROWS}


@pytest.mark.parametrize("size", [1, 3, 8])
def test_csv_is_what_a_reader_of_it_expects(size: int) -> None:
    content = encode(CsvEncoder(list(ROWS[0]), []), size).decode()
    assert content.count("\r\n") == len(ROWS) + 1
    lines = list(csv.reader(io.StringIO(content, newline="")))
    assert lines == [list(ROWS[0]), *(["" if value is None else str(value) for value in row.values()] for row in ROWS)]
