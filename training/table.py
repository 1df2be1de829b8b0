"""A table to learn from: its columns, their types, and its rows as a network reads them.

Types are inferred from all values of a column:

- nothing in it, or always the same: dropped.
- ``boolean``: two words for false and true (``No``, ``Yes``; ``0``, ``1``).
- ``date``: days in ISO form.
- ``number``: numbers. Where a few values are none, they count as missing, and that is said.
- An identifier, a different value in each row, says nothing about the row: dropped.
- ``category``: everything else. It is ``open`` where some are seen too seldom to be learnt, or very many; these are
  left out of its categories, and so teach the network what an unknown category means.

Blank, ``NaN``, ``null`` and the like are missing values.
"""

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from sklearn.model_selection import train_test_split

from models.columns import MISSING, Column, TablePreprocessing, ValueProblem, read_value, write_number, write_text
from training.errors import DataError, SettingError
from training.leaks import find_leaks
from training.records import Texts, find_telco, read_records

log = logging.getLogger(__name__)

TELCO = "telco"
MIN_PER_CLASS = 10  # a split into five, and each training part once more into five, has both classes everywhere
RARE_ROWS = 5
MAX_CLOSED_CATEGORIES = 50
MAX_CATEGORIES = 1000
MAX_DISTINCT_SHARE = 0.5
MIN_NUMBER_SHARE = 0.9
MIN_MIXED_NUMBERS = 20

_BOOLEANS = (("no", "yes"), ("false", "true"), ("0", "1"), ("n", "y"), ("f", "t"))
_NEGATIVE = frozenset({"0", "-1", "no", "false", "n", "f"})
_POSITIVE = frozenset({"yes", "true", "y", "t"})
_NOTHING = frozenset({"", "nan", "null", "<na>", "#n/a"})
_NO_NUMBER = frozenset({"na", "n/a", "none", "?", "-", "--", ".", "missing", "unknown"})
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d+(\.\d+)?")
_IDENTIFIER = re.compile(r"(?i)(^|[^a-z])(id|uuid|guid|key|index|number|no|nr|code)$|(?-i:I[dD]$)|(?-i:Number$)")
_MAX_LISTED = 20


@dataclass(frozen=True)
class Table:
    """Rows of which it is known what came of them.

    ``numbers`` and ``texts`` are the graph's inputs, in the order of the numeric and of the other columns of
    ``preprocessing``; ``identifiers`` is empty where no column names rows. ``sha256`` digests all of it.
    """

    name: str
    source: str
    sha256: str
    preprocessing: TablePreprocessing
    numbers: NDArray[np.float32]  # (rows, numeric columns), NaN where missing
    texts: NDArray[np.object_]  # (rows, other columns), "" where missing
    targets: NDArray[np.int64]  # (rows,) of 0 and 1: which of the target's two words
    identifiers: Texts

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: NDArray[np.int64]) -> "Table":
        """The table with these rows alone; what is known of its columns stays that of all rows."""
        return replace(
            self,
            numbers=self.numbers[rows],
            texts=self.texts[rows],
            targets=self.targets[rows],
            identifiers=tuple(self.identifiers[row] for row in rows) if self.identifiers else (),
        )

    def record(self, row: int) -> dict[str, JsonValue]:
        """A row as a client would send it: numbers as the training table has them, null where a value is missing."""
        numbers, texts = iter(self.numbers[row].tolist()), iter(self.texts[row].tolist())
        return {
            column.name: write_number(column, next(numbers)) if column.is_numeric else write_text(next(texts))
            for column in self.preprocessing.columns
        }


