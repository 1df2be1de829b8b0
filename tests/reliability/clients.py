"""Clients that keep count: of each request when it began, when it ended and how."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_LIMIT = 2**20


@dataclass
class Outcome:
    """One request. Times are those of ``time.monotonic``; ``status`` is 0 where there was no whole answer."""

    began: float
    ended: float = 0.0
    status: int = 0
    error: str = ""
    refused: bool = False  # there was no connection to send it on
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return self.ended - self.began


class Connection:
    """A connection that is kept as long as the server keeps it, and opened again when it is gone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, timeout_seconds: float = 30.0, began: float | None = None) -> Outcome:
        """Send one request, on a new connection where there is none."""
        outcome = Outcome(time.monotonic() if began is None else began)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ask(request, outcome)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            outcome.error = f"{type(error).__name__}: {error}"
            self.close()
        outcome.ended = time.monotonic()
        return outcome

    def close(self) -> None:
        """Let the connection go."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, request: bytes, outcome: Outcome) -> None:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the server let it go while nothing was sent, as it may
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=_LIMIT)
            except OSError:
                outcome.refused = True
                raise
        reader, writer = self._streams
        writer.write(request)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        outcome.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        await reader.readexactly(int(outcome.headers["content-length"]))
        outcome.status = int(lines[0].split()[1])
        if outcome.headers.get("connection") == "close":
            self.close()


def make_request(path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as it is sent; ``content_type`` stands for ``Content-Type``."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask_on(port: int, request: bytes, until: Callable[[], bool], *, keep: bool = True) -> list[Outcome]:
    """Send one request after the other until ``until`` says so, on one connection, or each on a new one."""
    connection = Connection(port)
    outcomes = []
    while not until():
        outcomes.append(await connection.ask(request))
        if not keep:
            connection.close()
        if not outcomes[-1].status:
            await asyncio.sleep(0.01)
    connection.close()
    return outcomes


async def ask_at(port: int, request: bytes, per_second: float, seconds: float, seed: int) -> list[Outcome]:
    """Send requests at random times (a Poisson process), whether or not those before were answered."""
    generator = random.Random(seed)
    idle: list[Connection] = []
    outcomes: list[Outcome] = []
    tasks: set[asyncio.Task[None]] = set()

    async def ask(at: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        outcomes.append(await connection.ask(request, began=at))
        idle.append(connection)

    began = at = time.monotonic()
    while at < began + seconds:
        at += generator.expovariate(per_second)
        if at > time.monotonic():
            await asyncio.sleep(at - time.monotonic())
        task = asyncio.create_task(ask(at))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return outcomes


async def wait_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Whether ``condition`` came to hold in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            while not condition():  # noqa: ASYNC110  # what it looks at is outside this process
                await asyncio.sleep(0.01)
            return True
    return False
