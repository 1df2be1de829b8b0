"""Each client's answer is its own, and the one that it gets alone, whatever others send and however it is batched."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from models.manifest import Manifest, load_golden
from models.repository import Repository
from service.kinds import KINDS
from tests.conftest import ROOT
from tests.picture_versions import add_image_generator
from tests.reliability.questions import QUESTIONS, Question, measure_difference, share_of_pairs_told_apart
from tests.reliability.server import LONG, Service, format_table, run_service
from tests.service.clients import read_metrics
from tests.table_versions import add_generator, add_predictor
from tests.text_versions import add_sentiment
from tests.versions import add_version

CLIENTS = 64 if LONG else 24
# The models that were trained are asked in the long form: a text takes them some tens of milliseconds.
REQUESTS = {"small": 400 if LONG else 25, "shipped": 80}
QUESTIONS_OF_EACH_KIND = 3
SEED = 20260101
TIMEOUT_SECONDS = 120.0


class Result(NamedTuple):
    """What came of the questions of one kind."""

    kind: str
    tolerance: float
    answers: int
    broken: int  # requests of the kind that were refused, as they had to be
    left: int  # that their clients did not wait for
    identical: int  # bit for bit what was answered alone
    largest: float  # difference to what was answered alone
    told_apart: float  # the share of pairs of different answers that differ by more than the tolerance
    rows_a_run: float


class Client:
    """One of many clients of a server.

    Args:
        number: which one.
        manifests: of each kind.
        http: asks the server.
    """

    def __init__(self, number: int, manifests: dict[str, Manifest], http: httpx.AsyncClient) -> None:
        self.generator = random.Random(f"{SEED}-{number}")
        self.questions = [
            QUESTIONS[kind](self.generator, manifest)
            for kind, manifest in manifests.items()
            for _ in range(QUESTIONS_OF_EACH_KIND)
        ]
        self.alone: list[bytes] = []  # the answers to the questions
        self.differences: list[tuple[str, float]] = []
        self.broken: list[str] = []
        self.left: list[str] = []
        self._number = number
        self._http = http

    async def ask_alone(self) -> None:
        """Ask every question while nobody else asks."""
        for question in self.questions:
            answer = await self._ask(question, "alone")
            assert answer.status_code == 200, answer.text
            self.alone.append(answer.content)

    async def ask_among_others(self, requests: int) -> None:
        """Ask any of the questions again and again; ask wrongly now and then, or leave before the answer."""
        for step in range(requests):
            place = self.generator.randrange(len(self.questions))
            question = self.questions[place]
            way = self.generator.random()
            if way < 0.1:
                answer = await self._ask(question._replace(body=question.broken_body), f"{step}")
                assert answer.status_code == 422, answer.text
                self.broken.append(question.kind)
            elif way < 0.15:
                task = asyncio.create_task(self._ask(question, f"{step}"))
                await asyncio.sleep(self.generator.expovariate(500))
                task.cancel()
                await asyncio.wait([task])
                self.left.append(question.kind)
            else:
                answer = await self._ask(question, f"{step}")
                assert answer.status_code == 200, answer.text
                self.differences.append((question.kind, measure_difference(answer.content, self.alone[place])))
            if way > 0.8:
                await asyncio.sleep(self.generator.expovariate(200))

    async def _ask(self, question: Question, step: str) -> httpx.Response:
        request_id = f"client-{self._number}.{step}"
        headers = {**question.headers, "x-request-id": request_id}
        answer = await self._http.post(question.path, content=question.body, headers=headers)
        assert answer.headers["x-request-id"] == request_id
        return answer


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model of each kind."""
    root = tmp_path_factory.mktemp("isolation") / "models"
    for add in (add_version, add_predictor, add_generator, add_image_generator, add_sentiment):
        add(root)
    return root


async def ask_all(port: int, manifests: dict[str, Manifest], requests: int) -> list[Client]:
    limits = httpx.Limits(max_connections=CLIENTS)
    address = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS, limits=limits) as http:
        clients = [Client(number, manifests, http) for number in range(CLIENTS)]
        for client in clients:
            await client.ask_alone()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.ask_among_others(requests))
    return clients


def count_runs(service: Service, kind: str) -> tuple[float, float]:
    """The rows and the runs of a kind up to now."""
    labels = f'{{model="{kind}",version="1"}}'
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}") as client:
        metrics = read_metrics(client)
    return metrics[f"nv_inference_count{labels}"], metrics[f"nv_inference_exec_count{labels}"]


def sum_up(service: Service, root: Path, clients: Sequence[Client]) -> list[Result]:
    results = []
    for kind in QUESTIONS:
        tolerance = load_golden(Repository(root).folder(kind, 1)).tolerance
        differences = [found for client in clients for of, found in client.differences if of == kind]
        pairs = [pair for client in clients for pair in zip(client.questions, client.alone, strict=True)]
        alone = [answer for question, answer in pairs if question.kind == kind]
        rows, runs = count_runs(service, kind)
        results.append(
            Result(
                kind,
                tolerance,
                len(differences),
                sum(client.broken.count(kind) for client in clients),
                sum(client.left.count(kind) for client in clients),
                differences.count(0.0),
                max(differences),
                share_of_pairs_told_apart(alone, tolerance, SEED),
                rows / runs,
            )
        )
    return results


def test_every_kind_is_asked() -> None:
    assert set(QUESTIONS) == set(KINDS)


@pytest.mark.parametrize("models", ["small", "shipped"] if LONG else ["small"])
def test_each_client_gets_its_own_answer_as_if_it_were_alone(
    models: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small if models == "small" else ROOT / "models"
    manifests = {kind: Repository(root).load(kind, 1) for kind in QUESTIONS}
    with run_service(tmp_path, {"MODELYARD_MODELS": str(root), "MODELYARD_LOG_LEVEL": "WARNING"}) as service:
        clients = asyncio.run(ask_all(service.port, manifests, REQUESTS[models]))
        results = sum_up(service, root, clients)
        assert "Traceback" not in service.text()
    if LONG:
        columns = ["models", "kind", "answers", "bit for bit as alone", "largest difference", "tolerance"]
        columns += ["refused", "left", "pairs told apart", "rows a run"]
        rows = [
            (
                models,
                result.kind,
                f"{result.answers:,}",
                f"{result.identical / result.answers:.2%}",
                f"{result.largest:.1g}",
                f"{result.tolerance:g}",
                result.broken,
                result.left,
                f"{result.told_apart:.1%}",
                f"{result.rows_a_run:.1f}",
            )
            for result in results
        ]
        with capsys.disabled():
            print(format_table(columns, rows))
    for result in results:
        assert result.largest <= result.tolerance, result
        # Else an answer of somebody else's would not be noticed.
        assert result.told_apart > 0.98, result
        assert result.rows_a_run > 1, result
