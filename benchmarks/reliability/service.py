"""The service on a folder of models, as ``bentoml serve`` runs it."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.process import Server, free_port
from benchmarks.reliability.connection import Connection

ROOT = Path(__file__).resolve().parents[2]
ROUTES = {"churn": "/predict-churn", "image_classifier": "/classify"}


@contextmanager
def run_service(models: Path, workspace: Path, environment: Mapping[str, str]) -> Iterator[tuple[Server, int]]:
    """Start it; inside the ``with`` it is ready, at 127.0.0.1 and the port that is given.

    Args:
        models: the folder of models.
        workspace: where its log goes.
        environment: its settings.

    Raises:
        RuntimeError: it does not get ready.
    """
    port = free_port()
    variables = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_LOG_LEVEL": "WARNING",
        "BENTOML_HOME": str(workspace / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        **environment,
    }
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:ModelService"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with Server(command, variables, cores, workspace / "log") as server:
        server.wait(lambda: asyncio.run(_is_ready(port)))
        yield server, port


async def _is_ready(port: int) -> bool:
    try:
        async with Connection(port) as connection:
            return (await connection.ask("GET", "/readyz")).status == 200
    except ConnectionError:
        return False
