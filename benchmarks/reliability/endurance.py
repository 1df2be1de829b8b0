"""Request after request, and what memory they leave behind.

    python -m benchmarks.reliability.endurance                        100,000 requests, most for the shipped churn model
    python -m benchmarks.reliability.endurance --requests 1000000 --minutes 60

Sixteen connections ask as fast as they are answered. One request in fifty asks for a path of which there is no second
and one in fifty sends what is no body, so that what is kept of a path or a failure would show. The resident memory of
all the service's processes is looked at a hundred times; its growth is the slope of the second half. It ends after the
minutes given, whatever has been asked by then. Linux.
"""

import argparse
import asyncio
import base64
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process import Server
from benchmarks.reliability.connection import Connection
from benchmarks.reliability.growth import find_slope
from benchmarks.reliability.results import format_results
from benchmarks.reliability.service import ROOT, ROUTES, run_service
from models.manifest import load_golden
from models.repository import Repository

CONNECTIONS = 16
LOOKS = 100
_STRANGE_SHARE = 0.02  # of each of the two kinds


@dataclass(frozen=True)
class Options:
    """What is done."""

    kind: str = "churn"
    requests: int = 100_000
    minutes: float = 10.0
    seed: int = 0


@dataclass
class Result:
    """What was seen."""

    statuses: dict[int, int] = field(default_factory=dict)
    resident_mb: list[float] = field(default_factory=list)
    requests: int = 0
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        """The requests whose status was none of those that were to be expected."""
        return sum(count for status, count in self.statuses.items() if status not in (200, 400, 404, 422))

    @property
    def growth_bytes_per_request(self) -> float:
        """The slope of the resident memory over the second half of the requests."""
        return find_slope(self.resident_mb) * 1e6 / (self.requests / len(self.resident_mb))


def endure(options: Options, workspace: Path) -> Result:
    """Start a server in ``workspace`` and ask it.

    Raises:
        RuntimeError: the server does not start.
        ConnectionError: it closed a connection.
    """
    models = workspace / "models"
    (models / options.kind).mkdir(parents=True)
    (models / options.kind / "1").symlink_to(Repository(ROOT / "models").folder(options.kind, 1))
    with run_service(models, workspace, {}) as (server, port):
        return asyncio.run(_ask_all(options, server, port))


async def _ask_all(options: Options, server: Server, port: int) -> Result:
    result = Result()
    began = time.monotonic()
    look_every = max(options.requests // LOOKS, 1)
    examples = load_golden(Repository(ROOT / "models").folder(options.kind, 1)).examples
    bodies = [(base64.b64decode(example.request.body), example.request.content_type) for example in examples]

    async def ask_again_and_again(number: int) -> None:
        draw = random.Random(options.seed * CONNECTIONS + number)
        async with Connection(port) as connection:
            while result.requests < options.requests and time.monotonic() < began + 60 * options.minutes:
                result.requests += 1
                if result.requests % look_every == 0:
                    result.resident_mb.append(server.resident_bytes() / 1e6)
                body, content_type = draw.choice(bodies)
                path, chance = ROUTES[options.kind], draw.random()
                if chance < _STRANGE_SHARE:
                    path = f"/{draw.getrandbits(64):x}"
                elif chance < 2 * _STRANGE_SHARE:
                    body = draw.randbytes(100)
                status = (await connection.ask("POST", path, body, content_type)).status
                result.statuses[status] = result.statuses.get(status, 0) + 1

    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(ask_again_and_again(number))
    result.seconds = time.monotonic() - began
    return result


def format_table(options: Options, result: Result) -> str:
    """The result as Markdown."""
    statuses = ", ".join(f"{count:,} of {status}" for status, count in sorted(result.statuses.items()))
    rows = [
        (f"requests over {CONNECTIONS} connections", f"{result.requests:,} in {result.seconds:.0f} s"),
        ("status", statuses),
        ("resident MB in the middle and at the end", _format_ends(result.resident_mb)),
        ("growth over the second half, bytes a request", f"{result.growth_bytes_per_request:.1f}"),
    ]
    return format_results(f"{options.kind}, seed {options.seed}", rows)


def _format_ends(values: Sequence[float]) -> str:
    return f"{values[len(values) // 2]:.1f}, {values[-1]:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask, and print the table; ends with status 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=ROUTES, default=Options.kind, help="what is served (churn)")
    parser.add_argument("--requests", type=int, default=Options.requests, help="how many (100,000)")
    parser.add_argument("--minutes", type=float, default=Options.minutes, help="how long at most (10)")
    parser.add_argument("--seed", type=int, default=Options.seed, help="what is asked in which order (0)")
    parsed = parser.parse_args(arguments)
    options = Options(kind=parsed.kind, requests=parsed.requests, minutes=parsed.minutes, seed=parsed.seed)
    with tempfile.TemporaryDirectory(prefix="modelyard-endurance-") as workspace:
        result = endure(options, Path(workspace))
    print(format_table(options, result))
    if result.failures:
        raise SystemExit(f"{result.failures:,} requests failed: {result.statuses}")


if __name__ == "__main__":
    main()
