"""uvicorn's server as this service runs it: it drains before it stops, and listens on a private port too.

On SIGTERM ``/readyz`` fails first, while everything is answered as before, so that who sends requests can send them
elsewhere. After ``drain_seconds`` there are no new connections, what is being answered is finished, and the process
ends. BentoML starts uvicorn and gives no way to choose the server, so it is entered under the name that BentoML looks
for. How long a connection may rest is a setting, and not --timeout-keep-alive of BentoML's.
"""

import asyncio
import os
import signal
import socket
import ssl
from types import FrameType
from typing import Final, Protocol

import uvicorn

from service.config import Settings, SettingsError, load_settings
from service.protocol import HttpProtocol

# Names the private port's socket, which the supervisor opens and the workers share, by its number.
ADMIN_SOCKET: Final = "ADMIN_SOCKET_OF_MODELYARD"
# A connection that was opened at the last moment has this long to send its request, where there is a drain at all.
LAST_REQUEST_SECONDS: Final = 0.5
_TICK_SECONDS: Final = 0.1
_SECOND_TICKS: Final = 10
# Some clients connect before they have anything to ask.
_LEAST_STALL_SECONDS: Final = 5.0


class Application(Protocol):
    """What the server tells its application."""

    def drain(self) -> None:
        """Fail the probes of readiness, and have each connection end with its next answer."""

    def hurry(self, seconds: float) -> None:
        """Give nothing that is being answered longer than that."""


class Server(uvicorn.Server):
    """Serves one worker's share of the requests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._settings = settings = load_settings()
        self._application: Application = config.app  # type: ignore[assignment]
        secure(config, settings)
        # The application gives up first, so that there is an answer.
        config.timeout_graceful_shutdown = int(settings.finish_seconds) + 2

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        number = os.environ.get(ADMIN_SOCKET)
        if number is not None:
            sockets = [*(sockets or ()), socket.socket(fileno=int(number))]
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        self._application.drain()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Once a second, end connections whose clients stall for longer than a request may take, or rest too long."""
        if counter % _SECOND_TICKS == 0:
            stall_seconds = max(self._settings.deadline_seconds, _LEAST_STALL_SECONDS)
            for connection in list(self.server_state.connections):
                if isinstance(connection, HttpProtocol):
                    connection.end_if_idle(stall_seconds, self._settings.keep_alive_seconds)
        return await super().on_tick(counter)

    async def main_loop(self) -> None:
        """Serve until there is a signal, and then for as long as the drain takes."""
        await super().main_loop()
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None:
                cycle.keep_alive = False
        loop = asyncio.get_running_loop()
        ends, ticks = loop.time() + self._settings.drain_seconds, 0
        # Whoever presses Ctrl-C does not mean to wait.
        while loop.time() < ends and signal.SIGINT not in self._captured_signals:
            ticks = (ticks + 1) % _SECOND_TICKS
            await self.on_tick(ticks)  # keeps the Date header right
            await asyncio.sleep(_TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that there are, each after its answer."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(min(LAST_REQUEST_SECONDS, self._settings.drain_seconds))
        self._application.hurry(self._settings.finish_seconds)
        await super().shutdown(sockets)


def secure(config: uvicorn.Config, settings: Settings) -> None:
    """Have ``config`` speak HTTPS where the settings name a certificate."""
    if settings.tls_certificate is not None:
        config.ssl_certfile, config.ssl_keyfile = settings.tls_certificate, settings.tls_key


def check_certificate(settings: Settings) -> None:
    """Read the certificate of the settings, if they name one.

    Raises:
        SettingsError: it cannot be read, or is not that of the key.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # an SSLError is one too
        where = f"tls_certificate='{certificate}', tls_key='{key}'"
        raise SettingsError(f"{where}: expected PEM files that belong together: {error.strerror}") from error


def install() -> None:
    """Have BentoML use :class:`Server` in this process."""
    uvicorn.Server = Server  # type: ignore[misc]
