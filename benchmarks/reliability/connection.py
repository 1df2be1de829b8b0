"""One HTTP/1.1 connection that is kept: as little Python as it takes, so that a client costs less than the server."""

import asyncio
from typing import NamedTuple


class Response(NamedTuple):
    """An answer."""

    status: int
    body: bytes


class Connection:
    """A connection to a server at 127.0.0.1. Use it as an asynchronous context manager."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> Response:
        """Send a request and read its answer, whose length the server has to say.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        try:
            answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return Response(int(answer[9:12]), await self._reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the server has closed the connection") from error
