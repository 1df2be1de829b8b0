"""A client says how long it waits, in seconds."""

import pytest

from service.errors import UnprocessableError
from service.timeouts import read_timeout


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"2", 2.0), (b"0.25", 0.25), (b".5", 0.5), (b"31", 30.0), (b"999999999", 30.0)]
)
def test_a_time_is_read_and_capped(value: bytes, seconds: float) -> None:
    assert read_timeout(value, 30.0) == seconds


@pytest.mark.parametrize(
    "value", [b"", b"0", b"0.0", b"-1", b"nan", b"inf", b"1e3", b"1s", b" 1", b"1,5", b"\xb2", b"9" * 50]
)
def test_what_is_no_time_is_refused(value: bytes) -> None:
    with pytest.raises(UnprocessableError, match=r"X-Request-Timeout: '.*', expected seconds above 0, as in 0\.25"):
        read_timeout(value, 30.0)
