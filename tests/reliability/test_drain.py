"""SIGTERM under load: /readyz fails first, nothing is refused or lost until the drain's end, and the exit is clean."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.clients import Outcome, ask_on, make_request
from tests.reliability.server import IMAGE, LONG, Service, format_table, run_service
from tests.service.test_classify import PNG
from tests.versions import add_version, slow_down

DRAIN_SECONDS = 2.0
ROUNDS = 50 if LONG else 1
REQUEST = make_request("/classify", PNG, **IMAGE)
PROBE = make_request("/readyz")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model whose answers take some tens of milliseconds, so that some are always on their way."""
    home = tmp_path_factory.mktemp("drain")
    add_version(home / "models", change_graph=slow_down)
    return home


async def stop_under_load(service: Service) -> tuple[float, list[Outcome], list[Outcome], int]:
    """Load, signal, and wait: when the signal was sent, the requests, the probes, and the exit status.

    The clients go on until the drain ends, as seen from where the signal was sent.
    """
    ends = float("inf")

    def over() -> bool:
        return time.monotonic() > ends

    keeping = [ask_on(service.port, REQUEST, over) for _ in range(4)]
    opening = [ask_on(service.port, REQUEST, over, keep=False) for _ in range(4)]
    load = asyncio.gather(*keeping, *opening)
    probes = asyncio.create_task(ask_on(service.port, PROBE, over, keep=False))
    await asyncio.sleep(0.5)
    signalled = time.monotonic()
    os.kill(service.process.pid, signal.SIGTERM)
    ends = signalled + DRAIN_SECONDS
    outcomes = [outcome for client in await load for outcome in client]
    status = await asyncio.to_thread(service.process.wait, 60)
    return signalled, outcomes, await probes, status


@pytest.mark.parametrize("workers", [1, 2] if LONG else [2])
def test_nothing_is_lost_when_the_service_is_told_to_stop(
    home: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        "MODELYARD_MODELS": str(home / "models"),
        "MODELYARD_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "MODELYARD_WORKERS": str(workers),
        "MODELYARD_LOG_LEVEL": "WARNING",
    }
    rows: list[tuple[int, int, int, float]] = []
    for _ in range(ROUNDS // 2 if LONG else ROUNDS):
        with run_service(home, environment) as service:
            signalled, outcomes, probes, status = asyncio.run(stop_under_load(service))
            text = service.text()
        assert status == 0, text
        assert "Traceback" not in text, text
        lost = [outcome for outcome in outcomes if outcome.status != 200]
        assert lost == []
        during = [outcome for outcome in outcomes if outcome.began > signalled]
        assert during
        failed = [probe for probe in probes if probe.status == 503]
        assert failed, "no probe failed before the drain ended"
        assert all(probe.status in (200, 503) for probe in probes), probes
        # The signal goes to the supervisor, which passes it on.
        noticed = min(probe.ended for probe in failed) - signalled
        assert noticed < DRAIN_SECONDS / 2
        assert all(outcome.headers.get("connection") == "close" for outcome in during[-4:])
        rows.append((len(outcomes), len(during), len(lost), noticed))
    if LONG:
        total, during_all, lost_all, latest = (
            *(sum(row[index] for row in rows) for index in range(3)),
            max(row[3] for row in rows),
        )
        columns = (
            "workers",
            "SIGTERMs",
            "requests",
            "of these after it",
            "lost or refused",
            "/readyz 503 after at most",
        )
        with capsys.disabled():
            print(format_table(columns, [(workers, len(rows), total, during_all, lost_all, f"{latest * 1e3:.0f} ms")]))
