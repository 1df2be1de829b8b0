"""What administrators have set, and what has served: a small file that all processes of the service share.

Whoever changes it holds a lock, reads what stands there, and puts a new file in its place by one rename, so that a
reader sees the old content or the new one. Each process looks at it as often as at the folder of models.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from models.manifest import Frozen
from service.config import Canary, Settings

STATE_FILE: Final = "versions.json"
_LOCK_FILE: Final = "versions.lock"

VersionNumber = Annotated[int, Field(ge=1)]


class StateError(Exception):
    """The state cannot be read or written. The message names the file and what was expected."""


class Plan(Frozen):
    """What is to serve one kind."""

    default: VersionNumber | None = None  # None: the newest
    canary: Canary | None = None
    shadow: VersionNumber | None = None
    loaded: tuple[VersionNumber, ...] = ()  # beside those that serve
    unloaded: bool = False  # nothing is to serve it
    asked: int = 0  # how often a look at the files of its versions was asked for

    def list_versions(self) -> list[int]:
        """The versions that are to be loaded by their numbers, the default first."""
        if self.unloaded:
            return []
        named = [self.default, None if self.canary is None else self.canary.version, self.shadow, *self.loaded]
        return list(dict.fromkeys(version for version in named if version is not None))


class Record(Frozen):
    """Which version has been the default of a kind of late."""

    default: VersionNumber
    previous: VersionNumber | None


class State(Frozen):
    """Everything that is kept. A kind without a plan is served as the settings say."""

    plans: Mapping[str, Plan] = {}
    records: Mapping[str, Record] = {}

    def with_plan(self, kind: str, plan: Plan) -> "State":
        """The state with another plan for ``kind``."""
        return self.model_copy(update={"plans": {**self.plans, kind: plan}})

    def with_record(self, kind: str, record: Record) -> "State":
        """The state with another record of ``kind``."""
        return self.model_copy(update={"records": {**self.records, kind: record}})


def list_initial_plans(settings: Settings) -> dict[str, Plan]:
    """The plans that the settings make, by kind."""
    kinds = {*settings.pin, *settings.canary, *settings.shadow}
    return {
        kind: Plan(default=settings.pin.get(kind), canary=settings.canary.get(kind), shadow=settings.shadow.get(kind))
        for kind in kinds
    }


class StateFile:
    """The state in a folder, or in this process alone. Any thread may use it.

    Args:
        folder: where the file is, or will be; None keeps the state in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.is_kept = folder is not None
        self._folder = folder
        self._state = State()
        self._stamp: tuple[int, int, int] | None = None
        self._lock = threading.Lock()

    @property
    def last(self) -> State:
        """The state as it was read last."""
        return self._state

    def read(self) -> State:
        """The state as it is now.

        Raises:
            StateError: the file cannot be read, or holds something else.
        """
        with self._lock:
            return self._read()

    def change(self, edit: Callable[[State], State]) -> State:
        """Put what ``edit`` makes of the state in its place; returns it.

        Raises:
            StateError: the file cannot be read or written.
        """
        with self._lock, self._reserve():
            before = self._read()
            after = edit(before)
            if after != before:
                self._write(after)
            return after

    def _read(self) -> State:
        if self._folder is None:
            return self._state
        path = self._folder / STATE_FILE
        try:
            stamp = _stamp(path)
            if stamp != self._stamp:
                self._state, self._stamp = State.model_validate_json(path.read_bytes()), stamp
        except FileNotFoundError:
            self._state, self._stamp = State(), None
        except OSError as error:
            raise StateError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(map(str, problem["loc"])) or "the file"
            raise StateError(f"{path}: {field}: {problem['msg']}") from error
        return self._state

    def _write(self, state: State) -> None:
        if self._folder is None:
            self._state = state
            return
        path = self._folder / STATE_FILE
        staging = path.with_suffix(".new")
        try:
            with staging.open("w", encoding="utf-8") as file:
                file.write(state.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            staging.replace(path)
            self._state, self._stamp = state, _stamp(path)
        except OSError as error:
            raise StateError(f"{path}: cannot be written: {error.strerror}") from error

    @contextmanager
    def _reserve(self) -> Iterator[None]:
        """Keep other processes from changing the file."""
        if self._folder is None:
            yield
            return
        path = self._folder / _LOCK_FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _stamp(path: Path) -> tuple[int, int, int]:
    """What tells one content of a file from the next."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
