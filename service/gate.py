"""Who is let in: API keys and their rights, the limit of requests, other origins' pages, the private port.

There is no gate where nothing of it is set, so that requests pass by it without a check.
"""

from typing import Final

from service.addresses import Addresses
from service.config import Settings
from service.cors import CrossOrigin
from service.errors import ForbiddenError, NotFoundError, RequestError, UnauthorizedError
from service.exchange import Answer, Exchange, Scope
from service.keys import KeyRing, Right
from service.rate_limit import RateLimit
from service.routes import NO_SUCH_ROUTE, Route

# Whoever runs containers asks these, without a key and as often as it likes.
PROBES: Final = frozenset(("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"))
_OPEN: Final = PROBES | {f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady")}


class Gate:
    """Lets requests in as ``settings`` say.

    Raises:
        KeysError: the file of keys cannot be read or is damaged.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys = None if settings.keys is None else KeyRing(settings.keys)
        self._addresses = Addresses(settings.trusted_proxies)
        self._limit = None
        if settings.rate_limit_per_second:
            self._limit = RateLimit(settings.rate_limit_per_second, settings.rate_limit_burst)
        self._origins = CrossOrigin(settings.allowed_origins) if settings.allowed_origins else None
        self._admin_port = settings.admin_port

    def find(self, route: Route | None, scope: Scope) -> Route | None:
        """``route``, or None where the port that a request came by has it not.

        Where there is a private port, the routes for administration are there alone, and nothing else but the probes.
        """
        if route is None or self._admin_port is None or route.name in _OPEN:
            return route
        return route if route.admin == self._is_private(scope) else None

    def admit(self, route: Route | None, exchange: Exchange) -> Answer | None:
        """Let a request in, or answer it here where a browser asks for leave.

        Raises:
            RequestError: it is not let in.
        """
        scope = exchange.scope
        if self._origins is not None:
            exchange.answer_headers = self._origins.list_headers(exchange.headers)
            answer = self._origins.answer_preflight(scope["method"], exchange.headers)
            if answer is not None:
                return answer
        if self._is_private(scope):
            if route is None:
                raise NotFoundError(NO_SUCH_ROUTE)
        elif route is None or route.name not in _OPEN:
            self._check_client(route, exchange)
        return None

    def _check_client(self, route: Route | None, exchange: Exchange) -> None:
        client, refusal = None, None
        if self._keys is not None:
            try:
                key = self._keys.find(exchange.headers)
                client, refusal = f"key {key.name}", _refuse(key.rights, route)
            except UnauthorizedError as error:
                refusal = error
        if self._limit is not None:
            # Who is refused for a missing key is limited too, by the address.
            self._limit.take(client or self._addresses.find(exchange.scope, exchange.headers))
        if refusal is not None:
            raise refusal

    def _is_private(self, scope: Scope) -> bool:
        return self._admin_port is not None and scope["server"][1] == self._admin_port


def make_gate(settings: Settings) -> Gate | None:
    """The gate that ``settings`` ask for, if they do.

    Raises:
        KeysError: the file of keys cannot be read or is damaged.
    """
    wanted = (settings.keys, settings.rate_limit_per_second, settings.allowed_origins, settings.admin_port)
    return Gate(settings) if any(wanted) else None


def _refuse(rights: frozenset[Right], route: Route | None) -> RequestError | None:
    needed: Right = "admin" if route is not None and route.admin else "predict"
    if needed in rights:
        return None
    return ForbiddenError(f"the request's key has not the right '{needed}'", needed)
