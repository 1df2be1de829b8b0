"""Versions come one after the other while clients ask, a third of them damaged: nobody is to notice.

    python -m benchmarks.reliability.reload                            100 reloads of the shipped churn model
    python -m benchmarks.reliability.reload --kind image_classifier
    python -m benchmarks.reliability.reload --reloads 15 --seed 7

Starts the service on copies of a shipped version and asks it over 16 connections at a steady rate, with the requests
of the version's golden examples. Each new version is put in place by one rename, but for those that are half copied:
their missing files follow in every other case, once the service has refused what it found. Every answer must have
status 200, the golden predictions, and a version that was whole, no older than one that had taken over before the
request and no newer than one that was there at its end. Latencies are split by whether a version was being looked at
when the request began. Linux.
"""

import argparse
import asyncio
import base64
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.process import Server
from benchmarks.reliability.connection import Connection, Response
from benchmarks.reliability.growth import find_slope
from benchmarks.reliability.results import format_results
from benchmarks.reliability.service import ROOT, ROUTES, run_service
from benchmarks.reliability.versions import DAMAGES, copy_version, halve
from models.manifest import GOLDEN_FILE, MANIFEST_FILE, GoldenExample, load_golden
from models.repository import Repository

WATCH_SECONDS = 0.1
LONGEST_RELOAD_SECONDS = 60.0
_COMPLETED = "half-copied folder, completed later"
_WHOLE = "whole"


@dataclass(frozen=True)
class Options:
    """What is done."""

    kind: str = "churn"
    reloads: int = 100
    connections: int = 16
    requests_per_second: float = 400.0
    steady_seconds: float = 0.5  # between reloads
    seed: int = 0


@dataclass
class Result:
    """What was seen. Times are seconds of ``time.perf_counter``."""

    outcomes: dict[str, int] = field(default_factory=dict)  # reloads by what they were
    steady_ms: list[float] = field(default_factory=list)
    reload_ms: list[float] = field(default_factory=list)
    reload_seconds: list[float] = field(default_factory=list)  # from a version's rename to its serving
    failures: list[str] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)  # after each reload
    threads: list[int] = field(default_factory=list)

    @property
    def growth_kb_per_reload(self) -> float:
        """The slope of the resident memory over the second half of the reloads, by least squares."""
        return find_slope(self.resident_mb) * 1000


