"""The application in front: answers every route of the service, and lets BentoML's own application answer the rest.

It is plain ASGI. Measured with a 2 kB body on one core, a bare ASGI application costs 18 microseconds a request,
Starlette 27, and a stock BentoML endpoint 280 to 560.
"""

import asyncio
import itertools
import logging
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import bentoml

from service.administration import Administration
from service.attendance import Attendance
from service.audit import Audit
from service.catalogue import Catalogue
from service.config import Settings
from service.errors import (
    BadBodyError,
    InternalError,
    OverloadedError,
    RequestError,
    TooLargeError,
    describe_problem,
)
from service.exchange import PROBLEM, Answer, Application, Exchange, Message, Receive, Scope, Send
from service.gate import Gate, make_gate
from service.graphs import Graphs
from service.inference_protocol import InferenceProtocol, is_protocol
from service.intake import Intake
from service.kinds import KINDS
from service.logs import access
from service.metrics import Metrics
from service.operations import Operations
from service.predictions import Predictions
from service.protocol import WRITE_ANSWER, Headers, WriteAnswer
from service.reception import CLIENT_CLOSED, Reception
from service.response_cache import ResponseCache
from service.routes import READING, Route, Routes, is_behind, reading
from service.siblings import find_siblings
from service.stream import Stream

if TYPE_CHECKING:
    from service.grpc.server import CallServer

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# How long a refused body is still read, so that its client comes to read the refusal.
_LINGER_SECONDS: Final = 2.0
_READINESS: Final = ("/readyz", "/ready")

logger = logging.getLogger(__name__)


