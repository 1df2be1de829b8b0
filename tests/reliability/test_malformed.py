"""Whatever is sent, nothing fails but the request that is wrong: no fault, no hang, no growth, nobody else harmed."""

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from models.manifest import Manifest, load_golden
from models.repository import Repository
from tests.picture_versions import add_image_generator
from tests.reliability.malformed import WAYS, Attack, write_request
from tests.reliability.questions import QUESTIONS, Question, measure_difference
from tests.reliability.server import LONG, Service, format_table, run_service
from tests.service.clients import read_metrics
from tests.table_versions import add_generator, add_predictor
from tests.text_versions import add_sentiment
from tests.versions import add_version

ATTACKS = 7000 if LONG else 300
GENERATED = 3000 if LONG else 40  # by schemathesis
SLOW_SENDERS = 64 if LONG else 8
ATTACKERS = 8
SEED = 20260101
DEADLINE_SECONDS = 10.0
# Far more than any answer takes, on a machine that does other things too.
HANG_SECONDS = 60.0
# The first thousands of requests let threads and allocators take what they then keep; after these it has to be flat.
MOST_GROWTH_BYTES = (32 if LONG else 128) * 2**20
HEAD_GROWTH_BYTES = 48 * 2**20
FEW_DESCRIPTORS = 4
DRIP_SECONDS = 0.2
MAY_FAIL = {503, 504}


@dataclass
class Tally:
    """What came of the requests: by what they were, how often which status; 0 is a connection that was closed."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, status: int, seconds: float = 0.0, problem: str = "") -> None:
        with self.lock:
            self.statuses.setdefault(name, Counter())[status] += 1
            self.slowest = max(self.slowest, seconds)
            if problem:
                self.problems.append(f"{name}: {problem}")


class Witness(threading.Thread):
    """A client that does nothing wrong, and compares its answers with those that it got while it was alone."""

    def __init__(self, port: int, manifests: dict[str, Manifest], tolerances: dict[str, float]) -> None:
        super().__init__()
        generator = random.Random(SEED)
        self.questions = [
            QUESTIONS[kind](generator, manifest) for kind, manifest in manifests.items() for _ in range(4)
        ]
        self.answers = 0
        self.problems: list[str] = []
        self.slowest = 0.0
        self.ended = threading.Event()
        self._tolerances = tolerances
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANG_SECONDS)
        self._alone = [self._ask(question).content for question in self.questions]

    def run(self) -> None:
        """Ask until it is to end."""
        generator = random.Random(SEED)
        with contextlib.closing(self._http):
            while not self.ended.wait(0.005):
                place = generator.randrange(len(self.questions))
                question = self.questions[place]
                began = time.monotonic()
                try:
                    answer = self._ask(question)
                except httpx.HTTPError as error:
                    self.problems.append(f"{question.kind}: {error!r}")
                    continue
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.answers += 1
                difference = measure_difference(answer.content, self._alone[place])
                if answer.status_code != 200 or difference > self._tolerances[question.kind]:
                    self.problems.append(
                        f"{question.kind}: {answer.status_code}, {difference} off: {answer.text[:300]}"
                    )

    def _ask(self, question: Question) -> httpx.Response:
        return self._http.post(question.path, content=question.body, headers=question.headers)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of small models of all kinds, with limits that are reached soon."""
    home = tmp_path_factory.mktemp("malformed")
    for add in (add_version, add_predictor, add_generator, add_image_generator, add_sentiment):
        add(home / "models")
    environment = {
        "MODELYARD_MODELS": str(home / "models"),
        "MODELYARD_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
        "MODELYARD_MAX_BODY_BYTES": str(2**20),
        "MODELYARD_MAX_PIXELS": "1000000",
        "MODELYARD_LOG_LEVEL": "WARNING",
        "MODELYARD_ADMIN_OPEN": "false",
    }
    with run_service(home, environment) as service:
        yield service


@pytest.fixture(scope="module")
def manifests(service: Service) -> dict[str, Manifest]:
    root = service.log.parent / "models"
    return {kind: Repository(root).load(kind, 1) for kind in QUESTIONS}