def load_table(
    data: str,
    cache: Path,
    target: str,
    *,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    max_rows: int = 0,
    seed: int = 0,
) -> Table:
    """Read a table and infer its columns.

    Args:
        data: ``telco``, which is downloaded, or a CSV or Parquet file.
        cache: where downloads are kept.
        target: the column to predict, in any case; rows without it are left out.
        categorical: columns whose values are categories, whatever they look like.
        drop: columns to leave out.
        max_rows: use a share of the rows with the same mix of the target; 0: all.
        seed: decides which.

    Raises:
        DataError: the file cannot be read, or the table cannot be learnt from.
        SettingError: a named column is not there.
    """
    path = find_telco(cache) if data == TELCO else Path(data)
    columns, delimiter = read_records(path)
    target = _find_column("target", target, columns)
    categorical = [_find_column("categorical", name, columns) for name in categorical]
    drop = [_find_column("drop", name, columns) for name in drop]
    if target in drop:
        raise SettingError(f"drop: '{target}' is the target, expected other columns")
    columns = {name: _tidy(values, delimiter) for name, values in columns.items()}
    target_column, words = _read_target(path, target, columns.pop(target))
    rows = _choose_rows(path, target_column, words, max_rows, seed)
    columns = {name: tuple(values[row] for row in rows) for name, values in columns.items()}
    types, identifier, dropped = _infer_columns(columns, categorical, drop)
    if not types:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in dropped.items())
        raise DataError(f"data: '{path}' has no column to learn from ({reasons or 'it has the target alone'})")
    targets = np.array([words[row] for row in rows], dtype=np.int64)
    share = float(targets.mean())
    preprocessing = TablePreprocessing(
        columns=tuple(types),
        target=target_column,
        target_shares=(1 - share, share),
        identifier=identifier,
        dropped=dropped,
    )
    read = {column.name: _read_column(column, columns[column.name]) for column in types}
    _warn_of_leaks(target_column, read, targets)
    numeric, other = preprocessing.numeric_columns, preprocessing.text_columns
    table = Table(
        name=TELCO if data == TELCO else path.stem,
        source=f"IBM/telco-customer-churn-on-icp4d, {path.name}" if data == TELCO else path.name,
        sha256="",
        preprocessing=preprocessing,
        numbers=_stack([read[column.name] for column in numeric], len(rows), np.float32),
        texts=_stack([read[column.name] for column in other], len(rows), np.object_),
        targets=targets,
        identifiers=columns[identifier] if identifier else (),
    )
    return replace(table, sha256=_digest(table))


def describe_table(table: Table) -> str:
    """What was inferred, a line for each column."""
    facts = table.preprocessing
    share = facts.target_shares[1]
    lines = [
        f"{table.name}: {len(table):,} rows; '{facts.target.name}' is '{facts.target.categories[1]}' in {share:.1%}",
        *(f"  {column.name}: {_describe_column(column)}" for column in facts.columns),
        *([f"  {facts.identifier}: names the rows"] if facts.identifier else []),
        *(f"  {name}: dropped, {reason}" for name, reason in facts.dropped.items()),
    ]
    return "\n".join(lines)


def split_names(names: str) -> list[str]:
    """The columns that an option names, separated by commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


def _find_column(setting: str, name: str, columns: Mapping[str, Texts]) -> str:
    if name in columns:
        return name
    alike = [column for column in columns if column.lower() == name.lower()]
    if len(alike) != 1:
        raise SettingError(f"{setting}: no column '{name}', expected one of {_list(list(columns))}")
    return alike[0]


def _tidy(values: Texts, delimiter: str) -> Texts:
    """Values with one spelling of numbers and of nothing: "3.0" is "3" where all are whole, and commas are none."""
    values = tuple("" if value.lower() in _NOTHING else value for value in values)
    distinct = {value for value in values if value}
    if any("," in value for value in distinct):
        if delimiter == ";" and all(_DECIMAL_COMMA.fullmatch(value) for value in distinct):
            values = tuple(value.replace(",", ".") for value in values)
        elif all(_THOUSANDS.fullmatch(value) for value in distinct):
            values = tuple(value.replace(",", "") for value in values)
    numbers = {value for value in values if value and value.lower() not in _NO_NUMBER}
    if any("." in value for value in numbers) and all(
        _WHOLE.fullmatch(value) or value.isdecimal() for value in numbers
    ):
        values = tuple(_WHOLE.sub(r"\1", value) for value in values)
    return values


def _read_target(path: Path, name: str, values: Texts) -> tuple[Column, list[int | None]]:
    """The target's column, and for each row which of its two words; None where it has none."""
    spelling = _one_spelling(values)
    counts = Counter(spelling.get(value, value) for value in values if value)
    if len(counts) < 2:
        said = f"is always '{next(iter(counts))}'" if counts else "holds no value"
        raise DataError(f"data: '{path}': the target '{name}' {said}, expected two values")
    if len(counts) > 2:
        shown = _list([f"{word} ({count:,} rows)" for word, count in counts.most_common()])
        raise DataError(f"data: '{path}': the target '{name}' has {len(counts):,} values, expected two: {shown}")
    words = _order_target(counts)
    column = Column(name=name, type="boolean", categories=words, has_missing="" in values)
    return column, [words.index(spelling.get(value, value)) if value else None for value in values]


