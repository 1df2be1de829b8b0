"""An event loop in which no time passes but what is waited for: seconds of load are played through in a moment."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any

_START_SECONDS = 1000.0


class _Selector(selectors.DefaultSelector):
    """Lets the time of its loop pass where others sleep."""

    now = _START_SECONDS

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("everything waits, and nothing will happen any more")
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of its timers."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """The seconds that have passed."""
        return self._virtual.now


class VirtualThread(Executor):
    """A thread whose calls take as long as they are said to.

    Args:
        loop: whose time passes.
        count_seconds: of a call, by its time and its arguments.
    """

    def __init__(self, loop: VirtualLoop, count_seconds: Callable[..., float]) -> None:
        self._loop = loop
        self._count_seconds = count_seconds
        self._free_at = 0.0

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **_: Any) -> "Future[Any]":
        """Call ``call`` once what was submitted before it is done."""
        future: Future[Any] = Future()
        starts = max(self._loop.time(), self._free_at)
        self._free_at = starts + self._count_seconds(starts, *arguments)
        self._loop.call_at(self._free_at, lambda: future.set_result(call(*arguments)))
        return future


def run_virtually(loop: VirtualLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end."""
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
