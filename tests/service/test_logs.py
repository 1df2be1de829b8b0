"""Logs: the form of the lines, that none is lost, and that none can be forged."""

import io
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import logs

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
ROOT = Path(__file__).parents[2]
NASTY = "id\n2026-01-01T00:00:00.000Z info    200 GET / 1 ms forged\r\x1b[2J\x00\u2028\x85\ud800é"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream, with the standard library's loggers as they were before."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield io.StringIO()
    logs.close()
    root.handlers, root.level = before


def fail() -> None:
    raise ValueError(NASTY)


def wait_for(stream: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 5
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, f"{text!r} was not written: {stream.getvalue()!r}"
        time.sleep(0.01)


def test_a_request_is_one_readable_line(stream: io.StringIO) -> None:
    logs.configure("readable", "INFO", stream)
    logs.access("abc-1", "/classify", "POST", 200, 0.0012345)
    logs.flush()
    assert re.fullmatch(TIME + r" info    200 POST /classify 1\.234 ms abc-1\n", stream.getvalue())


def test_a_request_is_one_json_object(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    logs.access("abc-1", "/classify", "POST", 422, 0.0012345)
    logs.flush()
    fields = json.loads(stream.getvalue())
    assert re.fullmatch(TIME, fields.pop("time"))
    assert fields == {
        "level": "info",
        "event": "request",
        "request_id": "abc-1",
        "route": "/classify",
        "method": "POST",
        "status": 422,
        "duration_ms": 1.234,
    }


def test_lines_wait_for_each_other_and_come_by_themselves(stream: io.StringIO) -> None:
    logs.configure("readable", "INFO", stream)
    for number in range(3):
        logs.access(f"id-{number}", "/classify", "POST", 200, 0.001)
    wait_for(stream, "id-2")
    logs.access("later", "/classify", "POST", 200, 0.001)
    wait_for(stream, "later")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["id-0", "id-1", "id-2", "later"]


def test_many_lines_do_not_wait(stream: io.StringIO) -> None:
    logs.configure("readable", "INFO", stream)
    for number in range(logs.FLUSH_LINES):
        logs.access(f"id-{number}", "/classify", "POST", 200, 0.001)
    assert stream.getvalue().count("\n") == logs.FLUSH_LINES


def test_an_error_is_written_at_once_after_what_waited(stream: io.StringIO) -> None:
    logs.configure("readable", "INFO", stream)
    logs.access("first", "/classify", "POST", 200, 0.001)
    logs.access("second", "/classify", "POST", 500, 0.001)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("first")
    assert re.fullmatch(TIME + r" error   500 POST /classify 1\.000 ms second", lines[1])


def test_an_event_is_written_at_once_after_what_waited(stream: io.StringIO) -> None:
    logs.configure("readable", "INFO", stream)
    logs.access("first", "/classify", "POST", 200, 0.001)
    logging.getLogger("service.catalogue").info("loaded %s version %d", "image_classifier", 3)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("first")
    assert re.fullmatch(TIME + r" info    service\.catalogue: loaded image_classifier version 3", lines[1])


def test_an_event_is_one_json_object_with_its_traceback(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    try:
        fail()
    except ValueError:
        logging.getLogger("service.front").exception("request %s failed", "abc")
    fields = json.loads(stream.getvalue())
    assert (fields["level"], fields["event"], fields["logger"]) == ("error", "log", "service.front")
    assert fields["message"] == "request abc failed"
    assert fields["exception"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: id" in fields["exception"]


def test_a_readable_traceback_is_indented(stream: io.StringIO) -> None:
    logs.configure("readable", "INFO", stream)
    try:
        fail()
    except ValueError:
        logging.getLogger("service.front").exception("request failed")
    first, *following = stream.getvalue().splitlines()
    assert first.endswith("service.front: request failed")
    assert following
    assert all(line.startswith("    ") for line in following)


@pytest.mark.parametrize(
    ("level", "expected"), [("DEBUG", 3), ("INFO", 3), ("WARNING", 1), ("ERROR", 1), ("CRITICAL", 0)]
)
def test_the_level_decides_what_is_written(stream: io.StringIO, level: str, expected: int) -> None:
    logs.configure("readable", level, stream)
    logs.access("a", "/classify", "POST", 200, 0.001)
    logs.access("b", "/classify", "POST", 500, 0.001)
    logging.getLogger("models").info("an event")
    logs.flush()
    assert len(stream.getvalue().splitlines()) == expected


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level: 'LOUD', expected one of CRITICAL, "):
        logs.configure("readable", "LOUD")


def test_nothing_is_logged_before_it_is_configured(capfd: pytest.CaptureFixture[str]) -> None:
    logs.access("abc", "/classify", "POST", 200, 0.001)
    logs.flush()
    assert capfd.readouterr() == ("", "")


def test_other_loggers_take_the_same_form(stream: io.StringIO) -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(logging.StreamHandler(stream))
    logs.configure("json", "INFO", stream)
    logger.error("cannot bind")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "cannot bind"


@pytest.mark.parametrize("line_format", ["readable", "json"])
def test_a_client_cannot_forge_a_line(stream: io.StringIO, line_format: logs.Format) -> None:
    logs.configure(line_format, "INFO", stream)
    logs.access(NASTY, NASTY, NASTY, 200, 0.001)
    logging.getLogger("service").warning("refused: %s", NASTY)
    logs.flush()
    lines = stream.getvalue().split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    assert all(line.isprintable() for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(request_id=st.text(), line_format=st.sampled_from(["readable", "json"]))
def test_whatever_a_client_sends_stays_in_its_line(
    stream: io.StringIO, request_id: str, line_format: logs.Format
) -> None:
    log = logs.Log(stream, line_format, logging.INFO)
    before = len(stream.getvalue())
    log.access(request_id, "/classify", "POST", 500, 0.001)
    log.close()
    line = stream.getvalue()[before:]
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_a_stream_that_breaks_does_not_break_the_service(stream: io.StringIO) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    logs.configure("readable", "INFO", Broken())
    logs.access("abc", "/classify", "POST", 500, 0.001)
    logging.getLogger("service").error("an event")


def test_what_waits_is_written_when_the_interpreter_ends() -> None:
    script = (
        "from service import logs\n"
        "logs.configure('readable', 'INFO')\n"
        "for number in range(300): logs.access(f'id-{number}', '/classify', 'POST', 200, 0.001)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [line.split()[-1] for line in done.stderr.splitlines()] == [f"id-{number}" for number in range(300)]


APPLICATION = """
import sys
import uvicorn
from service import logs

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        logs.configure("json", "INFO")
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        logs.flush()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
    logs.access(scope["path"].strip("/"), "/", scope["method"], 200, 0.001)

uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), log_config=None)
"""


def test_nothing_is_lost_when_a_server_is_told_to_stop() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", APPLICATION, str(port)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        asked = 0
        deadline = time.monotonic() + 20
        while asked < 20:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/id-{asked}") as answer:
                    assert answer.read() == b"ok"
                asked += 1
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=20)
    assert server.returncode == -signal.SIGTERM
    events = [json.loads(line) for line in errors.splitlines()]
    assert [event["request_id"] for event in events if event["event"] == "request"] == [f"id-{n}" for n in range(20)]