def count_descriptors(service: Service) -> int:
    """The files and connections that are open in the service."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in service.pids())


@contextlib.contextmanager
def watched(service: Service, manifests: dict[str, Manifest]) -> Iterator[Witness]:
    """Another client asks meanwhile, and nothing that happens to the service is its fault or stays behind."""
    root = service.log.parent / "models"
    tolerances = {kind: load_golden(Repository(root).folder(kind, 1)).tolerance for kind in manifests}
    descriptors = count_descriptors(service)
    witness = Witness(service.port, manifests, tolerances)
    witness.start()
    try:
        yield witness
    finally:
        witness.ended.set()
        witness.join(2 * HANG_SECONDS)
    assert not witness.is_alive()
    assert witness.problems == []
    assert witness.answers > 0
    assert service.is_ready()
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}") as client:
        pending = {name: value for name, value in read_metrics(client).items() if "pending" in name}
    assert set(pending.values()) == {0}, pending
    deadline = time.monotonic() + HANG_SECONDS
    while count_descriptors(service) > descriptors + FEW_DESCRIPTORS:
        assert time.monotonic() < deadline, "connections stay open"
        time.sleep(0.2)
    assert "Traceback" not in service.text()


def describe_fault(status: int, headers: Any, content: bytes) -> str:
    """What is wrong with an answer, if anything is."""
    if status >= 500 and status not in MAY_FAIL:
        return f"{status}: {content[:300]!r}"
    if status >= 400 and content:
        if headers.get("content-type") != "application/problem+json":
            return f"{status} as {headers.get('content-type')}: {content[:300]!r}"
        problem = json.loads(content)
        if problem["status"] != status or problem["request_id"] != headers.get("x-request-id"):
            return f"{status}: {problem}"
    return ""


def carry_out(port: int, attack: Attack, tally: Tally) -> None:
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):  # it may be answered, and closed, before its end
                connection.sendall(attack.content)
            if attack.resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if not attack.waits:
                tally.add(attack.name, 0)
                return
            if attack.ends:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            response = HTTPResponse(connection, method=attack.content.split(b" ", 1)[0].decode("latin-1"))
            response.begin()
            content = response.read()
    except TimeoutError:
        tally.add(attack.name, 0, problem=f"no answer in {HANG_SECONDS} s to {attack.content[:300]!r}")
    except (OSError, HTTPException):
        tally.add(attack.name, 0, time.monotonic() - began)  # closed without an answer
    else:
        fault = describe_fault(response.status, response.headers, content)
        if fault:
            fault += f" to {attack.content[:600]!r}"
        tally.add(attack.name, response.status, time.monotonic() - began, fault)


def make_attacks(count: int, manifests: dict[str, Manifest], number: int) -> list[Attack]:
    generator = random.Random(f"{SEED}-{number}")
    kinds = list(manifests)
    attacks = []
    for _ in range(count):
        kind = generator.choice(kinds)
        attacks.append(generator.choice(WAYS)(generator, QUESTIONS[kind](generator, manifests[kind])))
    return attacks


def drip(port: int, first: bytes, rest: bytes, tally: Tally, name: str) -> None:
    """Send ``first``, and of ``rest`` a byte at a time, again and again, until the server has had enough of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=DRIP_SECONDS) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(first)
            for number in range(int(HANG_SECONDS / DRIP_SECONDS)):
                connection.sendall(rest[number % len(rest) :][:1])
                try:
                    received = connection.recv(65536)
                except TimeoutError:
                    continue
                answer += received
                if not received:
                    break
            else:
                tally.add(name, 0, problem=f"open after {HANG_SECONDS} s of {first[:60]!r}, answered {answer[:60]!r}")
                return
    status = int(answer[9:12]) if answer else 0
    tally.add(name, status, problem=describe_fault(status, {}, b""))


def list_slow_senders(question: Question) -> Sequence[tuple[str, bytes, bytes]]:
    request = write_request(question.path, question.headers, question.body, length=2 * len(question.body) + 9999)
    head, _, _ = request.partition(b"\r\n\r\n")
    chunked = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
    answered = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    return (
        ("slow headers", head[:40] + b"\r\n", b"a: b\r\n"),
        ("slow header", head[:40] + b"\r\nx: ", b"y"),
        ("slow body", head + b"\r\n\r\n", question.body),
        ("slow chunks", chunked, b"1\r\na\r\n"),
        ("slow trailers", chunked + b"1\r\na\r\n0\r\n", b"a: b\r\n"),
        ("slow nothing", b"", b"\r\n"),
        ("slow second request", answered, b"\r\n"),
        ("slow headers of a second request", answered + b"GET /livez HTTP/1.1\r\n", b"a: b\r\n"),
    )


