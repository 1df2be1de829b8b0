"""Keys are hashed, found in constant time, read again when their file changes, and made by a command."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service import keys
from service.errors import UnauthorizedError
from service.keys import KeyRing, KeysError, add_key, load_keys, remove_key
from tests.conftest import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "CHECK_SECONDS", 0.0)


def find(ring: KeyRing, key: str) -> str:
    return ring.find({b"authorization": f"Bearer {key}".encode()}).name


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service.keys", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_a_key_is_found_by_either_header(file: Path) -> None:
    key = add_key(file, "ann", ["predict"]).encode()
    ring = KeyRing(file)
    for headers in ({b"authorization": b"Bearer " + key}, {b"authorization": b"bearer  " + key}, {b"x-api-key": key}):
        assert ring.find(headers).name == "ann"
        assert ring.find(headers).rights == {"predict"}


@pytest.mark.parametrize(
    ("headers", "message", "challenge"),
    [
        ({}, "the request has no key, expected 'Authorization: Bearer KEY'", b'Bearer realm="modelyard"'),
        ({b"authorization": b"Basic YTpi"}, "has no key", b'Bearer realm="modelyard"'),
        ({b"authorization": b"Bearer nope"}, "not known", b'Bearer realm="modelyard", error="invalid_token"'),
        ({b"authorization": b"Bearer "}, "not known", b'Bearer realm="modelyard", error="invalid_token"'),
        ({b"x-api-key": b"\xff"}, "not known", b'Bearer realm="modelyard", error="invalid_token"'),
    ],
)
def test_any_other_request_is_refused(file: Path, headers: dict[bytes, bytes], message: str, challenge: bytes) -> None:
    add_key(file, "ann", ["predict"])
    with pytest.raises(UnauthorizedError, match=message) as refusal:
        KeyRing(file).find(headers)
    assert refusal.value.headers == [(b"www-authenticate", challenge)]


def test_the_file_holds_no_key_and_its_owner_alone_reads_it(file: Path) -> None:
    key = add_key(file, "ann", ["predict", "admin"])
    assert key.startswith("modelyard_")
    assert len(key) == len("modelyard_") + 43
    text = file.read_text()
    assert key not in text
    assert key.removeprefix("modelyard_") not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_that_are_added_and_removed_count_without_a_restart(file: Path) -> None:
    first = add_key(file, "ann", ["predict"])
    ring = KeyRing(file)
    second = add_key(file, "bob", ["admin"])
    assert (find(ring, first), find(ring, second)) == ("ann", "bob")
    remove_key(file, "ann")
    with pytest.raises(UnauthorizedError):
        find(ring, first)
    assert find(ring, second) == "bob"


@pytest.mark.parametrize("content", ["", "{", '{"keys": {"ann": {}}}', '{"keys": {"a b": {}}}', "[]", None])
def test_a_damaged_file_keeps_the_old_keys_and_says_so_once(
    file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(file, "ann", ["predict"])
    ring = KeyRing(file)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    for _ in range(3):
        assert find(ring, key) == "ann"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"the keys stay as they were: keys '{file}': " in caplog.text
    assert key not in caplog.text
    other = file.with_name("other.json")
    added = add_key(other, "bob", ["predict"])
    os.replace(other, file)
    assert find(ring, added) == "bob"


def test_a_file_is_looked_at_no_more_often_than_once_a_second(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "CHECK_SECONDS", 1.0)
    key = add_key(file, "ann", ["predict"])
    ring = KeyRing(file)
    file.unlink()
    monkeypatch.setattr(Path, "stat", lambda _: pytest.fail("looked"))
    assert find(ring, key) == "ann"


def test_a_ring_without_a_good_file_does_not_begin(file: Path) -> None:
    with pytest.raises(KeysError, match="cannot be read: No such file"):
        KeyRing(file)
    file.write_text('{"keys": {"ann": {"sha256": "1", "rights": ["predict"], "created": "2026-01-01T00:00:00Z"}}}')
    with pytest.raises(KeysError, match=r"keys\.ann\.sha256: String should match pattern"):
        KeyRing(file)


def test_a_name_is_given_once_and_is_plain(file: Path) -> None:
    add_key(file, "ann", ["predict"])
    with pytest.raises(KeysError, match="there is a key 'ann' already"):
        add_key(file, "ann", ["admin"])
    with pytest.raises(KeysError, match="name 'a b': expected 1 to 64 of letters"):
        add_key(file, "a b", ["admin"])
    with pytest.raises(KeysError, match="there is no key 'bob'"):
        remove_key(file, "bob")
    assert list(load_keys(file).keys) == ["ann"]


def test_the_command_adds_lists_and_removes(file: Path) -> None:
    added = run("add", "ann", "--right", "predict", "--right", "admin", "--file", str(file))
    assert added.returncode == 0, added.stderr
    assert find(KeyRing(file), added.stdout.strip()) == "ann"
    listed = run("list", "--file", str(file))
    assert listed.stdout.startswith("ann\tpredict,admin\t2")
    assert added.stdout.strip() not in listed.stdout
    assert run("remove", "ann", "--file", str(file)).returncode == 0
    assert json.loads(file.read_text()) == {"keys": {}}
    again = run("remove", "ann", "--file", str(file))
    assert (again.returncode, again.stderr) == (1, f"keys '{file}': there is no key 'ann'\n")
