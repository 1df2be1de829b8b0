"""Which form of answer a client asks for: its ``Accept`` header (RFC 9110, section 12.5.1)."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_MAX_RANGES: Final = 32


# Clients repeat themselves, and the answer depends on the header alone.
@lru_cache(maxsize=256)
def choose_media_type(accept: bytes, offered: Sequence[str]) -> str:
    """The one of ``offered`` that the client likes best; the first one where it has no choice or takes none of them.

    Of several that it likes as well, it is one that the header names rather than one that ``*`` stands for, and of
    these the first of ``offered``.
    """
    ranges = [_read_range(part) for part in accept.decode("latin-1").lower().split(",")[:_MAX_RANGES]]
    ranked = [max(((_fit(wanted, media_type), q) for wanted, q in ranges), default=(0, 0.0)) for media_type in offered]
    best = max(range(len(offered)), key=lambda index: (_wish(*ranked[index]), ranked[index][0], -index))
    return offered[best] if _wish(*ranked[best]) > 0 else offered[0]


def _wish(fit: int, quality: float) -> float:
    return quality if fit else 0.0


def _read_range(part: str) -> tuple[str, float]:
    """A range of media types and its quality; one that cannot be read counts as not wanted."""
    media_range, *parameters = (word.strip() for word in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = math.nan
    return media_range, quality if 0 <= quality <= 1 else 0.0


def _fit(wanted: str, media_type: str) -> int:
    """How closely a range names a media type: 3 by its name, 2 by its first part, 1 by ``*/*``, 0 not at all."""
    if wanted == media_type:
        return 3
    if wanted == media_type.partition("/")[0] + "/*":
        return 2
    return int(wanted == "*/*")
