"""How a request is received, by whichever protocol it comes: let in, answered in time, or refused with a reason."""

import asyncio
import logging
from typing import Final

from service.attendance import Attendance
from service.bodies import Disconnect
from service.config import Settings
from service.errors import (
    DeadlineError,
    ForbiddenError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
)
from service.exchange import Answer, Exchange
from service.gate import Gate
from service.routes import NO_SUCH_ROUTE, READING, Handler, Route, is_behind
from service.stream import Stream
from service.timeouts import HEADER as TIMEOUT
from service.timeouts import read_timeout

CLIENT_CLOSED: Final = 499  # nginx's status for a client that went before its answer

logger = logging.getLogger(__name__)


class Reception:
    """Has requests answered by the handlers of their routes.

    Args:
        settings: the deadline, and whether there are administrators.
        gate: who is let in; None where everybody is.
        attendance: watches over those that are being answered.
    """

    def __init__(self, settings: Settings, gate: Gate | None, attendance: Attendance) -> None:
        self._settings = settings
        self._gate = gate
        self._attendance = attendance

    async def answer(self, route: Route | None, exchange: Exchange) -> Answer | Stream:
        """The answer of the route's handler; with the status 499 there is nobody to read it.

        Raises:
            RequestError: there is none, and why.
        """
        self._attendance.enter(exchange)
        try:
            if self._gate is not None:
                refusal = self._gate.admit(route, exchange)
                if refusal is not None:
                    return refusal
            if TIMEOUT in exchange.headers:
                timeout_seconds = read_timeout(exchange.headers[TIMEOUT], self._settings.deadline_seconds)
                exchange.deadline = min(exchange.deadline, exchange.began + timeout_seconds)
            handler = _find_handler(route, exchange)
            _check_administrators(route, self._settings)
            answer = await handler(exchange)
            if isinstance(answer.content, bytes):
                return answer
            return await Stream.begin(answer, answer.content)
        except RequestError:
            raise
        except Disconnect:
            return Answer(CLIENT_CLOSED, b"", b"")
        except asyncio.CancelledError:
            if exchange.ended_by is None:
                raise
            exchange.task.uncancel()
            if exchange.ended_by == "client":
                return Answer(CLIENT_CLOSED, b"", b"")
            seconds = round(exchange.deadline - exchange.began, 3)
            raise DeadlineError(f"no answer within {seconds:g} seconds") from None
        except Exception:
            # The last resort, so that a fault in one request ends that request alone and has the shape of any other.
            logger.exception("request %s failed", exchange.request_id)
            raise InternalError("a fault of the service; its log has it under this request's id") from None
        finally:
            self._attendance.leave(exchange)


def _find_handler(route: Route | None, exchange: Exchange) -> Handler:
    method = exchange.scope["method"]
    if route is not None:
        handler = route.handlers.get(method)
        if handler is not None:
            return handler
        name, allowed = route.name, list(route.handlers)
    elif is_behind(exchange.scope["path"]):
        name, allowed = "this page", list(READING)
    else:
        raise NotFoundError(NO_SUCH_ROUTE)
    raise MethodNotAllowedError(f"{name} takes {' and '.join(allowed)}, not {method}", allowed)


def _check_administrators(route: Route | None, settings: Settings) -> None:
    if route is not None and route.guarded and not settings.has_administrators:
        raise ForbiddenError("this route is for administrators, and there are none", "admin")
