"""A server of answers that are sent while they are made, one route for each way in which that can go."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any

import bentoml

from service import front, logs
from service.config import Settings
from service.errors import OverloadedError
from service.exchange import Answer, Exchange, Receive, Scope, Send
from service.front import Front
from service.metrics import Metrics
from service.routes import Route, reading

DEADLINE_SECONDS = 0.5

Chunks = AsyncGenerator[bytes, None]

begun: list[str] = []
closed: list[str] = []


async def count_slowly() -> Chunks:
    for number in range(8):
        yield b"%d\n" % number
        await asyncio.sleep(DEADLINE_SECONDS / 4)


async def go_on() -> Chunks:
    try:
        while True:
            yield bytes(2**20)
            await asyncio.sleep(0.01)
    finally:
        closed.append("go_on")


async def rush() -> Chunks:
    """Go on without a pause until another has its turn, which may never be."""
    ends, before = time.perf_counter() + 20, len(begun)
    while len(begun) == before and time.perf_counter() < ends:
        # So little that no buffer gets full, for which there would be a pause.
        yield b"%d" % (sum(range(100_000)) % 10)
    if len(begun) == before:
        yield b"alone"


async def refuse() -> Chunks:
    raise OverloadedError("over capacity", retry_after_seconds=3)
    yield b""


async def fail() -> Chunks:
    yield b"%d" % (1 // 0)


async def begin_never() -> Chunks:
    await asyncio.sleep(60)
    yield b""


async def begin_and_fail() -> Chunks:
    yield b"begun"
    await asyncio.sleep(0.01)
    yield b"%d" % (1 // 0)


async def begin_and_refuse() -> Chunks:
    yield b"begun"
    raise OverloadedError("over capacity", retry_after_seconds=3)


async def say_nothing() -> Chunks:
    begun.append("say_nothing")
    return
    yield b""


def make_route(path: str, make: Callable[[], Chunks]) -> Route:
    async def answer(exchange: Exchange) -> Answer:
        while (await exchange.receive())["more_body"]:
            pass
        exchange.body_complete = True
        return Answer(200, b"text/plain", make(), [(b"x-more", b"yes")])

    return Route(path, {"POST": answer})


def list_routes(_catalogue: object, _settings: object, metrics: Metrics, *_: object) -> dict[str, Route]:
    async def get_metrics(_: Exchange) -> Answer:
        return Answer(200, b"text/plain", metrics.render())

    async def get_closed(_: Exchange) -> Answer:
        return Answer(200, b"text/plain", ",".join(closed).encode())

    makers = (count_slowly, go_on, rush, refuse, fail, begin_never, begin_and_fail, begin_and_refuse, say_nothing)
    routes = {f"/{make.__name__}": make_route(f"/{make.__name__}", make) for make in makers}
    return {**routes, "/metrics": reading("/metrics", get_metrics), "/closed": reading("/closed", get_closed)}


async def behind(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def make_app() -> Front:
    """Front with the routes above in the place of the service's."""
    settings = Settings(deadline_seconds=DEADLINE_SECONDS)
    service: Any = SimpleNamespace(settings=settings, metrics=Metrics(), catalogue=None, audit=None)
    bentoml.get_current_service = lambda: service
    front.list_routes = list_routes  # type: ignore[assignment]
    logs.configure("readable")
    return Front(behind)
