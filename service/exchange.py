"""One request on its way, and its answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_NO_EXTENSIONS: Final[Mapping[str, object]] = MappingProxyType({})

Chunks = AsyncGenerator[bytes, None]

JSON = b"application/json"
PROBLEM = b"application/problem+json"


class Answer(NamedTuple):
    """What goes back to the client.

    ``content`` that is made while it is sent is a generator of chunks: each is asked for once the client has taken the
    one before, so that what waits for a slow client is one chunk. It is closed where the client goes away. A deadline
    holds for its first chunk, and a failure until then is answered as a problem; later ones end the connection.
    """

    status: int
    content_type: bytes
    content: bytes | Chunks
    headers: Sequence[tuple[bytes, bytes]] = ()


class Exchange:
    """A request, its place in the service, and how far it has come. Times are those of ``time.perf_counter``."""

    __slots__ = (
        "answer_headers",
        "began",
        "body_complete",
        "deadline",
        "ended_by",
        "headers",
        "listener",
        "receive",
        "request_id",
        "scope",
        "task",
    )

    def __init__(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        request_id: str,
        began: float,
        deadline: float,
        task: asyncio.Task[None],
    ) -> None:
        self.scope = scope
        self.headers = headers
        self.receive = receive
        self.request_id = request_id
        self.began = began
        self.deadline = deadline
        self.task = task
        self.answer_headers: Sequence[tuple[bytes, bytes]] = ()  # what every answer to it carries
        self.body_complete = False
        self.listener: asyncio.Task[None] | None = None  # waits for the client to go, where the answer takes long
        self.ended_by: Literal["deadline", "client"] | None = None

    def find_extension(self, name: str) -> Any:
        """What the server offers beyond the ASGI protocol, by name; None where it does not."""
        return self.scope.get("extensions", _NO_EXTENSIONS).get(name)

    @property
    def is_late(self) -> bool:
        """Whether its deadline passed, rather than that its client went, where it was ended."""
        return self.ended_by == "deadline" or time.perf_counter() >= self.deadline
