"""The metrics of all workers in one answer, whichever of them is asked.

Each worker counts for itself, and a scrape reaches any one of them. So the one that is asked asks the others, over
sockets in a folder that they share, and answers for all, with the label ``worker`` on each sample. The samples are not
added up: a worker that is replaced begins at zero, and a sum of counters that did so would seem to go backwards.
With one worker there is none of this.
"""

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from service.exchange import Answer, Exchange, Message
from service.routes import Handler

# Names the folder, which the supervisor makes where there are several workers.
FOLDER: Final = "WORKERS_FOLDER_OF_MODELYARD"
_TIMEOUT_SECONDS: Final = 1.0


class Siblings:
    """The workers of one service, seen from one of them.

    Args:
        folder: where their sockets are.
        number: this worker's.
        get_metrics: answers with this worker's metrics.
    """

    def __init__(self, folder: Path, number: int, get_metrics: Handler) -> None:
        self._folder = folder
        self._number = number
        self._get_own = get_metrics

    async def open(self) -> None:
        """Answer the others from now on."""
        path = self._folder / str(self._number)
        path.unlink(missing_ok=True)  # of a worker that this one replaces
        self._server = await asyncio.start_unix_server(self._answer, path)

    async def get_metrics(self, exchange: Exchange) -> Answer:
        """The metrics of all workers that answer within a second."""
        own = await self._get_own(exchange)
        assert isinstance(own.content, bytes)  # noqa: S101  # it is no stream
        numbers = [int(path.name) for path in self._folder.iterdir() if path.name != str(self._number)]
        others = await asyncio.gather(*map(self._ask, numbers))
        texts = {self._number: own.content} | dict(zip(numbers, others, strict=True))
        return own._replace(content=merge_metrics({number: text for number, text in sorted(texts.items()) if text}))

    async def _ask(self, number: int) -> bytes:
        """Another worker's metrics; nothing where there is no such worker any more."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._folder / str(number))
                with contextlib.closing(writer):
                    return await reader.read(-1)
        except OSError:  # a TimeoutError is one too
            return b""

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            answer = await self._get_own(_make_exchange())
            assert isinstance(answer.content, bytes)  # noqa: S101  # as above
            writer.write(answer.content)
            with contextlib.suppress(ConnectionError):
                await writer.drain()


def has_siblings() -> bool:
    """Whether this process is one of several workers, as the supervisor says."""
    return FOLDER in os.environ


def find_siblings(number: int, get_metrics: Handler) -> Siblings | None:
    """The siblings of worker ``number``, where there are some."""
    return Siblings(Path(os.environ[FOLDER]), number, get_metrics) if has_siblings() else None


def merge_metrics(texts: Mapping[int, bytes]) -> bytes:
    """One text of Prometheus' format from those of several workers, each sample with its worker's number."""
    families: dict[str, list[str]] = {}  # what is said of each, then its samples
    described: set[str] = set()
    for number, text in texts.items():
        family: list[str] = []
        for line in text.decode().splitlines():
            if line.startswith("# "):
                name = line.split(" ", 3)[2]
                family = families.setdefault(name, [])
                if line not in described:
                    described.add(line)
                    family.append(line)
            elif line:
                family.append(_label(line, number))
    return "\n".join(_flatten(families.values())).encode() + b"\n"


def _label(sample: str, number: int) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{worker="{number}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{number}"}} {value}'


def _flatten(families: Iterable[list[str]]) -> Iterable[str]:
    for lines in families:
        yield from lines


def _make_exchange() -> Exchange:
    """A sibling's question, in the form of a request."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # each connection has one
    return Exchange({"type": "http", "path": "/metrics"}, {}, receive, "", time.perf_counter(), math.inf, task)
