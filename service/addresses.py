"""Where a request comes from: the address of its connection, or what a trusted proxy says of it."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache

from service.exchange import Scope

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# What one provider gives one customer; a client in it can change its address at will.
_IPV6_PREFIX = 64


class Addresses:
    """Finds clients' addresses. ``X-Forwarded-For`` counts as far as it was written by the proxies of ``trusted``."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = [ipaddress.ip_network(name) for name in trusted]

    def find(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """The client of a request: its IPv4 address, or the /64 network of its IPv6 address."""
        peer = (scope.get("client") or ("unknown",))[0]
        if self._trusted and self._is_trusted(peer):
            # Each proxy adds whom it heard from, so the last one that is no proxy of ours is the client.
            for hop in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
                address = _read(hop.strip())
                if address is None:
                    break
                peer = str(address)
                if not self._is_trusted(peer):
                    break
        return _shorten(peer)

    def _is_trusted(self, text: str) -> bool:
        address = _read(text)
        return address is not None and any(address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def _read(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both versions gives IPv4 addresses in this form.
    return getattr(address, "ipv4_mapped", None) or address


def _shorten(text: str) -> str:
    if ":" not in text:
        return text
    address = _read(text)
    if not isinstance(address, ipaddress.IPv6Address):
        return str(address or text)
    return str(ipaddress.IPv6Network((int(address), _IPV6_PREFIX), strict=False))
