"""A log of predictions, for audits: a share of them, one JSON object a line, in files that do not grow without bound.

Off unless a file is named. A record is put into memory on the way of its request, and everything else is done by a
thread of low priority; what that thread cannot keep up with is lost and counted, and no request waits or fails.
Several processes may write to one file: each writes whole lines under a lock of the file's, and opens it again where
another one or ``logrotate`` has moved it away.

What was sent is in it only where the settings ask for it, and neither are those members of a prediction that repeat
it, such as a customer's identifier or the tokens of a text.
"""

import base64
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import random
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from models.manifest import Manifest
from service.bodies import Body
from service.config import PREFIX, Settings, SettingsError
from service.exchange import Exchange
from service.kinds import KINDS, DecidingKind
from service.logs import Clock
from service.metrics import Metrics
from service.priority import LOW, lower_priority
from service.session import Row

FLUSH_SECONDS: Final = 0.2
_MAX_WAITING: Final = 4096
_MAX_WAITING_BYTES: Final = 64 * 2**20
_MAX_OUTPUT_ELEMENTS: Final = 1024
_MODE: Final = 0o600

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """A request that was answered with predictions."""

    time: float  # since the epoch
    request_id: str
    route: str
    manifest: Manifest
    seconds: float
    answer: bytes | None  # the JSON of the predictions
    results: Sequence[Row] | None  # or the graph's outputs for each row
    body: Body | None  # where inputs are kept

    @property
    def size_bytes(self) -> int:
        """The memory that its largest parts take, about."""
        results = sum(getattr(value, "nbytes", 0) for row in self.results or () for value in row)
        return len(self.answer or b"") + len(self.body.content if self.body else b"") + results


