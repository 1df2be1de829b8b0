"""How a row of a table becomes what a network reads. Training and service both call this, so they cannot differ.

A value is read by the type of its column:

- ``number``: a JSON number, or text that holds one (``"29.85"``, as a CSV has it).
- ``category``: text, or a number or truth value, which is read as the text that JSON writes for it (``0`` is ``"0"``).
- ``boolean``: a truth value, 0 or 1, or one of the column's own two words (``Yes``, ``No``), in any case.
- ``date``: ``2026-11-21``, or with a time behind it, which is ignored; it counts as days since 1970-01-01.

Nothing (null, blank text) is a missing value in a column of any type, and what it means is the graph's to say. So is
a category that training has not seen, where the column is ``open``; where it is not, such a category is an error.
"""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

MISSING: Final = ""
_EPOCH: Final = date(1970, 1, 1)
_LARGEST: Final = 3.4028234e38  # of float32
_MAX_SHOWN: Final = 60
_MAX_LISTED: Final = 12
_TRUE: Final = frozenset({"1", "1.0", "true", "yes", "y", "t"})
_FALSE: Final = frozenset({"0", "0.0", "false", "no", "n", "f"})


class ValueProblem(ValueError):  # noqa: N818  # one of possibly many, collected into one answer
    """A value that its column cannot take. The message names the value and what was expected."""


class Column(BaseModel):
    """A column of the table that a model was trained on.

    ``categories`` are the values of a ``category`` seen in training, the most frequent first, or the two words of a
    ``boolean``, false and true. ``open`` columns may take others: there are many, or rare ones, which are left out here
    and teach a network what a category means that it does not know. ``minimum`` and ``maximum`` are those of the
    training rows, and bound nothing. ``decimals`` is how many places behind the point numbers have; a date has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    type: Literal["number", "category", "boolean", "date"]
    categories: tuple[str, ...] = ()
    open: bool = False
    minimum: float | None = None
    maximum: float | None = None
    decimals: int = Field(default=0, ge=0, le=9)
    has_missing: bool = False

    @property
    def is_numeric(self) -> bool:
        """Whether the graph reads a number for it; for the others it reads text."""
        return self.type in ("number", "date")


class TablePreprocessing(BaseModel):
    """The facts that turn rows of a table into the graph's inputs; they travel in the manifest.

    The graph reads ``numbers``, float32 (batch, numeric columns), NaN where a value is missing, and ``texts``, strings
    (batch, other columns), each in the order of ``columns``; an input of no columns is not there. A boolean is one of
    its two words. ``target`` is what was learnt of a row, a boolean, and ``target_shares`` says how often training saw
    each of its two words; ``identifier`` names rows and says nothing about them; ``dropped`` has the columns that were
    left out, each with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field(min_length=1)
    target: Column
    target_shares: tuple[float, float]
    identifier: str | None = None
    dropped: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [column.name for column in (*self.columns, self.target)]
        names += [self.identifier] if self.identifier is not None else []
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"columns: '{name}' stands more than once")
        return self

    @property
    def numeric_columns(self) -> tuple[Column, ...]:
        """The columns that the graph reads as numbers."""
        return tuple(column for column in self.columns if column.is_numeric)

    @property
    def text_columns(self) -> tuple[Column, ...]:
        """The columns that the graph reads as text."""
        return tuple(column for column in self.columns if not column.is_numeric)


def read_value(column: Column, value: JsonValue) -> float | str:
    """What the graph reads for a value: a number, NaN where it is missing, or a text, empty where it is missing.

    Raises:
        ValueProblem: the column cannot take the value.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan if column.is_numeric else MISSING
    if isinstance(value, list | dict):
        # Not shown: what nests deeply cannot be written.
        raise ValueProblem(f"{'a list' if isinstance(value, list) else 'an object'} is no {column.type}")
    if column.type == "number":
        return _read_number(value)
    if column.type == "date":
        return _read_date(value)
    return _read_boolean(column, value) if column.type == "boolean" else _read_category(column, value)


def write_number(column: Column, value: float) -> JsonValue:
    """What ``read_value`` reads as ``value``: a number of as many decimals as the column has, a day, or null."""
    if math.isnan(value):
        return None
    if column.type == "date":
        return (_EPOCH + timedelta(days=round(value))).isoformat()
    return round(value, column.decimals) if column.decimals else round(value)


def write_text(text: str) -> JsonValue:
    """What ``read_value`` reads as ``text``: itself, a number where it is how JSON writes one, or null."""
    return int(text) if text.isdecimal() and str(int(text)) == text else text or None


def _read_number(value: JsonValue) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _LARGEST:
        raise ValueProblem(f"{_show(value)} is no number")
    return number


def _read_category(column: Column, value: JsonValue) -> str:
    text = value.strip() if isinstance(value, str) else _write(value)
    if not column.open and text not in column.categories:
        raise ValueProblem(f"{_show(value)} is none of {_list(column.categories)}")
    return text


def _read_boolean(column: Column, value: JsonValue) -> str:
    text = value.strip() if isinstance(value, str) else _write(value)
    if text in column.categories:
        return text
    word = text.lower()
    words = [category.lower() for category in column.categories]
    if word in words:
        return column.categories[words.index(word)]
    if word in _TRUE or word in _FALSE:
        return column.categories[word in _TRUE]
    raise ValueProblem(f"{_show(value)} is none of {_list(column.categories)}, true, false")


def _read_date(value: JsonValue) -> float:
    try:
        return float((datetime.fromisoformat(value.strip()).date() - _EPOCH).days)  # type: ignore[union-attr]
    except (AttributeError, ValueError) as error:
        raise ValueProblem(f"{_show(value)} is no date like '2026-11-21'") from error


def _write(value: JsonValue) -> str:
    """A number or a truth value as text: 0 and 0.0 are the same category."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else json.dumps(value)


def _show(value: JsonValue) -> str:
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _list(categories: tuple[str, ...]) -> str:
    shown = ", ".join(f"'{category}'" for category in categories[:_MAX_LISTED])
    return shown + (f" and {len(categories) - _MAX_LISTED} more" if len(categories) > _MAX_LISTED else "")
