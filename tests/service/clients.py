"""What clients do with a server: ask at once, find out by its metrics, and go away."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx


def read_metrics(client: httpx.Client) -> dict[str, float]:
    """Every series with its value."""
    lines = [line for line in client.get("/metrics").text.splitlines() if line and not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def read_metric(client: httpx.Client, name: str) -> float:
    """The value of a metric, summed over all labels that contain what stands in braces, if anything does."""
    family, _, labels = name.partition("{")
    pattern = re.compile(rf"{re.escape(family)}(\{{.*\}})?")
    wanted = labels.rstrip("}")
    return sum(
        value for series, value in read_metrics(client).items() if pattern.fullmatch(series) and wanted in series
    )


def resident_bytes(client: httpx.Client) -> int:
    """The memory of the server's worker."""
    return round(read_metric(client, "process_resident_memory_bytes"))


def connect(url: str, timeout_seconds: float | None = 10) -> socket.socket:
    """A bare connection to a server."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), timeout=timeout_seconds)


def send_at_once(url: str, clients: int, send: Callable[[httpx.AsyncClient, int], Coroutine[Any, Any, None]]) -> None:
    """Have so many ask at a time, each by ``send`` with its number."""

    async def send_all() -> None:
        limits = httpx.Limits(max_connections=clients)
        async with (
            httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(clients):
                group.create_task(send(client, number))

    asyncio.run(send_all())


def leave_early(client: httpx.Client, route: str, request: Mapping[str, object], kind: str) -> float:
    """Ask for something that takes long, go away when it begins, and say how many rows are made of it all the same.

    Args:
        client: of a server that nobody else asks.
        route: what is asked.
        request: likewise.
        kind: of the model that makes the rows.
    """
    body = json.dumps(request).encode()
    head = f"POST {route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    series = f'nv_inference_count{{model="{kind}"}}'
    before = read_metric(client, series)
    with connect(str(client.base_url), timeout_seconds=None) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 10
    made = read_metric(client, series)
    while time.monotonic() < deadline:
        time.sleep(0.3)
        last, made = made, read_metric(client, series)
        if made == last:
            break
    return made - before