class Front:
    """Finds the handler of a request, keeps its deadline, and sends, counts and logs its answer."""

    def __init__(self, behind: Application) -> None:
        self._behind = behind
        self._attendance = Attendance()
        self._gate: Gate | None = None
        self._calls: CallServer | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._table: Mapping[str, Route] = {}
        self.draining = False
        self._id_prefix = secrets.token_hex(6) + "-"
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the ASGI protocol."""
        if scope["type"] == "lifespan":
            await self._behind(scope, self._finish_before_stop(receive), self._open_after_start(send))
            return
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = self._choose_id(headers.get(b"x-request-id"))
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # ASGI applications run in tasks
        deadline = began + self._settings.deadline_seconds
        exchange = Exchange(scope, headers, receive, request_id, began, deadline, task)
        route = self._routes.find(scope)
        if self._gate is not None:
            route = self._gate.find(route, scope)
        if route is None and scope["method"] in READING and is_behind(scope["path"]):
            name, status = "behind", await self._pass_on(exchange, send)
        else:
            name = "unknown" if route is None else route.name
            answer: Answer | Stream
            try:
                answer = await self._reception.answer(route, exchange)
            except RequestError as error:
                answer = _describe(error, exchange)
            if isinstance(answer, Stream):
                status = await self._stream(exchange, answer, send)
            else:
                status = answer.status
                await self._send(exchange, answer, send)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        seconds = time.perf_counter() - began
        self._metrics.http(name, method, status, seconds)
        access(request_id, name, method, status, seconds)

    def drain(self) -> None:
        """Fail the probes of readiness from now on; whatever else is asked is answered as before."""
        self.draining = True
        refused = {
            path: reading(route.name, _refuse_readiness)
            for path, route in self._table.items()
            if path.endswith(_READINESS)
        }
        self._routes = Routes({**self._table, **refused})

    def hurry(self, seconds: float) -> None:
        """Give no request that is being answered longer than ``seconds`` from now on."""
        self._attendance.hurry(seconds)
        if self._calls is not None:
            self._finishing = asyncio.get_running_loop().create_task(self._calls.close(seconds + _LINGER_SECONDS))

    def refuse_unreadable(self) -> tuple[int, Headers, bytes]:
        """The answer to what is no HTTP: its status, headers and body."""
        request_id = self._make_id()
        error = BadBodyError("the request is not HTTP/1.1")
        self._metrics.http("unreadable", "other", error.status, 0.0)
        access(request_id, "unreadable", "other", error.status, 0.0)
        content = error.to_json(request_id)
        return error.status, _list_headers(Answer(error.status, PROBLEM, content), request_id, ()), content

    def _choose_id(self, sent_id: bytes | None) -> str:
        if sent_id is not None and _REQUEST_ID.fullmatch(sent_id):
            return sent_id.decode()
        return self._make_id()

    def _make_id(self) -> str:
        return f"{self._id_prefix}{next(self._numbers):x}"

    def _open_after_start(self, send: Send) -> Send:
        """``send`` for BentoML's start and stop: between them there is an instance of the service to answer from."""

        async def forward(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                service = bentoml.get_current_service()
                self._settings, self._metrics = service.settings, service.metrics
                self._gate = make_gate(service.settings)
                self._reception = Reception(service.settings, self._gate, self._attendance)
                if service.settings.keys is None:
                    logger.warning("open: no keys are set, so whoever reaches the port may ask")
                intake = Intake(service.settings.max_pending_bytes)
                self._table = list_routes(service.catalogue, service.settings, service.metrics, intake, service.audit)
                route = self._table["/metrics"]
                siblings = find_siblings(bentoml.server_context.worker_index or 1, route.handlers["GET"])
                if siblings is not None:
                    await siblings.open()
                    handlers = dict.fromkeys(READING, siblings.get_metrics)
                    self._table = {**self._table, "/metrics": route._replace(handlers=handlers)}
                self._routes = Routes(self._table)
                if service.settings.grpc_port:
                    self._calls = await self._open_calls(service, intake)
            await send(message)

        return forward

    async def _open_calls(self, service: Any, intake: Intake) -> "CallServer":
        """The server of gRPC's calls, which takes them from now on."""
        from service.grpc.calls import Calls  # with gRPC, for who wants it
        from service.grpc.server import CallServer

        settings, metrics = service.settings, service.metrics
        graphs = Graphs(service.catalogue, settings, metrics, intake, service.audit)
        calls = Calls(graphs, Administration(service.catalogue), settings, is_draining=lambda: self.draining)
        server = CallServer(settings, calls.list_routes(), self._gate, self._reception, metrics, self._choose_id)
        await server.open()
        return server

    def _finish_before_stop(self, receive: Receive) -> Receive:
        """``receive`` for BentoML's start and stop: calls end before what they are answered from."""

        async def forward() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and self._finishing is not None:
                await self._finishing
            return message

        return forward

    async def _send(self, exchange: Exchange, answer: Answer, send: Send) -> None:
        """Send an answer that is there as a whole, unless there is nobody to read it."""
        if answer.status == CLIENT_CLOSED:
            return
        content = answer.content
        assert isinstance(content, bytes)  # noqa: S101  # else it is a Stream
        headers = _list_headers(answer, exchange.request_id, exchange.answer_headers)
        if answer.status != TooLargeError.status:
            write_answer: WriteAnswer | None = exchange.find_extension(WRITE_ANSWER)
            if write_answer is None or not write_answer(exchange.scope, answer.status, headers, content):
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                await send({"type": "http.response.body", "body": content})
            return
        # To close while the client still sends would reset the connection, and the client would not see the answer.
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": True})
        await self._read_rest(exchange.receive)
        await send({"type": "http.response.body"})

    async def _stream(self, exchange: Exchange, stream: Stream, send: Send) -> int:
        """Send an answer that has begun, chunk by chunk; returns the status that it ended with, for log and metrics.

        It may take longer than a request's deadline, but its client has to take each chunk within that time.
        """
        answer = stream.answer
        headers = _list_headers(answer, exchange.request_id, exchange.answer_headers)
        exchange.deadline = math.inf
        self._attendance.enter(exchange)
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            async for chunk in stream:
                exchange.deadline = time.perf_counter() + self._settings.deadline_seconds
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                exchange.deadline = math.inf
                await asyncio.sleep(0)  # chunks may come without a pause, and others wait for their turn
            await send({"type": "http.response.body"})
        except asyncio.CancelledError:
            if exchange.ended_by is None:
                raise
            exchange.task.uncancel()
            if exchange.ended_by == "deadline":
                seconds = self._settings.deadline_seconds
                logger.warning("request %s ended: its client read nothing for %g seconds", exchange.request_id, seconds)
            return CLIENT_CLOSED
        except RequestError as error:
            logger.warning("request %s ended in the middle of its answer: %s", exchange.request_id, error.detail)
            return error.status
        except Exception:
            # As where it is received. uvicorn closes a connection whose answer has no end, which tells the client.
            logger.exception("request %s failed in the middle of its answer", exchange.request_id)
            return InternalError.status
        finally:
            self._attendance.leave(exchange)
            await stream.aclose()
        return answer.status

    async def _read_rest(self, receive: Receive) -> None:
        left = self._settings.max_body_bytes
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            return

    async def _pass_on(self, exchange: Exchange, send: Send) -> int:
        """Let BentoML's application answer, and give its failures the shape of ours; returns the status."""
        if self._gate is not None:
            try:
                self._gate.admit(None, exchange)
            except RequestError as error:
                answer = Answer(error.status, PROBLEM, error.to_json(exchange.request_id), error.headers)
                await self._send(exchange, answer, send)
                return error.status
        status = 0

        async def forward(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", exchange.request_id.encode())]
                message = {**message, "headers": [*headers, *exchange.answer_headers]}
            if status < HTTPStatus.BAD_REQUEST:
                await send(message)

        await self._behind(exchange.scope, exchange.receive, forward)
        if status >= HTTPStatus.BAD_REQUEST:
            title = HTTPStatus(status).phrase
            content = describe_problem(status, title, f"{title}: {exchange.scope['path']}", (), exchange.request_id)
            await self._send(exchange, Answer(status, PROBLEM, content), send)
        return status


def list_routes(
    catalogue: Catalogue, settings: Settings, metrics: Metrics, intake: Intake, audit: Audit | None = None
) -> dict[str, Route]:
    """The table of routes: every path that the service answers itself."""
    operations = Operations(catalogue, metrics)
    cache = ResponseCache(settings.cache_bytes, metrics) if settings.cache_bytes else None
    routes = {
        "/livez": reading("/livez", operations.get_liveness),
        "/readyz": reading("/readyz", operations.get_readiness),
        "/metrics": reading("/metrics", operations.get_metrics)._replace(admin=True),
        "/": reading("/", operations.get_page),
        "/docs.json": reading("/docs.json", operations.get_description),
        "/models": reading("/models", operations.get_models),
    }
    for name, kind in KINDS.items():
        routes[f"/models/{name}"] = reading("/models/{kind}", operations.get_model)
        predictions = Predictions(name, catalogue, settings, metrics, intake, audit, cache)
        routes[kind.ROUTE] = Route(kind.ROUTE, {"POST": predictions.post})
    routes |= InferenceProtocol(catalogue, settings, metrics, intake, audit).list_routes()
    return routes | Administration(catalogue).list_routes()


def _describe(error: RequestError, exchange: Exchange) -> Answer:
    """The problem that keeps a request from being answered, as its answer."""
    headers = error.headers
    if isinstance(error, TooLargeError):
        headers = [*headers, (b"connection", b"close")]
    # Clients of the Open Inference Protocol look for the reason under this name.
    repeat_as = "error" if is_protocol(exchange.scope["path"]) else None
    return Answer(error.status, PROBLEM, error.to_json(exchange.request_id, repeat_as=repeat_as), headers)


def _list_headers(answer: Answer, request_id: str, further: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", answer.content_type), (b"x-request-id", request_id.encode())]
    headers += (*answer.headers, *further)
    if isinstance(answer.content, bytes):
        headers.append((b"content-length", b"%d" % len(answer.content)))
    return headers


async def _refuse_readiness(_: Exchange) -> Answer:
    raise OverloadedError("draining: the service is about to stop", retry_after_seconds=1)
