"""Real servers for the tests that need one."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from benchmarks.process import free_port

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_SECONDS = 120

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Start the service as a process of its own; inside the ``with`` it is ready, at the address that it gives."""

    @contextmanager
    def start(
        python: Path = Path(sys.executable),
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        service: str = "service.app:ModelService",
    ) -> Iterator[str]:
        home = tmp_path_factory.mktemp("service")
        port = free_port()
        command = [str(python), "-m", "bentoml", "serve", service]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        variables = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **(environment or {})}
        log = home / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)

    return start


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return as soon as the service says that it is ready; fail with the end of its log."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail(f"the service did not get ready:\n{log.read_text(errors='replace')[-8000:]}")
