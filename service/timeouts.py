"""How long a client waits for its answer: the header ``X-Request-Timeout``."""

import re
from typing import Final

from service.errors import UnprocessableError

HEADER: Final = b"x-request-timeout"
_SECONDS: Final = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?|\.[0-9]{1,9}")


def read_timeout(value: bytes, most_seconds: float) -> float:
    """The seconds that a client gives a request, ``most_seconds`` where it gives more.

    Raises:
        UnprocessableError: ``value`` is no time above zero.
    """
    seconds = float(value) if _SECONDS.fullmatch(value) else 0.0
    if seconds <= 0:
        shown = value[:40].decode("latin-1")
        raise UnprocessableError([("X-Request-Timeout", f"'{shown}', expected seconds above 0, as in 0.25")])
    return min(seconds, most_seconds)