class Proof:
    """One run: the clients, and the versions that come meanwhile."""

    def __init__(self, options: Options, root: Path, port: int, server: Server) -> None:
        self.result = Result()
        self._options = options
        self._source = Repository(ROOT / "models").folder(options.kind, 1)
        self._examples = load_golden(self._source)
        self._root = root
        self._port = port
        self._server = server
        self._served = 1  # the newest version that was seen to serve
        self._whole = {1}
        self._reloading = False
        self._ended = False

    async def run(self) -> None:
        """Ask until all versions have come."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._options.connections):
                group.create_task(self._ask_again_and_again(number))
            await self._reload_again_and_again()
            self._ended = True

    async def _reload_again_and_again(self) -> None:
        async with Connection(self._port) as connection:
            await asyncio.sleep(4 * self._options.steady_seconds)
            for version, what in enumerate(list_reloads(self._options.reloads, self._options.seed), 2):
                self.result.outcomes[what] = self.result.outcomes.get(what, 0) + 1
                await self._reload(connection, version, what)
                self._reloading = False
                self.result.resident_mb.append(self._server.resident_bytes() / 1e6)
                self.result.threads.append(_count_threads(self._server))
                await asyncio.sleep(self._options.steady_seconds)

    async def _reload(self, connection: Connection, version: int, what: str) -> None:
        """Put a version in place, and wait until the service has taken or refused it."""
        staging = self._root.parent / "staging" / str(version)
        await asyncio.to_thread(copy_version, self._source, staging)
        missing = {file: (staging / file).read_bytes() for file in (GOLDEN_FILE, MANIFEST_FILE)}
        if what == _WHOLE:
            self._whole.add(version)
        else:
            DAMAGES.get(what, halve)(staging)
        folder = self._root / self._options.kind / str(version)
        self._reloading = True
        began = time.perf_counter()
        staging.rename(folder)
        if what != _WHOLE:
            await self._wait(connection, version, "refused")
        if what == _COMPLETED:
            self._whole.add(version)
            began = time.perf_counter()
            for file, content in missing.items():
                (folder / file).write_bytes(content)
        if version in self._whole:
            await self._wait(connection, version, "serving")
            self._served = version
            self.result.reload_seconds.append(time.perf_counter() - began)

    async def _wait(self, connection: Connection, version: int, state: str) -> None:
        deadline = time.perf_counter() + LONGEST_RELOAD_SECONDS
        while (found := await self._find_state(connection, version)) != state:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"version {version} is {found}, expected {state} after {LONGEST_RELOAD_SECONDS} s")
            await asyncio.sleep(0.02)

    async def _find_state(self, connection: Connection, version: int) -> str | None:
        response = await connection.ask("GET", f"/models/{self._options.kind}")
        versions = json.loads(response.body)["versions"]
        return next((entry["state"] for entry in versions if entry["version"] == str(version)), None)

    async def _ask_again_and_again(self, number: int) -> None:
        """One client: a request at a time, at its share of the rate."""
        examples = self._examples.examples
        period = self._options.connections / self._options.requests_per_second
        start = time.perf_counter() + period * number / self._options.connections
        async with Connection(self._port) as connection:
            count = 0
            while not self._ended:
                start = max(start + period, time.perf_counter())
                await asyncio.sleep(start - time.perf_counter())
                await self._ask(connection, examples[(number + count) % len(examples)])
                count += 1

    async def _ask(self, connection: Connection, example: GoldenExample) -> None:
        served, is_reloading = self._served, self._reloading
        query = "&".join(f"{name}={value}" for name, value in example.request.query.items())
        body = base64.b64decode(example.request.body)
        began = time.perf_counter()
        try:
            response = await connection.ask(
                "POST", f"{ROUTES[self._options.kind]}?{query}", body, example.request.content_type
            )
        except ConnectionError as error:
            self.result.failures.append(str(error))
            raise
        milliseconds = (time.perf_counter() - began) * 1e3
        (self.result.reload_ms if is_reloading else self.result.steady_ms).append(milliseconds)
        problem = self._check(response, example, served)
        if problem is not None:
            self.result.failures.append(problem)

    def _check(self, response: Response, example: GoldenExample, served: int) -> str | None:
        """What is wrong with an answer; ``served`` had taken over before it was asked for."""
        if response.status != 200:
            return f"status {response.status}: {response.body[:200]!r}"
        answer = json.loads(response.body)
        version = int(answer["version"])
        if version not in self._whole or version < served:
            return f"version {version}, expected a whole one from {served} on"
        if not _is_near(answer["predictions"], list(example.predictions), self._examples.tolerance):
            return f"predictions {answer['predictions']}, expected {example.predictions}"
        return None


def list_reloads(count: int, seed: int) -> list[str]:
    """What each version is: a third of them are damaged, in every way as often as in any other."""
    ways = [*DAMAGES, _COMPLETED]
    damaged = [ways[index % len(ways)] for index in range(count // 3)]
    reloads = damaged + [_WHOLE] * (count - len(damaged))
    random.Random(seed).shuffle(reloads)
    return reloads


def _is_near(found: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, Mapping):
        same_names: bool = found.keys() == expected.keys()
        return same_names and all(_is_near(found[name], value, tolerance) for name, value in expected.items())
    if isinstance(expected, list | tuple):
        pairs = zip(found, expected, strict=False)
        return len(found) == len(expected) and all(_is_near(*pair, tolerance) for pair in pairs)
    if isinstance(expected, float):
        return bool(abs(found - expected) <= tolerance)
    return bool(found == expected)


def _count_threads(server: Server) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in server.pids())


def prove(options: Options, workspace: Path) -> Result:
    """Start a server in ``workspace`` and run the proof.

    Raises:
        RuntimeError: the server does not start, or neither takes nor refuses a version.
    """
    root = workspace / "models"
    copy_version(Repository(ROOT / "models").folder(options.kind, 1), root / options.kind / "1")
    (workspace / "staging").mkdir()
    environment = {"MODELYARD_WATCH_SECONDS": str(WATCH_SECONDS)}
    with run_service(root, workspace, environment) as (server, port):
        proof = Proof(options, root, port, server)
        asyncio.run(proof.run())
        return proof.result


def format_table(options: Options, result: Result) -> str:
    """The result as Markdown."""
    steady, reload_ = quantiles(result.steady_ms, n=1000), quantiles(result.reload_ms, n=1000)
    damaged = sum(count for what, count in result.outcomes.items() if what != _WHOLE)
    requests = len(result.steady_ms) + len(result.reload_ms)
    rows = [
        ("reloads, damaged or half copied among them", f"{sum(result.outcomes.values())}, {damaged}"),
        *((f"of these: {what}", str(count)) for what, count in sorted(result.outcomes.items())),
        (f"requests over {options.connections} connections", f"{requests:,}"),
        ("failed, or not of a version that was valid", str(len(result.failures))),
        ("p50, p99 ms while nothing is loaded", f"{steady[499]:.1f}, {steady[989]:.1f}"),
        ("p50, p99 ms while a version is loaded", f"{reload_[499]:.1f}, {reload_[989]:.1f}"),
        ("from rename to serving, median and longest s", _format_range(result.reload_seconds)),
        ("resident MB after the first and the last reload", _format_ends(result.resident_mb)),
        ("growth over the second half, kB a reload", f"{result.growth_kb_per_reload:.0f}"),
        ("threads after the first and the last reload", _format_ends(result.threads)),
    ]
    return format_results(f"{options.kind}, seed {options.seed}", rows)


def _format_range(values: Sequence[float]) -> str:
    ranked = sorted(values)
    return f"{ranked[len(ranked) // 2]:.2f}, {ranked[-1]:.2f}"


def _format_ends(values: Sequence[float]) -> str:
    return f"{values[0]:.0f}, {values[-1]:.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the proof and print its table; ends with status 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=ROUTES, default=Options.kind, help="what is served (churn)")
    parser.add_argument("--reloads", type=int, default=Options.reloads, help="how many versions come (100)")
    parser.add_argument("--rate", type=float, default=Options.requests_per_second, help="requests a second (400)")
    parser.add_argument("--seed", type=int, default=Options.seed, help="which of them are damaged, and how (0)")
    parsed = parser.parse_args(arguments)
    options = Options(kind=parsed.kind, reloads=parsed.reloads, requests_per_second=parsed.rate, seed=parsed.seed)
    with tempfile.TemporaryDirectory(prefix="modelyard-reload-") as workspace:
        result = prove(options, Path(workspace))
    print(format_table(options, result))
    if result.failures:
        raise SystemExit("\n".join(result.failures[:20]))


if __name__ == "__main__":
    main()