def _order_target(counts: Counter[str]) -> tuple[str, str]:
    """What did not happen and what did: by the words for false and true, else the rarer happened."""
    words = sorted(counts, key=lambda word: (-counts[word], word))
    negative = [word for word in words if word.lower() in _NEGATIVE]
    positive = [word for word in words if word.lower() in _POSITIVE]
    if len(negative) == 1:
        words.sort(key=lambda word: word not in negative)
    elif len(positive) == 1:
        words.sort(key=lambda word: word in positive)
    return words[0], words[1]


def _choose_rows(
    path: Path, target: Column, targets: Sequence[int | None], max_rows: int, seed: int
) -> NDArray[np.int64]:
    """The rows to use, in their order: those with a target, all or ``max_rows`` of them."""
    rows = np.array([row for row, value in enumerate(targets) if value is not None], dtype=np.int64)
    if len(rows) < len(targets):
        log.warning("%s: %d rows without '%s' are left out", path, len(targets) - len(rows), target.name)
    if max_rows and max_rows < len(rows):
        chosen, _ = train_test_split(
            rows, train_size=max_rows, stratify=[targets[row] for row in rows], random_state=seed
        )
        rows = np.sort(chosen)
    for place, word in enumerate(target.categories):
        count = sum(targets[row] == place for row in rows)
        if count < MIN_PER_CLASS:
            raise DataError(
                f"data: '{path}' is too small to split: '{target.name}' is '{word}' in {count} rows, expected "
                f"{MIN_PER_CLASS} or more"
            )
    return rows


def _infer_columns(
    columns: Mapping[str, Texts], categorical: Sequence[str], drop: Sequence[str]
) -> tuple[list[Column], str | None, dict[str, str]]:
    types: list[Column] = []
    dropped: dict[str, str] = {}
    identifiers: list[str] = []
    for name, values in columns.items():
        if name in drop:
            dropped[name] = "as asked"
            continue
        column = _infer_category(name, values) if name in categorical else _infer(name, values)
        if isinstance(column, Column):
            types.append(column)
        else:
            dropped[name] = column
            identifiers += [name] if column == "a different value in each row" else []
    named = [name for name in identifiers if _IDENTIFIER.search(name)] or identifiers
    identifier = named[0] if named else None
    if identifier is not None:
        del dropped[identifier]
    return types, identifier, dropped


def _infer(name: str, values: Texts) -> Column | str:
    """The column, or why it is left out."""
    present = Counter(value for value in values if value)
    if said := _find_sameness(present, len(values)):
        return said
    numbers = {value: count for value, count in present.items() if value.lower() not in _NO_NUMBER}
    words = _boolean_words(_one_spelling(tuple(numbers)).values())
    if words is not None:
        return Column(name=name, type="boolean", categories=words, has_missing=sum(numbers.values()) < len(values))
    if numbers and all(_is_day(value) for value in numbers):
        return _measure(Column(name=name, type="date"), numbers, values)
    numeric = {value: count for value, count in numbers.items() if _is_number(value)}
    if numeric and len(numeric) == len(numbers):
        if _counts_rows(name, numeric, len(values)):
            return "a different value in each row"
        return _measure(Column(name=name, type="number"), numeric, values)
    if len(numeric) >= MIN_MIXED_NUMBERS and sum(numeric.values()) >= MIN_NUMBER_SHARE * sum(numbers.values()):
        rest = [value for value in numbers if value not in numeric]
        log.warning("column '%s': %s count as missing: the others are numbers", name, _list(rest))
        return _measure(Column(name=name, type="number"), numeric, values)
    if len(present) == len(values):
        return "a different value in each row"
    if len(present) > max(MAX_CLOSED_CATEGORIES, MAX_DISTINCT_SHARE * sum(present.values())):
        return f"{len(present):,} different texts in {sum(present.values()):,} rows"
    return _infer_category(name, values)


def _infer_category(name: str, values: Texts) -> Column | str:
    present = Counter(value for value in values if value)
    if said := _find_sameness(present, len(values)):
        return said
    ordered = sorted(present, key=lambda value: (-present[value], value))
    frequent = [value for value in ordered if present[value] >= RARE_ROWS][:MAX_CATEGORIES]
    is_open = len(frequent) < len(ordered) or len(ordered) > MAX_CLOSED_CATEGORIES
    return Column(
        name=name,
        type="category",
        categories=tuple(frequent or ordered[:MAX_CATEGORIES]),
        open=is_open,
        has_missing="" in values,
    )


