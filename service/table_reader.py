"""Rows of a table, as JSON has them, become what a graph reads."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np

from models.columns import Column, TablePreprocessing, ValueProblem, read_value
from service.errors import Problem, UnprocessableError
from service.problems import MAX_PROBLEMS
from service.session import Row

# Numbers up to here are float32's whatever they are; read_value knows what is beyond.
_SURELY_FINITE: Final = 1e38
_MAX_NAME_CHARACTERS: Final = 60
_NUMBERS: Final = frozenset({int, float})

Record = Mapping[str, Any]


class TableReader:
    """Reads rows by :func:`models.columns.read_value`, and what is usual by a shorter way to the same.

    A row has every column. It may have the target too, the identifier and what training dropped; these are not read.

    Args:
        preprocessing: the columns.
    """

    def __init__(self, preprocessing: TablePreprocessing) -> None:
        self._columns = preprocessing.columns
        self._identifier = preprocessing.identifier
        self._numeric = preprocessing.numeric_columns
        self._other = preprocessing.text_columns
        self._get_numbers = _getter([column.name for column in self._numeric])
        self._get_texts = _getter([column.name for column in self._other])
        self._may_be_plain = all(column.type == "number" for column in self._numeric)
        self._usual = [_list_usual(column) for column in self._other]
        self._unread = [preprocessing.target.name, *preprocessing.dropped]
        if self._identifier is not None:
            self._unread.append(self._identifier)
        self._names = [column.name for column in preprocessing.columns] + self._unread

    def read(self, records: Sequence[Record], location: str) -> list[Row]:
        """The graph's inputs for each of ``records``, at least one: numbers, NaN where missing, and texts.

        Args:
            records: the rows.
            location: what a client calls their list.

        Raises:
            UnprocessableError: columns are missing or unknown, or values are none that their columns can take. It
                names the first problems of all rows.
        """
        numbers: list[Sequence[Any]] = []
        texts: list[Sequence[Any]] = []
        problems: list[Problem] = []
        for index, record in enumerate(records):
            try:
                numbers.append(self._read_numbers(self._get_numbers(record)))
                texts.append(self._read_texts(self._get_texts(record)))
                fits = self._has_no_more(record)
            except (KeyError, TypeError, ValueProblem, RecursionError):  # a list cannot be looked up, nor always shown
                fits = False
            if not fits:
                problems += self._find_problems(record, f"{location}[{index}]", MAX_PROBLEMS - len(problems))
                if len(problems) >= MAX_PROBLEMS:
                    break
        if problems:
            raise UnprocessableError(problems)
        arrays: list[Any] = [np.array(numbers, np.float32)] if self._numeric else []
        arrays += [np.array(texts, object)] if self._other else []
        return list(zip(*arrays, strict=True))

    def _read_numbers(self, values: Sequence[Any]) -> Sequence[Any]:
        plain = self._may_be_plain and _NUMBERS.issuperset(map(type, values))
        if plain and max(map(abs, values), default=0) <= _SURELY_FINITE:
            return values
        return [read_value(column, value) for column, value in zip(self._numeric, values, strict=True)]

    def _read_texts(self, values: Sequence[Any]) -> Sequence[Any]:
        texts: list[str | None] = list(map(dict.get, self._usual, values))
        if None not in texts:
            return texts
        return [
            read_value(column, value) if text is None else text
            for column, value, text in zip(self._other, values, texts, strict=True)
        ]

    def _has_no_more(self, record: Record) -> bool:
        """Whether a row that has all columns has nothing beside them but what is not read."""
        if self._identifier is not None and isinstance(record.get(self._identifier), list | dict | bool):
            return False
        unread = sum(name in record for name in self._unread)
        return len(record) == len(self._columns) + unread

    def _find_problems(self, record: Record, location: str, limit: int) -> list[Problem]:
        """What is wrong with a row, by the order of the table's columns and then of the row."""
        problems: list[Problem] = []
        for column in self._columns:
            if column.name not in record:
                problems.append((f"{location}.{column.name}", "missing; null says that there is no value"))
                continue
            value = record[column.name]
            if isinstance(value, list | dict):  # which may be nested too deeply to be shown
                found = "a list" if isinstance(value, list) else "an object"
                problems.append((f"{location}.{column.name}", f"{found} is no {column.type}"))
                continue
            try:
                read_value(column, value)
            except ValueProblem as problem:
                problems.append((f"{location}.{column.name}", str(problem)))
        if self._identifier is not None and isinstance(record.get(self._identifier), list | dict | bool):
            problems.append((f"{location}.{self._identifier}", "is no text and no number"))
        for name in record:
            if len(problems) >= limit:
                break
            if name not in self._names:
                problems.append((f"{location}.{_cut(name)}", self._suggest(name)))
        return problems[:limit]

    def _suggest(self, name: str) -> str:
        close = difflib.get_close_matches(_cut(name), self._names, n=1)
        return f"unknown, did you mean '{close[0]}'?" if close else "unknown, the model has no such column"


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME_CHARACTERS else name[:_MAX_NAME_CHARACTERS] + "…"


def _getter(names: Sequence[str]) -> Callable[[Record], Sequence[Any]]:
    """What gives the values of columns as a sequence, however many there are."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: [record[name] for name in names]


def _list_usual(column: Column) -> dict[Any, str]:
    """The values of a column that need no further look, with what is read for them.

    Python takes 0, 0.0 and False for the same key. They mean the same in a boolean of 0 and 1; everywhere else numbers
    and truth values are left to read_value.
    """
    usual: dict[Any, str] = {category: category for category in column.categories}
    return usual | {0: "0", 1: "1"} if column.type == "boolean" and column.categories == ("0", "1") else usual
