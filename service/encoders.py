"""Answers that are made part by part, while the predictions come: one class for each form of answer."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from service.exchange import JSON

Predictions = Sequence[Mapping[str, Any]]
Headers = Sequence[tuple[bytes, bytes]]


class Encoder(Protocol):
    """Makes the bytes of one answer: ``begin`` once, ``feed`` for each part of the predictions, ``finish`` once.

    What ``begin`` and all calls of ``feed`` and ``finish`` return, one behind the other, is the answer. Any of them may
    return nothing, where what it was given is still to be worked on.

    Up to ``quick_predictions`` are fed on the event loop, more at a time in a thread. That is as many as take about a
    millisecond; or any number, where the work holds the interpreter, so that in a thread it would keep others waiting
    all the same.
    """

    content_type: bytes
    headers: Headers
    quick_predictions: float

    def begin(self) -> bytes:
        """What stands before the predictions."""

    def feed(self, predictions: Predictions) -> bytes:
        """The next predictions."""

    def finish(self) -> bytes:
        """What stands behind the predictions."""


class JsonEncoder:
    """A JSON object: some members that are known at the start, then the predictions as a list.

    Args:
        members: what stands before the list.
        name: what the list is called.
    """

    content_type = JSON
    headers: Headers = ()
    quick_predictions: float = math.inf

    def __init__(self, members: Mapping[str, object], name: str) -> None:
        self._before = orjson.dumps({**members, name: []})[:-2]
        self._separator = b""

    def begin(self) -> bytes:
        """The members and the beginning of the list."""
        return self._before

    def feed(self, predictions: Predictions) -> bytes:
        """More of the list."""
        content = self._separator + orjson.dumps(predictions)[1:-1]
        self._separator = b","
        return content

    def finish(self) -> bytes:
        """The ends of the list and of the object."""
        return b"]}"


class CsvEncoder:
    """Comma-separated values with a header (RFC 4180). A value that is missing is nothing between two commas.

    Args:
        columns: the keys of every prediction, in their order.
        headers: of the answer, for what the table has no place for.
    """

    content_type = b"text/csv; charset=utf-8"
    quick_predictions: float = math.inf

    def __init__(self, columns: Sequence[str], headers: Headers) -> None:
        self.headers = headers
        self._columns = columns

    def begin(self) -> bytes:
        """The line of the columns' names."""
        return _write([self._columns])

    def feed(self, predictions: Predictions) -> bytes:
        """A line for each prediction."""
        return _write([list(prediction.values()) for prediction in predictions])

    def finish(self) -> bytes:
        """Nothing: the last line has its end."""
        return b""


def _write(lines: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
