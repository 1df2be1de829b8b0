"""HTTP on a connection: uvicorn's protocol on httptools, with some additions.

What its parser cannot read is answered with a problem, like every other failure; so is a head without end, of which
the parser would keep all. A connection whose client stalls or rests is told from others, so that the server can end it:
uvicorn does so only between two requests, by a timer for each request. And an answer that is there as a whole is
written by one call, in one piece: uvicorn checks each header by two regular expressions and writes head and body apart.
1.4 us a request here, 3.5 us there (measured in a loop, AMD EPYC, Python 3.11), and twice as much between runs of a
network, which leave the caches cold. So is a body that is there as a whole taken by one call.

BentoML starts uvicorn and gives no way to choose the protocol, so it is entered under the name that uvicorn looks for.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

Headers = Iterable[tuple[bytes, bytes]]

# The extensions' names in an ASGI scope; what they stand for are the methods of HttpProtocol.
TAKE_BODY: Final = "modelyard.take_body"
TakeBody = Callable[[Mapping[str, object]], bytes | None]
WRITE_ANSWER: Final = "modelyard.write_answer"
WriteAnswer = Callable[[Mapping[str, object], int, Headers, bytes], bool]
# A head, or what stands between and behind the chunks of a body. Somewhat more is kept where it comes at once.
MAX_HEAD_BYTES: Final = 65_536


class Application(Protocol):
    """What an application has besides the ASGI interface."""

    draining: bool  # whether connections are to end with their next answer

    def refuse_unreadable(self) -> tuple[int, Headers, bytes]:
        """The status, headers and body of the answer to what is no HTTP; counts and logs it."""


class HttpProtocol(HttpToolsProtocol):
    """Speaks HTTP/1.1 with one client."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Without uvicorn's reading of X-Forwarded-For: nobody asks for the client's address.
        self.app = self.config.app
        self._application: Application = self.config.app  # type: ignore[assignment]
        self._awaited_since: float | None = None  # the rest of a message, or the next, where no request is answered
        self._is_read = False  # the newest message, to its end
        self._unread_since: float | None = None  # what was written
        self._head_bytes = 0
        self._extensions = {TAKE_BODY: self.take_body, WRITE_ANSWER: self.write_answer}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first request."""
        super().connection_made(transport)
        self._awaited_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Read on, unless there has been too much that is no body."""
        if self._awaited_since is not None and self._is_resting():
            self._awaited_since = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that all of a request has been read."""
        self._is_read = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or await it: as uvicorn does, but without its timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._head_bytes, self._awaited_since = 0, self.loop.time()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.tasks.add(self.loop.create_task(self._run(cycle, app)))

    async def _run(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request; the task leaves ``tasks`` by itself: a callback, as uvicorn's, costs a call of the loop."""
        task = asyncio.current_task()
        try:
            await cycle.run_asgi(app)
        finally:
            self.tasks.discard(task)

    def pause_writing(self) -> None:
        """Await that the client reads."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        self._unread_since = None

    def end_if_idle(self, stall_seconds: float, rest_seconds: float) -> None:
        """Let the connection go where what is awaited of its client has not come for too long.

        Args:
            stall_seconds: that it may take to send a head, or what it still owes of an answered request, and to read.
            rest_seconds: that it may send nothing between two requests.
        """
        now, stalled = self.loop.time(), [self._unread_since]
        if not self._is_resting():
            stalled.append(self._awaited_since)
        elif self._awaited_since is not None and now - self._awaited_since > rest_seconds:
            self.transport.close()
        if any(since is not None and now - since > stall_seconds for since in stalled):
            self.transport.abort()  # to close it would wait for the client to read

    def _is_resting(self) -> bool:
        """Whether a request has been read to its end, and nothing of another has come."""
        # uvicorn makes a scope as soon as a request begins, and its cycle when its head is complete.
        return self._is_read and not self._head_bytes and self.cycle.scope is self.scope

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text says less
        """Answer what is no HTTP, and end the connection."""
        status, headers, body = self._application.refuse_unreadable()
        headers = (*self.server_state.default_headers, *headers, (b"connection", b"close"))
        self.transport.write(join_head(status, headers) + body)
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Offer the extensions to the request whose headers have been read."""
        super().on_headers_complete()
        self._head_bytes, self._awaited_since, self._is_read = 0, None, False
        if self._application.draining and self.cycle is not None:
            self.cycle.keep_alive = False
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]

    def take_body(self, scope: Mapping[str, object]) -> bytes | None:
        """The body of the request of ``scope``, of which nothing has been read yet.

        Returns:
            None where it has to be received in the usual way: some of it has not come, or its client has gone, or the
            request is not the connection's newest.
        """
        cycle = self.cycle
        if cycle.scope is not scope or cycle.more_body or cycle.disconnected or cycle.waiting_for_100_continue:
            return None
        content = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.message_event.clear()  # as after reading: what is awaited next is that the client goes
        self.flow.resume_reading()
        return content

    def write_answer(self, scope: Mapping[str, object], status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole answer to the request of ``scope``; its headers give its length.

        Returns:
            False where it has to be sent in the usual way: the request is not the connection's newest, or what was
            written before has not been read yet.
        """
        cycle = self.cycle
        if cycle.scope is not scope or cycle.response_started or self.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        headers = (*cycle.default_headers, *headers)
        if not cycle.keep_alive:
            headers = (*headers, (b"connection", b"close"))
        head = join_head(status, headers)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(head if scope["method"] == "HEAD" else head + body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True


def install() -> None:
    """Have uvicorn use :class:`HttpProtocol` in this process."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{HttpProtocol.__name__}"


def join_head(status: int, headers: Headers) -> bytes:
    """The head of an answer.

    Raises:
        ValueError: a header would end its line.
    """
    parts = [STATUS_LINE[status]]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    lines = len(parts) // 4 + 2
    parts.append(b"\r\n")
    head = b"".join(parts)
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise ValueError(f"headers {parts[1::4]}: expected no line break within them")
    return head
