"""How often each client may ask: a token bucket for each key, or else for each address."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from service.errors import TooManyRequestsError

# Some 20 MB at most. Who has not asked for longest is forgotten first, and begins anew with a full bucket.
MAX_CLIENTS: Final = 100_000


class RateLimit:
    """A bucket for each client: it holds ``burst`` tokens, each request takes one, and ``per_second`` come back.

    With several worker processes each has buckets of its own.

    Args:
        per_second: the requests that a client may send for ever.
        burst: those that may come at once.
        clock: the time in seconds.
        max_clients: the buckets that are kept.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._max_clients = max_clients
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when each bucket will be full again

    def take(self, client: str) -> None:
        """Take a token out of a client's bucket.

        Raises:
            TooManyRequestsError: there is none. It says when there will be.
        """
        now = self._clock()
        full_at = max(now, self._full_at.get(client, now)) + 1 / self._per_second
        missing = (full_at - now) * self._per_second
        if missing > self._burst + 1e-9:
            raise TooManyRequestsError(
                f"over the limit of {self._per_second:g} requests a second, {self._burst} at once",
                retry_after_seconds=(missing - self._burst) / self._per_second,
            )
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > self._max_clients:
            self._full_at.popitem(last=False)
