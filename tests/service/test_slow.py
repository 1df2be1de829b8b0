"""A model whose runs are long: they leave the event loop free, and keep to deadlines and to clients that are there."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Serve
from tests.service.clients import connect, read_metrics
from tests.service.test_classify import PNG, check_problem
from tests.versions import add_version, slow_down

HEADERS = {"content-type": "image/png"}
HEAD = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n"
MODEL = 'model="image_classifier",version="1"'
DEADLINE_SECONDS = 1.0


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("models")
    add_version(root, change_graph=slow_down)
    environment = {
        "MODELYARD_MODELS": str(root),
        "MODELYARD_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
        "MODELYARD_MAX_BATCH_ROWS": "1",
        "MODELYARD_MAX_QUEUE_ROWS": "16",
    }
    with serve(environment=environment) as url:
        yield url


def test_a_slow_model_answers(client: httpx.Client) -> None:
    assert client.post("/classify", content=PNG, headers=HEADERS).json()["predictions"][0]["label"] == "red"


def test_over_capacity_is_said_at_once_and_names_when_to_come_again(client: httpx.Client, server: str) -> None:
    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server, timeout=30) as crowd:
            posts = (crowd.post("/classify", content=PNG, headers=HEADERS) for _ in range(96))
            return await asyncio.gather(*posts)

    answers = asyncio.run(ask_all())
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200, 503, 504}
    assert {200, 503} <= statuses
    for answer in answers:
        if answer.status_code == 503:
            check_problem(answer, 503, "over capacity: the wait is .* seconds now")
            assert int(answer.headers["retry-after"]) >= 1
    assert client.post("/classify", content=PNG, headers=HEADERS).status_code == 200


def test_a_body_that_does_not_come_ends_at_the_deadline(server: str) -> None:
    with connect(server) as connection:
        began = time.monotonic()
        connection.sendall(HEAD % 99 + b"ab")
        answer = connection.recv(65536)
        seconds = time.monotonic() - began
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 504")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"] == "no answer within 1 seconds"
    assert DEADLINE_SECONDS <= seconds < 5 * DEADLINE_SECONDS


def test_a_client_that_goes_takes_its_work_with_it(client: httpx.Client, server: str) -> None:
    canceled = f'nv_inference_request_failure{{{MODEL},reason="CANCELED"}}'
    before = read_metrics(client)[canceled]
    connections = [connect(server) for _ in range(16)]
    for connection in connections:
        connection.sendall(HEAD % len(PNG) + PNG)
    for connection in connections:
        connection.close()
    pending = f"nv_inference_pending_request_count{{{MODEL}}}"
    deadline = time.monotonic() + 10
    while (after := read_metrics(client))[canceled] == before or after[pending]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_log_tells_of_a_run_in_a_thread(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    logs = sorted(Path(tmp_path_factory.getbasetemp()).glob("service*/log"), key=lambda path: path.stat().st_mtime)
    assert any("run in a thread" in log.read_text() for log in logs)


def test_a_client_may_wait_for_less_than_the_deadline(server: str) -> None:
    with connect(server) as connection:
        began = time.monotonic()
        connection.sendall((HEAD % 99).replace(b"host: x", b"host: x\r\nx-request-timeout: 0.2") + b"ab")
        answer = connection.recv(65536)
        seconds = time.monotonic() - began
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 504")
    assert b'"no answer within 0.2 seconds"' in answer
    assert 0.2 <= seconds < 5 * DEADLINE_SECONDS


def test_what_cannot_be_done_in_the_time_that_a_client_gives_is_refused_at_once(
    client: httpx.Client, server: str
) -> None:
    async def ask_while_busy() -> tuple[httpx.Response, list[int]]:
        async with httpx.AsyncClient(base_url=server, timeout=30) as crowd:
            others = [asyncio.create_task(crowd.post("/classify", content=PNG, headers=HEADERS)) for _ in range(4)]
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            answer = await crowd.post("/classify", content=PNG, headers={**HEADERS, "x-request-timeout": "0.001"})
            return answer, [other.status_code for other in await asyncio.gather(*others)]

    before = read_metrics(client)[f"nv_inference_exec_count{{{MODEL}}}"]
    answer, others = asyncio.run(ask_while_busy())
    assert answer.status_code in (503, 504)
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    # A slow machine refuses some of the others too (503), or gives up one that runs (504).
    runs = read_metrics(client)[f"nv_inference_exec_count{{{MODEL}}}"] - before
    assert others.count(200) <= runs <= len(others) - others.count(503)


def test_an_idle_model_runs_what_will_be_too_late_and_says_that_it_was(client: httpx.Client) -> None:
    answer = client.post("/classify", content=PNG, headers={**HEADERS, "x-request-timeout": "0.001"})
    check_problem(answer, 504, "deadline|no answer within 0.001 seconds")


def test_a_timeout_that_is_none_is_refused(client: httpx.Client) -> None:
    answer = client.post("/classify", content=PNG, headers={**HEADERS, "x-request-timeout": "soon"})
    problem = check_problem(answer, 422, "X-Request-Timeout: 'soon', expected seconds above 0, as in 0.25")
    assert problem["errors"][0]["location"] == "X-Request-Timeout"
