"""A worker that is killed under load is replaced, in a container too; one that cannot start ends the service."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.reliability.clients import Outcome, ask_on, make_request, wait_until
from tests.reliability.server import IMAGE, LONG, Service, format_table, run_service
from tests.service.test_classify import PNG
from tests.versions import add_version

KILLS = 20 if LONG else 1
REPLACED_SECONDS = 2.0
REQUEST = make_request("/classify", PNG, **IMAGE)
# A process space of its own, in which the service is process 1, as in a container.
AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("respawn")
    add_version(home / "models")
    return home


def make_environment(home: Path, workers: int) -> dict[str, str]:
    return {
        "MODELYARD_MODELS": str(home / "models"),
        "MODELYARD_WORKERS": str(workers),
        "MODELYARD_LOG_LEVEL": "WARNING",
        "BENTOML_CONTAINERIZED": "true",  # as in an image of BentoML's making
    }


async def kill_under_load(service: Service) -> tuple[float, float, list[Outcome]]:
    """Kill a worker: the seconds until there is another, until the service answers again, and the requests."""
    recovered = False
    load = asyncio.gather(
        *(ask_on(service.port, REQUEST, lambda: recovered, keep=index % 2 == 0) for index in range(4))
    )
    await asyncio.sleep(0.3)
    before = service.workers()
    killed = time.monotonic()
    os.kill(before[-1], signal.SIGKILL)
    assert await wait_until(lambda: bool(set(service.workers()) - set(before)), 30), service.text()
    replaced = time.monotonic() - killed
    probe = make_request("/readyz")
    for _ in before:  # with several workers each gets some of the probes
        while True:
            answers = await ask_on(service.port, probe, _once(), keep=False)
            if answers[0].status == 200:
                break
            await asyncio.sleep(0.02)
    answered = time.monotonic() - killed
    await asyncio.sleep(0.2)
    recovered = True
    return replaced, answered, [outcome for client in await load for outcome in client]


def _once() -> "_Once":
    return _Once()


class _Once:
    """False, then True."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        asked, self.asked = self.asked, True
        return asked


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_replaced(home: Path, workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[float, float, int, int, int]] = []
    with run_service(home, make_environment(home, workers)) as service:
        for _ in range(KILLS):
            replaced, answered, outcomes = asyncio.run(kill_under_load(service))
            assert replaced < REPLACED_SECONDS
            assert len(service.workers()) == workers
            broken = [outcome for outcome in outcomes if not outcome.status]
            # Only what the dead worker had, or was about to be given: one request of each client, and its retry.
            assert len(broken) <= 8, broken
            assert not any(outcome.refused for outcome in outcomes)
            # One that loads beside another leaves the requests to it.
            assert {outcome.status for outcome in outcomes} <= ({0, 200, 503} if workers == 1 else {0, 200})
            loading = sum(outcome.status == 503 for outcome in outcomes)
            rows.append((replaced, answered, len(outcomes), len(broken), loading))
        assert service.text().count("ended with status -9") == KILLS
    if LONG:
        columns = ["workers", "kills", "replaced after, at most", "answers again after, at most"]
        columns += ["requests", "broken off", "503 while it loads"]
        times = [f"{max(row[index] for row in rows):.2f} s" for index in range(2)]
        totals = [sum(row[index] for row in rows) for index in range(2, 5)]
        with capsys.disabled():
            print(format_table(columns, [(workers, KILLS, *times, *totals)]))


def test_as_process_1_a_killed_worker_is_replaced_and_the_end_is_clean(home: Path) -> None:
    if not _can_unshare():
        pytest.skip("needs the right to make a process space")
    with run_service(home, make_environment(home, 1), prefix=AS_PROCESS_1) as service:
        replaced, _, _ = asyncio.run(kill_under_load(service))
        assert replaced < REPLACED_SECONDS
        first = service.pids()[1]
        assert "bentoml" in Path(f"/proc/{first}/cmdline").read_text()
        os.kill(first, signal.SIGTERM)
        assert service.process.wait(30) == 0, service.text()


def test_a_service_whose_workers_cannot_start_any_more_ends_with_one_message(tmp_path: Path) -> None:
    add_version(tmp_path / "models")
    with run_service(tmp_path, make_environment(tmp_path, 1)) as service:
        (tmp_path / "models").rename(tmp_path / "gone")
        os.kill(service.workers()[0], signal.SIGKILL)
        assert service.process.wait(120) == 1, service.text()
        text = service.text()
    message = "modelyard cannot go on: 3 workers in a row ended at their start, the last with status 1"
    assert text.count(message) == 1, text
    assert text.rstrip().endswith(message), text


def _can_unshare() -> bool:
    if shutil.which(AS_PROCESS_1[0]) is None:
        return False
    return subprocess.run([*AS_PROCESS_1, "true"], capture_output=True, check=False).returncode == 0
