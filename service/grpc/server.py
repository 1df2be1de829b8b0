"""The server of the gRPC calls: one in each worker, in its event loop; workers share the port.

A call is received as a request by HTTP/2, which it is: its metadata are the headers, and keys, limits, deadlines, log
and metrics are those of :mod:`service.reception` and :mod:`service.front`. The kernel spreads the connections of a port
over the workers that listen on it (SO_REUSEPORT).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

import grpc
import grpc.aio

from service.config import Settings
from service.errors import BadBodyError, OverloadedError, RequestError
from service.exchange import Answer, Exchange, Message
from service.gate import Gate
from service.grpc.messages import SERVICE
from service.logs import access
from service.metrics import Metrics
from service.reception import CLIENT_CLOSED, Reception
from service.routes import Route

# The code that stands for each status of HTTP's that a call can end with.
CODES: Final[Mapping[int, grpc.StatusCode]] = MappingProxyType(
    {
        400: grpc.StatusCode.INVALID_ARGUMENT,
        401: grpc.StatusCode.UNAUTHENTICATED,
        403: grpc.StatusCode.PERMISSION_DENIED,
        404: grpc.StatusCode.NOT_FOUND,
        409: grpc.StatusCode.FAILED_PRECONDITION,
        413: grpc.StatusCode.RESOURCE_EXHAUSTED,
        422: grpc.StatusCode.INVALID_ARGUMENT,
        429: grpc.StatusCode.RESOURCE_EXHAUSTED,
        500: grpc.StatusCode.INTERNAL,
        503: grpc.StatusCode.UNAVAILABLE,
        504: grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
# Clients take 8 kB of metadata, and what is not ASCII is sent in three characters for each byte.
_MAX_DETAIL_BYTES: Final = 2000
# gRPC ends what comes while it closes as if its client had given it up. So long before that it is refused instead.
_REFUSAL_SECONDS: Final = 0.5
_REQUEST_ID: Final = "x-request-id"
_METHOD: Final = "POST"

Call = Callable[[object, Any], Awaitable[bytes]]


class CallServer:
    """Takes calls, and sends, counts and logs their answers.

    Args:
        settings: the port, the certificate, the deadline and the largest message.
        routes: the calls by name.
        gate: which of them there are here.
        reception: has them answered.
        metrics: hear of every call.
        choose_id: the id of a request, by the one that its client sent, if it did.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Mapping[str, Route],
        gate: Gate | None,
        reception: Reception,
        metrics: Metrics,
        choose_id: Callable[[bytes | None], str],
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._reception = reception
        self._metrics = metrics
        self._choose_id = choose_id
        self._is_closing = False
        options = (
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),
        )
        self._server = grpc.aio.server(options=options)
        # A message is read by who answers it, so that refused ones are not read and slow ones run out of time; it comes
        # as bytes, so that what it costs is counted. To who calls, a stream of one message is no different from one.
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(self._make_call(route)) for name, route in routes.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def open(self) -> None:
        """Take calls from now on.

        Raises:
            RuntimeError: the port cannot be had.
        """
        settings = self._settings
        host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
        address = f"{host}:{settings.grpc_port}"
        certificate, key = settings.tls_certificate, settings.tls_key
        if certificate is None or key is None:
            self._server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
            self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def close(self, seconds: float) -> None:
        """Take no more calls, and return when those that there are have been answered, or after ``seconds``."""
        self._is_closing = True
        await asyncio.sleep(min(_REFUSAL_SECONDS, seconds))
        await self._server.stop(seconds)

    def _make_call(self, route: Route) -> Call:
        """What answers the calls of a route."""

        async def call(_: object, context: Any) -> bytes:
            exchange = self._begin(route, context)
            status = CLIENT_CLOSED
            try:
                if self._is_closing:
                    raise OverloadedError("draining: the service is about to stop", retry_after_seconds=1)
                found = route if self._gate is None else self._gate.find(route, exchange.scope)
                answer = await self._reception.answer(found, exchange)
                assert isinstance(answer, Answer)  # noqa: S101  # calls are answered as a whole
                assert isinstance(answer.content, bytes)  # noqa: S101
                status = answer.status
                context.set_trailing_metadata(((_REQUEST_ID, exchange.request_id),))
            except RequestError as error:
                status = error.status
                _refuse(context, error, exchange.request_id)
                return b""
            except asyncio.CancelledError:
                if exchange.is_late:
                    status = 504
                raise
            else:
                return answer.content
            finally:
                seconds = time.perf_counter() - exchange.began
                self._metrics.http(route.name, _METHOD, status, seconds)
                access(exchange.request_id, route.name, _METHOD, status, seconds)

        return call

    def _begin(self, route: Route, context: Any) -> Exchange:
        """A call, in the form of a request."""
        began = time.perf_counter()
        seconds = context.time_remaining()
        most_seconds = self._settings.deadline_seconds
        deadline = began + (most_seconds if seconds is None else min(seconds, most_seconds))
        headers = {
            name.encode(): value.encode() if isinstance(value, str) else value
            for name, value in context.invocation_metadata()
        }
        scope = {
            "type": "http",
            "method": _METHOD,
            "path": route.name,
            "client": (_read_address(context.peer()),),
            "server": (self._settings.grpc_host, self._settings.grpc_port),
        }

        async def receive() -> Message:
            content = await context.read()
            if content is grpc.aio.EOF:
                raise BadBodyError("the call has no message")
            return {"type": "http.request", "body": content, "more_body": False}

        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # each call has one
        request_id = self._choose_id(headers.get(_REQUEST_ID.encode()))
        return Exchange(scope, headers, receive, request_id, began, deadline, task)


def _refuse(context: Any, error: RequestError, request_id: str) -> None:
    """Answer a call with the status that stands for ``error``, and with the headers that HTTP's answer has."""
    detail = error.detail.encode()[:_MAX_DETAIL_BYTES].decode(errors="ignore")
    headers = [(name.decode(), value.decode()) for name, value in error.headers]
    context.set_code(CODES[error.status])
    context.set_details(detail)
    context.set_trailing_metadata(((_REQUEST_ID, request_id), *headers))


def _read_address(peer: str) -> str:
    """The address in gRPC's name of a client: ``ipv4:127.0.0.1:40000``, ``ipv6:%5B::1%5D:40000``."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")
