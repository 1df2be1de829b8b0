"""Answers that are sent while they are made, by a real server over real connections."""

import contextlib
import http.client
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.process import free_port
from tests.conftest import ROOT

DEADLINE_SECONDS = 0.5  # as in tests/service/streams.py


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream") / "log"


@pytest.fixture(scope="module")
def port(log: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.service.streams:make_app", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                read(port, "/metrics")
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def post(port: int, path: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, headers={"x-request-id": f"mine{path.replace('/', '-')}"})
    yield connection.getresponse()
    connection.close()


def read(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
        content: bytes = response.read()
        return content.decode()


def wait_until_counted(port: int, path: str, status: int) -> None:
    """Return once a request of ``path`` has been counted with ``status``."""
    deadline = time.monotonic() + 20
    while f'http_requests_total{{route="{path}",method="POST",status="{status}"}}' not in read(port, "/metrics"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_closed(port: int, times: int) -> None:
    """Return once the stream of /go_on was closed so many times."""
    deadline = time.monotonic() + 20
    while read(port, "/closed").count("go_on") < times:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stream_may_take_longer_than_the_deadline(port: int) -> None:
    began = time.monotonic()
    with post(port, "/count_slowly") as response:
        assert (response.status, response.headers["content-type"]) == (200, "text/plain")
        assert (response.headers["x-request-id"], response.headers["x-more"]) == ("mine-count_slowly", "yes")
        assert response.headers["content-length"] is None
        assert response.read() == b"".join(b"%d\n" % number for number in range(8))
    assert time.monotonic() - began > DEADLINE_SECONDS
    wait_until_counted(port, "/count_slowly", 200)


def test_an_empty_stream_is_an_empty_answer(port: int) -> None:
    with post(port, "/say_nothing") as response:
        assert (response.status, response.read()) == (200, b"")


@pytest.mark.parametrize(("path", "status"), [("/refuse", 503), ("/fail", 500), ("/begin_never", 504)])
def test_what_fails_before_the_first_chunk_is_a_problem(port: int, path: str, status: int) -> None:
    with post(port, path) as response:
        assert (response.status, response.headers["content-type"]) == (status, "application/problem+json")
        assert b'"request_id":"mine-' in response.read()


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/begin_and_fail", 500, "request mine-begin_and_fail failed in the middle of its answer"),
        ("/begin_and_refuse", 503, "request mine-begin_and_refuse ended in the middle of its answer: over capacity"),
    ],
)
def test_what_fails_later_ends_the_connection_and_is_logged(
    port: int, log: Path, path: str, status: int, message: str
) -> None:
    with post(port, path) as response:
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as failure:
            response.read()
    assert failure.value.partial == b"begun"
    wait_until_counted(port, path, status)
    assert message in log.read_text()


def test_a_client_that_goes_ends_its_stream_and_so_does_one_that_stops_reading(port: int, log: Path) -> None:
    with post(port, "/go_on") as response:
        response.read(2**22)
    wait_until_closed(port, times=1)
    wait_until_counted(port, "/go_on", 499)
    assert "request mine-go_on ended" not in log.read_text()
    with post(port, "/go_on") as response:
        response.read(1)
        began = time.monotonic()
        wait_until_closed(port, times=2)
        assert time.monotonic() - began > DEADLINE_SECONDS / 2
    assert "request mine-go_on ended: its client read nothing for 0.5 seconds" in log.read_text()


def test_a_stream_without_pauses_lets_others_have_their_turn(port: int) -> None:
    with post(port, "/rush") as rushing:
        with post(port, "/say_nothing") as response:
            assert response.status == 200
        assert not rushing.read().endswith(b"alone")
