"""Which pages of other origins a browser lets ask (the Fetch standard's CORS protocol)."""

from collections.abc import Mapping, Sequence
from typing import Final

from service.exchange import Answer

Header = tuple[bytes, bytes]

ANY: Final = "*"
_PREFLIGHT: Final[Sequence[Header]] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, inference-header-content-length, x-api-key, x-request-id, x-request-timeout",
    ),
    (b"access-control-max-age", b"600"),
)
_EXPOSED: Final[Header] = (
    b"access-control-expose-headers",
    b"inference-header-content-length, retry-after, www-authenticate, x-request-id, x-seed",
)
_VARY: Final[Header] = (b"vary", b"Origin")


class CrossOrigin:
    """Lets the pages of ``origins`` ask; with ``*`` those of every origin.

    Keys come in a header that a page sets itself, so cookies and other credentials of the browser's are never allowed.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def list_headers(self, headers: Mapping[bytes, bytes]) -> Sequence[Header]:
        """What the answer to a request with ``headers`` carries."""
        if self._any:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        origin = headers.get(b"origin")
        if origin not in self._origins or origin is None:
            return (_VARY,)
        return ((b"access-control-allow-origin", origin), _EXPOSED, _VARY)

    def answer_preflight(self, method: str, headers: Mapping[bytes, bytes]) -> Answer | None:
        """The answer to a browser that asks whether a page may ask; None where a request is no such question."""
        if method != "OPTIONS" or b"origin" not in headers or b"access-control-request-method" not in headers:
            return None
        return Answer(200, b"text/plain", b"", _PREFLIGHT)
