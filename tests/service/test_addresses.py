"""A client's address is its connection's, unless a proxy that is trusted says otherwise."""

import pytest

from service.addresses import Addresses


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ((), "9.9.9.9", None, "9.9.9.9"),
        ((), "9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (("10.0.0.0/8",), "9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4, junk", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4,", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", None, "10.0.0.1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (("fd00::/8", "10.0.0.1"), "fd00::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ((), "2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ((), "::ffff:9.9.9.9", None, "9.9.9.9"),
        ((), "testclient", None, "testclient"),
    ],
)
def test_an_address_is_found(trusted: tuple[str, ...], peer: str, forwarded: str | None, expected: str) -> None:
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode()}
    assert Addresses(trusted).find({"client": (peer, 1)}, headers) == expected


def test_a_connection_without_an_address_has_one_name() -> None:
    assert Addresses(()).find({"client": None}, {}) == "unknown"
