"""A server whose processes a test can signal, and the form of the tests: short, or long by MODELYARD_RELIABILITY."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from benchmarks.process import Server, free_port
from tests.conftest import ROOT

FORM: Final = os.environ.pop("MODELYARD_RELIABILITY", "short")
LONG: Final = FORM == "long"
IMAGE: Final = {"content_type": "image/png"}


class Service(Server):
    """The service as ``bentoml serve`` runs it."""

    port: int

    def __enter__(self) -> "Service":
        return self

    def workers(self) -> list[int]:
        """The processes that serve."""
        return [pid for pid in self.pids()[1:] if "_bentoml_impl.worker.service" in _read_command(pid)]

    def is_ready(self) -> bool:
        """Whether it says that it is."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def ports(self) -> set[int]:
        """The TCP ports that its processes listen on."""
        links = [link for pid in self.pids() for link in Path(f"/proc/{pid}/fd").iterdir()]
        sockets = {target for link in links if (target := _read_link(link)).startswith("socket:")}
        rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()]
        own = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
        return {int(row[1].rpartition(":")[2], 16) for row in own}

    def text(self) -> str:
        """What it logged."""
        return self.log.read_text(errors="replace")


@contextmanager
def run_service(
    home: Path,
    environment: Mapping[str, str],
    prefix: Sequence[str] = (),
    host: str | None = "127.0.0.1",
    is_ready: Callable[[int], bool] | None = None,
    timeout_seconds: float = 120,
) -> Iterator[Service]:
    """Start a service; inside the ``with`` it is ready."""
    port = free_port()
    command = [*prefix, sys.executable, "-m", "bentoml", "serve", "service.app:ModelService"]
    command += ["--working-dir", str(ROOT), "--port", str(port), *(() if host is None else ("--host", host))]
    variables = {"BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", **environment}
    core = max(os.sched_getaffinity(0))
    with Service(command, variables, core, home / f"log-{port}") as service:
        service.port = port
        service.wait(service.is_ready if is_ready is None else lambda: is_ready(port), timeout_seconds)
        yield service


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as it stands in a README."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _read_link(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # it was closed meanwhile
        return ""


def _read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""
