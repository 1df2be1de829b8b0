"""A CSV or Parquet file as columns of text, so that both are read the same way from there on."""

import csv
import hashlib
import io
import urllib.error
import urllib.request
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError

Texts = tuple[str, ...]

TELCO_FILE = "Telco-Customer-Churn.csv"
TELCO_ADDRESS = f"https://raw.githubusercontent.com/IBM/telco-customer-churn-on-icp4d/master/data/{TELCO_FILE}"
TELCO_SHA256 = "16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91"

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
PARQUET_SUFFIXES = (".parquet", ".pq")
TIMEOUT_SECONDS = 60
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LINES_TRIED = 50
_MAX_SHOWN = 60


def find_telco(cache: Path) -> Path:
    """The file of IBM's Telco customers, from ``cache`` or else downloaded to it.

    Raises:
        DataError: it cannot be downloaded, or it is another file than the one that this project was measured on.
    """
    path = cache / TELCO_FILE
    if not path.is_file():
        try:
            with urllib.request.urlopen(TELCO_ADDRESS, timeout=TIMEOUT_SECONDS) as answer:
                content = answer.read()
        except (urllib.error.URLError, TimeoutError) as error:
            raise DataError(f"data: {TELCO_ADDRESS} cannot be downloaded ({error}); put it at '{path}'") from error
        _check_digest(content, TELCO_ADDRESS)
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(path)
    _check_digest(path.read_bytes(), str(path))
    return path


def read_records(path: Path) -> tuple[dict[str, Texts], str]:
    """The columns of a file, by name: values as text without spaces around, empty where there is none.

    A CSV is UTF-8 (or UTF-16 with its mark), with a header, separated by a comma, semicolon, tab or bar, whichever
    splits its first lines into the most fields. Numbers of a Parquet file are written as briefly as they can be, dates
    in ISO form. A column without a name is called by its place, "column 3".

    Returns:
        The columns, and the delimiter ("" of a Parquet file).

    Raises:
        DataError: the file cannot be read, has no rows, a column stands twice, or a line has too many or few fields.
    """
    if not path.is_file():
        raise DataError(f"data: '{path}' is no file; expected 'telco', or a CSV or Parquet file")
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return _read_parquet(path), ""
    return _read_csv(path)


def _check_digest(content: bytes, what: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != TELCO_SHA256:
        raise DataError(f"data: sha256 of {what} is {found}, expected {TELCO_SHA256}")


def _read_csv(path: Path) -> tuple[dict[str, Texts], str]:
    text = _decode(path)
    delimiter = _find_delimiter(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    header: list[str] = []
    try:
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            if not header:
                header = row
            elif len(row) != len(header):
                line = reader.line_num
                raise DataError(
                    f"data: '{path}', line {line}: {len(row)} fields, expected {len(header)} as in the header"
                )
            else:
                rows.append([value.strip() for value in row])
    except csv.Error as error:
        raise DataError(f"data: '{path}', line {reader.line_num}: {error}") from error
    columns = zip(*rows, strict=True) if rows else ()
    return _name_columns(path, header, list(columns)), delimiter


def _decode(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"data: '{path}' cannot be read: {error.strerror}") from error
    encoding = _BYTE_ORDER_MARKS.get(content[:2], "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"data: '{path}', line {line}: byte 0x{content[error.start]:02x} is no {encoding.removesuffix('-sig')} "
            f"text; expected a CSV in UTF-8, or a Parquet file named *.parquet"
        ) from error
    if "\0" in text:
        raise DataError(f"data: '{path}' is no text: it holds a zero byte; expected a CSV, or a file named *.parquet")
    return text


def _find_delimiter(path: Path, text: str) -> str:
    """What splits the first lines into the most fields, all into as many."""
    lines = "\n".join([line for line in text.splitlines() if line.strip()][:_LINES_TRIED])
    if not lines:
        raise DataError(f"data: '{path}' is empty, expected a header and rows")

    def fields(delimiter: str) -> tuple[bool, int]:
        counts = [len(row) for row in csv.reader(io.StringIO(lines), delimiter=delimiter, skipinitialspace=True)]
        return len(set(counts[:-1])) <= 1 and counts[0] > 1, counts[0]

    best = max(DELIMITERS, key=fields)
    if fields(best)[1] < 2:
        raise DataError(
            f"data: '{path}' has one column, '{lines.splitlines()[0][:_MAX_SHOWN]}'; expected fields separated by "
            f"{', '.join(DELIMITERS.values())}"
        )
    return best


def _name_columns(path: Path, header: list[str], columns: list[Texts]) -> dict[str, Texts]:
    names = [name.strip() or f"column {place}" for place, name in enumerate(header, start=1)]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise DataError(
                f"data: '{path}': column '{name}' stands twice, as number {names.index(name) + 1} and {place + 1}"
            )
    if not columns:
        raise DataError(f"data: '{path}' has a header and no rows")
    return dict(zip(names, columns, strict=True))


def _read_parquet(path: Path) -> dict[str, Texts]:
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"data: '{path}' cannot be read as Parquet: {error}") from error
    if not table.num_columns:
        raise DataError(f"data: '{path}' has no columns")
    names = [str(name) for name in table.column_names]
    columns = [_write_column(path, name, column) for name, column in zip(names, table.columns, strict=True)]
    return _name_columns(path, names, columns if table.num_rows else [])


def _write_column(path: Path, name: str, column: Any) -> Texts:
    written: dict[Any, str] = {}
    texts = []
    # What is 0.1 in single precision shall be written so, not by the digits that double precision gives it.
    single = pa.types.is_float32(column.type) or pa.types.is_float16(column.type)
    values = column.cast(pa.string()).cast(pa.float64()) if single else column
    for row, value in enumerate(values.to_pylist(), start=1):
        if isinstance(value, dict | list | bytes):
            raise DataError(
                f"data: '{path}', row {row}: '{name}' holds {type(value).__name__}, expected a number, text or date"
            )
        key = (type(value), value)
        if key not in written:
            written[key] = _write(value)
        texts.append(written[key])
    return tuple(texts)


def _write(value: object) -> str:
    """As a CSV has it: 1.0 is "1", a truth value "true" or "false", a moment its day."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, date):
        return value.isoformat()[:10]
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return str(value).strip()
