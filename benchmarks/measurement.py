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

from benchmarks.bodies import CONTENT_TYPES, encode_body
from benchmarks.contenders import Contender, environment
from benchmarks.load import Load, run_load
from benchmarks.process import Server

ROOT = Path(__file__).resolve().parent.parent
WARM_UP_SECONDS = 2


@dataclass(frozen=True)
class Sample:
    """One server under one load in one round."""

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

    models: Path
    version_folder: Path
    images: Sequence[bytes]
    labels: Sequence[str]
    workspace: Path
    server_core: int
    load_core: int

    def measure(self, contender: Contender, round_: int, connections: Sequence[int], seconds: int) -> list[Sample]:
        """Start ``contender``, check its answers, warm it up and measure it under each number of connections."""
        port = _free_port()
        url = f"http://127.0.0.1:{port}{contender.route}"
        bodies, content_type = self.workspace / contender.form, CONTENT_TYPES[contender.form]
        variables = environment(contender, self.models, self.version_folder, self.workspace / "bentoml")
        log = self.workspace / f"{contender.name}.log"
        with Server(contender.command(port), variables, self.server_core, log) as server:
            server.wait(lambda: _ask(url, contender, self.images[0]) is not None)
            self._check_answers(url, contender)
            run_load(url, bodies, content_type, max(connections), WARM_UP_SECONDS, self.load_core)
            samples = []
            for count in connections:
                cpu_seconds = server.cpu_seconds()
                load = run_load(url, bodies, content_type, count, seconds, self.load_core)
                cpu_us = (server.cpu_seconds() - cpu_seconds) / max(1, load.requests) * 1e6
                samples.append(Sample(contender.name, round_, count, load, cpu_us, server.resident_bytes() / 1e6))
            return samples

    def measure_limit(self) -> dict[str, float]:
        """The microseconds of CPU per image of each step without HTTP, on the servers' core."""
        command = ["taskset", "--cpu-list", str(self.server_core), sys.executable, "-m", "benchmarks.limit"]
        command += [str(self.version_folder), str(self.workspace / "raw")]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        costs: dict[str, float] = json.loads(output)
        return costs

    def _check_answers(self, url: str, contender: Contender) -> None:
        if not contender.answers:
            return
        for image, label in zip(self.images, self.labels, strict=True):
            found = _ask(url, contender, image)
            if found != label:
                raise RuntimeError(f"{contender.title}: answers '{found}', expected '{label}' from the model itself")


def _ask(url: str, contender: Contender, image: bytes) -> str | None:
    """The label that a server answers for ``image``, "" from the floor, or None where it is not ready."""
    headers = {"Content-Type": CONTENT_TYPES[contender.form]}
    request = urllib.request.Request(url, encode_body(image, contender.form), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise RuntimeError(f"{contender.title}: status {error.code}: {error.read(1000)!r}") from error
    except (urllib.error.URLError, ConnectionError):
        return None
    label: str = answer["predictions"][0]["label"]
    return label


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