def _find_sameness(present: Counter[str], rows: int) -> str | None:
    """In what all rows are the same, if they are; ``present`` counts the values that are not missing."""
    if not present:
        return "holds no value"
    return f"always '{next(iter(present))}'" if len(present) == 1 and present.total() == rows else None


def _one_spelling(values: Texts) -> dict[str, str]:
    """For each value the most frequent spelling of the same word, if case is all that differs among few words."""
    counts = Counter(value for value in values if value)
    spelling: dict[str, str] = {}
    for value, _ in counts.most_common():
        spelling.setdefault(value.lower(), value)
    few = len(spelling) <= 2
    return {value: spelling[value.lower()] if few else value for value in counts}


def _boolean_words(values: Any) -> tuple[str, str] | None:
    words = {value.lower(): value for value in values}
    for false, true in _BOOLEANS:
        if set(words) == {false, true}:
            return words[false], words[true]
    return None


def _is_day(value: str) -> bool:
    if not _DAY.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_number(value: str) -> bool:
    try:
        read_value(Column(name="any", type="number"), value)
    except ValueProblem:
        return False
    return True


def _counts_rows(name: str, numbers: Mapping[str, int], rows: int) -> bool:
    """Whether whole numbers name the rows: all different, and called so or without a gap."""
    if len(numbers) < rows or not all(value.lstrip("+-").isdecimal() for value in numbers):
        return False
    whole = [int(value) for value in numbers]
    return max(whole) - min(whole) + 1 == rows or bool(_IDENTIFIER.search(name))


def _measure(column: Column, numbers: Mapping[str, int], values: Texts) -> Column:
    """The column with the range and the decimals of its numbers."""
    found = [float(read_value(column, value)) for value in numbers]
    exponents = (
        [Decimal(value).normalize().as_tuple().exponent for value in numbers] if column.type == "number" else [0]
    )
    decimals = max(-int(exponent) for exponent in exponents)
    return column.model_copy(
        update={
            "minimum": min(found),
            "maximum": max(found),
            "decimals": min(max(decimals, 0), 9),
            "has_missing": sum(numbers.values()) < len(values),
        }
    )


def _read_column(column: Column, values: Texts) -> NDArray[Any]:
    """(rows,) as the graph reads it; what inference set aside as no number is missing."""
    read: dict[str, float | str] = {}
    for value in set(values):
        try:
            read[value] = read_value(column, value)
        except ValueProblem:
            read[value] = math.nan if column.is_numeric else MISSING
    return np.array([read[value] for value in values], dtype=np.float64 if column.is_numeric else np.object_)


def _warn_of_leaks(target: Column, read: Mapping[str, NDArray[Any]], targets: NDArray[np.int64]) -> None:
    for name, area in find_leaks(list(read), list(read.values()), targets).items():
        log.warning(
            "column '%s' alone predicts '%s' almost perfectly (area under the ROC curve %.3f): if it is not known "
            "before, leave it out with --drop '%s'",
            name,
            target.name,
            area,
            name,
        )


def _stack(columns: list[NDArray[Any]], rows: int, dtype: Any) -> NDArray[Any]:
    return np.stack(columns, axis=1).astype(dtype) if columns else np.empty((rows, 0), dtype)


def _digest(table: Table) -> str:
    digest = hashlib.sha256(table.preprocessing.model_dump_json().encode())
    digest.update(table.numbers.tobytes() + table.targets.tobytes())
    digest.update("\x1f".join(table.texts.ravel().tolist()).encode())
    return digest.hexdigest()


def _describe_column(column: Column) -> str:
    if column.is_numeric:
        low, high = (write_number(column, bound) for bound in (column.minimum or 0.0, column.maximum or 0.0))
        text = f"{column.type}, {low} to {high}"
    else:
        text = f"{column.type}, {_list(column.categories)}" + (" and others" if column.open else "")
    return text + ("; some are missing" if column.has_missing else "")


def _list(words: Sequence[str]) -> str:
    shown = ", ".join(f"'{word}'" for word in words[:_MAX_LISTED])
    return shown + (f" and {len(words) - _MAX_LISTED:,} more" if len(words) > _MAX_LISTED else "")
