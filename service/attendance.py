"""Who still waits for an answer: ends requests whose deadline passed and those whose client has gone."""

import asyncio
import time

from service.exchange import Exchange

# Deadlines are kept, and departed clients noticed, to this precision. A request that is answered within it costs no
# more than its entry in a dictionary: no timer, no task.
TICK_SECONDS = 0.1


class Attendance:
    """The requests that are being answered, looked through once every tick for all of them."""

    def __init__(self) -> None:
        self._present: dict[Exchange, None] = {}
        self._ticking = False

    def enter(self, exchange: Exchange) -> None:
        """Watch over ``exchange``: from now on its task may be cancelled, with ``ended_by`` telling why."""
        self._present[exchange] = None
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def leave(self, exchange: Exchange) -> None:
        """Stop watching over ``exchange``."""
        del self._present[exchange]
        if exchange.listener is not None:
            exchange.listener.cancel()
            exchange.listener = None

    def hurry(self, seconds: float) -> None:
        """Give nothing that is being answered longer than ``seconds``."""
        latest = time.perf_counter() + seconds
        for exchange in self._present:
            exchange.deadline = min(exchange.deadline, latest)

    def _tick(self) -> None:
        now = time.perf_counter()
        for exchange in self._present:
            if exchange.ended_by is not None:
                continue
            if now > exchange.deadline:
                exchange.ended_by = "deadline"
                exchange.task.cancel()
            elif exchange.body_complete and exchange.listener is None and now - exchange.began > TICK_SECONDS:
                exchange.listener = asyncio.get_running_loop().create_task(self._await_departure(exchange))
        self._ticking = bool(self._present)
        if self._ticking:
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    async def _await_departure(self, exchange: Exchange) -> None:
        message = await exchange.receive()
        if message["type"] == "http.disconnect" and exchange in self._present and exchange.ended_by is None:
            exchange.ended_by = "client"
            exchange.task.cancel()
