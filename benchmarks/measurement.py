"""One server under one load: started, checked, warmed up, measured."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bodies import CONTENT_TYPES, write_bodies
from benchmarks.contenders import FLOOR, Contender, environment
from benchmarks.load import Load, run_load
from benchmarks.process import Server
from benchmarks.workloads.workload import Workload

ROOT = Path(__file__).resolve().parent.parent
WARM_UP_SECONDS = 2


@dataclass(frozen=True)
class Sample:
    """One server under one load in one round."""

    workload: str
    contender: str
    round: int
    connections: int
    load: Load
    cpu_us_per_request: float
    resident_mb: float

    @property
    def requests_per_second(self) -> float:
        """The answers in one second, good and bad."""
        return self.load.requests / self.load.seconds


@dataclass(frozen=True)
class Bench:
    """What is the same for every server."""

    kind: str
    models: Path
    version_folder: Path
    workloads: Sequence[Workload]
    workspace: Path
    server_core: int
    load_core: int

    def __post_init__(self) -> None:
        """Write what the servers and the load generator read."""
        self._answers.mkdir()
        for workload in self.workloads:
            write_bodies(self.workspace / workload.slug, workload.bodies)
            (self._answers / workload.slug).write_bytes(workload.example)

    def measure(self, contender: Contender, round_: int, connections: Sequence[int], seconds: int) -> list[Sample]:
        """Start ``contender`` and measure it under each workload and number of connections."""
        port = free_port()
        variables = environment(contender, self.models, self.version_folder, self._answers, self.workspace / "bentoml")
        log = self.workspace / f"{contender.name}.log"
        with Server(contender.command(port), variables, self.server_core, log) as server:
            samples = []
            for workload in self.workloads:
                route = (
                    f"/{workload.slug}"
                    if contender.name == FLOOR
                    else contender.routes.get(workload.name, contender.route)
                )
                url = f"http://127.0.0.1:{port}{route}"
                server.wait(lambda url=url, workload=workload: _ask(url, contender, workload, 0) is not None)  # type: ignore[misc]
                _check_answers(url, contender, workload)
                samples += self._measure(server, url, contender, workload, round_, connections, seconds)
            return samples

    def measure_limit(self, workload: Workload) -> dict[str, float]:
        """The microseconds of CPU per request of each step without HTTP, on the servers' core."""
        form = next(iter(workload.bodies))
        command = ["taskset", "--cpu-list", str(self.server_core), sys.executable, "-m", "benchmarks.limit"]
        command += [self.kind, str(self.version_folder), str(self.workspace / workload.slug / form)]
        command += ["--batches", *map(str, workload.batches)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        costs: dict[str, float] = json.loads(output)
        return costs

    @property
    def _answers(self) -> Path:
        return self.workspace / "answers"

    def _measure(
        self,
        server: Server,
        url: str,
        contender: Contender,
        workload: Workload,
        round_: int,
        connections: Sequence[int],
        seconds: int,
    ) -> list[Sample]:
        bodies, content_type = self.workspace / workload.slug / contender.form, CONTENT_TYPES[contender.form]
        run_load(url, bodies, content_type, workload.accept, max(connections), WARM_UP_SECONDS, self.load_core)
        samples = []
        for count in connections:
            cpu_seconds = server.cpu_seconds()
            load = run_load(url, bodies, content_type, workload.accept, count, seconds, self.load_core)
            cpu_us = (server.cpu_seconds() - cpu_seconds) / max(1, load.requests) * 1e6
            resident_mb = server.resident_bytes() / 1e6
            samples.append(Sample(workload.name, contender.name, round_, count, load, cpu_us, resident_mb))
        return samples


def _check_answers(url: str, contender: Contender, workload: Workload) -> None:
    if not contender.answers:
        return
    for index, expected in enumerate(workload.expected):
        found = _ask(url, contender, workload, index)
        if found != expected:
            raise RuntimeError(f"{contender.title}: answers {found}, expected {expected} from the model itself")


def _ask(url: str, contender: Contender, workload: Workload, index: int) -> object:
    """What a server answers to one of the requests, or None where it is not ready."""
    headers = {"Content-Type": CONTENT_TYPES[contender.form]}
    if workload.accept is not None:
        headers["Accept"] = workload.accept
    request = urllib.request.Request(url, workload.bodies[contender.form][index], headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            content = response.read()
            return workload.read(json.loads(content) if workload.accept is None else content)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise RuntimeError(f"{contender.title}: status {error.code}: {error.read(1000)!r}") from error
    except (urllib.error.URLError, ConnectionError):
        return None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