class Audit:
    """Takes records, and writes them to a file by a thread of its own.

    Args:
        path: the file. The older ones are ``<path>.1``, ``<path>.2`` and so on.
        settings: the share, the bounds of the files, and whether inputs are kept.
        metrics: is told of what became of the records.
    """

    def __init__(self, path: Path, settings: Settings, metrics: Metrics) -> None:
        self._share = settings.audit_share
        self._keeps_inputs = settings.audit_inputs
        self._file = _RotatedFile(path, settings.audit_max_bytes, settings.audit_files)
        self._metrics = metrics
        self._clock = Clock()
        self._waiting: deque[Record] = deque()
        # Each is counted up by one thread alone, so that there is no lock between them.
        self._taken_bytes = self._done_bytes = 0
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._failing = False
        for outcome in ("written", "dropped", "failed"):
            metrics.audit(outcome, 0)
        self._thread = threading.Thread(target=self._write_regularly, name="audit", daemon=True)
        self._thread.start()

    def offer(
        self,
        exchange: Exchange,
        route: str,
        manifest: Manifest,
        body: Body,
        answer: bytes | None = None,
        results: Sequence[Row] | None = None,
    ) -> None:
        """A request that was answered, from the event loop; it is kept if it is one of the share and there is room."""
        if self._share < 1 and random() >= self._share:  # noqa: S311  # no secret
            return
        kept_body = body if self._keeps_inputs else None
        seconds = time.perf_counter() - exchange.began
        record = Record(time.time(), exchange.request_id, route, manifest, seconds, answer, results, kept_body)
        size = record.size_bytes
        if len(self._waiting) >= _MAX_WAITING or self._taken_bytes - self._done_bytes + size > _MAX_WAITING_BYTES:
            self._metrics.audit("dropped", 1)
            return
        self._taken_bytes += size
        self._waiting.append(record)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what waits."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def _write_regularly(self) -> None:
        lower_priority(LOW)
        while not self._closed.is_set():
            self._wake.wait()
            self._closed.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._write_waiting()
        self._file.close()

    def _write_waiting(self) -> None:
        while self._waiting:
            records = [self._waiting.popleft() for _ in range(min(len(self._waiting), 256))]
            lines = [
                orjson.dumps(self._describe(record), option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for record in records
            ]
            written = 0
            try:
                for group in self._file.group(lines):
                    self._file.append(b"".join(group))
                    written += len(group)
            except OSError as error:
                self._tell(error)
            else:
                self._tell(None)
            self._done_bytes += sum(record.size_bytes for record in records)
            self._metrics.audit("written", written)
            self._metrics.audit("failed", len(lines) - written)

    def _tell(self, error: OSError | None) -> None:
        """Say in the log that the file cannot be written any more, or that it can be again; each once."""
        if error is not None and not self._failing:
            logger.error("audit log %s: cannot be written, records are lost: %s", self._file.path, error.strerror)
        elif error is None and self._failing:
            logger.info("audit log %s: is written again", self._file.path)
        self._failing = error is not None

    def _describe(self, record: Record) -> dict[str, object]:
        manifest = record.manifest
        line: dict[str, object] = {
            "time": self._clock.format(record.time),
            "request_id": record.request_id,
            "route": record.route,
            "model": manifest.kind,
            "version": str(manifest.version),
            "duration_ms": round(record.seconds * 1e3, 3),
        }
        if record.answer is not None:
            line["predictions"] = _choose_members(manifest.kind, record.answer)
        if record.results is not None:
            line["rows"] = len(record.results)
            line |= _describe_outputs(manifest, record.results)
        if record.body is not None:
            line["input"] = _describe_body(record.body)
        return line


class _RotatedFile:
    """A file that several processes append lines to, and that is put aside when it is full."""

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._files = files
        self._number: int | None = None

    def group(self, lines: Sequence[bytes]) -> list[list[bytes]]:
        """``lines`` in groups that fit into a file each; a longer line stands alone."""
        groups: list[list[bytes]] = []
        size = 0
        for line in lines:
            if not groups or size + len(line) > self._max_bytes:
                groups.append([])
                size = 0
            groups[-1].append(line)
            size += len(line)
        return groups

    def append(self, content: bytes) -> None:
        """Write ``content`` as a whole, or nothing of it.

        Raises:
            OSError: it cannot be written.
        """
        number = self._lock()
        try:
            size = os.fstat(number).st_size
            if size and size + len(content) > self._max_bytes:
                self._rotate()
                self.close()
                number = self._lock()
                size = os.fstat(number).st_size
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(number, rest) :]
            except OSError:
                _cut(number, size)
                raise
        finally:
            if self._number is not None:
                fcntl.flock(self._number, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def _lock(self) -> int:
        """The number of the file that is at the path now, which no other process writes to until it is unlocked."""
        while True:
            if self._number is None:
                self._number = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            fcntl.flock(self._number, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(self._number), self.path.stat()):
                    return self._number
            except FileNotFoundError:
                pass  # it was moved away, and nobody has made another yet
            self.close()

    def _rotate(self) -> None:
        for age in range(self._files - 1, 0, -1):
            older = self._name(age)
            if older.exists():
                older.replace(self._name(age + 1))
        self.path.replace(self._name(1))

    def _name(self, age: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{age}")


def check_audit(settings: Settings) -> None:
    """Find out whether the file of the settings can be written, if there is to be one.

    Raises:
        SettingsError: it cannot.
    """
    path = settings.audit_log
    if path is None:
        return
    file = _RotatedFile(path, settings.audit_max_bytes, settings.audit_files)
    try:
        file.append(b"")
        if path.is_file() and not os.access(path.parent, os.W_OK):
            raise PermissionError(None, "full files cannot be put aside in its folder")
    except OSError as error:
        raise SettingsError(f"{PREFIX}AUDIT_LOG='{path}': cannot be written: {error.strerror}") from error
    finally:
        file.close()


def open_audit(settings: Settings, metrics: Metrics) -> Audit | None:
    """The log of predictions that the settings ask for, if they do."""
    return None if settings.audit_log is None else Audit(settings.audit_log, settings, metrics)


def _choose_members(kind: str, answer: bytes) -> list[dict[str, Any]]:
    """What a kind's predictions decide, without what they repeat of the request."""
    decides = KINDS[kind]
    members = decides.OUTCOME if isinstance(decides, DecidingKind) else ()
    predictions: Sequence[Mapping[str, Any]] = orjson.loads(answer)["predictions"]
    return [{name: prediction[name] for name in members} for prediction in predictions]


def _describe_outputs(manifest: Manifest, results: Sequence[Row]) -> dict[str, object]:
    if sum(np.size(value) for row in results for value in row) > _MAX_OUTPUT_ELEMENTS:
        return {}
    outputs = {
        spec.name: [np.asarray(row[position]).tolist() for row in results]
        for position, spec in enumerate(manifest.outputs)
    }
    return {"outputs": outputs}


def _describe_body(body: Body) -> dict[str, str]:
    if body.media_type == "application/json":
        return {"media_type": body.media_type, "text": body.content.decode(errors="replace")}
    return {"media_type": body.media_type, "base64": base64.b64encode(body.content).decode()}


def _cut(number: int, size: int) -> None:
    """Take back what was written of a line beyond ``size``."""
    try:
        os.ftruncate(number, size)
    except OSError:
        logger.warning("audit log: a part of a line is left in it")