def test_requests_that_are_wrong_harm_nobody(
    service: Service, manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally()
    sizes: list[int] = []
    senders = list_slow_senders(QUESTIONS["sentiment"](random.Random(SEED), manifests["sentiment"]))
    with (
        watched(service, manifests) as witness,
        ThreadPoolExecutor(ATTACKERS) as attackers,
        ThreadPoolExecutor(SLOW_SENDERS) as slow,
    ):
        for number in range(SLOW_SENDERS):
            name, first, rest = senders[number % len(senders)]
            slow.submit(drip, service.port, first, rest, tally, name)
        for number in range(10):
            attacks = make_attacks(ATTACKS // 10, manifests, number)
            list(attackers.map(lambda attack: carry_out(service.port, attack, tally), attacks))
            sizes.append(service.resident_bytes())
    if LONG:
        rows = [
            (name, sum(found.values()), ", ".join(f"{status}: {count}" for status, count in sorted(found.items())))
            for name, found in sorted(tally.statuses.items())
        ]
        ends = f"{sizes[len(sizes) // 2] / 1e6:.0f}, {sizes[-1] / 1e6:.0f} MB"
        summary = (
            ("slowest answer to one of them", "", f"{tally.slowest:.2f} s"),
            ("another client's answers, all as alone", witness.answers, f"slowest {witness.slowest:.2f} s"),
            ("resident memory after half of them and at the end", "", ends),
        )
        with capsys.disabled():
            print(format_table(("what", "requests", "status (0: closed): count"), [*rows, *summary]))
    assert tally.problems == []
    assert sum(sum(found.values()) for found in tally.statuses.values()) == ATTACKS + SLOW_SENDERS
    assert sizes[-1] - sizes[len(sizes) // 2] < MOST_GROWTH_BYTES, sizes


def test_requests_made_from_the_description_harm_nobody(
    service: Service, manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{service.port}"
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/docs.json").json())
    tally = Tally()
    cases = st.one_of(schema.as_strategy(GenerationMode.NEGATIVE), schema.as_strategy(GenerationMode.POSITIVE))

    @seed(SEED)
    @settings(
        max_examples=GENERATED,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=cases)
    def send(case: Any) -> None:
        try:
            answer = case.call(base_url=url, session=session, timeout=HANG_SECONDS)
        except requests.exceptions.RequestException as error:
            # What it cannot send, such as a header with a line break, is no request.
            is_late = isinstance(error, requests.exceptions.Timeout)
            tally.add(f"{case.method} {case.path}", 0, problem=repr(error) if is_late else "")
            return
        headers = {name: values[0] for name, values in answer.headers.items()}
        fault = describe_fault(answer.status_code, headers, answer.content if case.method != "HEAD" else b"")
        tally.add(f"{case.method} {case.path}", answer.status_code, answer.elapsed, fault)

    with watched(service, manifests) as witness, requests.Session() as session:
        send()
    if LONG:
        rows = [
            (name, sum(found.values()), ", ".join(f"{status}: {count}" for status, count in sorted(found.items())))
            for name, found in sorted(tally.statuses.items())
        ]
        rows.append(("another client's answers, all as alone", witness.answers, f"slowest {witness.slowest:.2f} s"))
        with capsys.disabled():
            print(format_table(("operation", "requests", "status: count"), rows))
    assert tally.problems == []


def test_a_head_without_end_is_refused(service: Service, manifests: dict[str, Manifest]) -> None:
    """What a client sends that is no body is kept until it is understood, so that it has to be bounded."""
    before = service.resident_bytes()
    starts = (
        b"GET /" + b"a" * 60_000,
        b"GET /livez HTTP/1.1\r\nx: ",
        b"POST /classify HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-type: image/png\r\n\r\n0\r\nx: ",
    )
    with watched(service, manifests):
        for start in starts:
            with socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS) as connection:
                connection.sendall(start)
                with pytest.raises(ConnectionError):
                    connection.sendall(b"a" * 64_000_000)
    assert service.resident_bytes() - before < HEAD_GROWTH_BYTES
