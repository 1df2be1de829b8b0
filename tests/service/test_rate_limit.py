"""A client's requests come out of its own bucket, which fills again with time."""

import pytest

from service.errors import TooManyRequestsError
from service.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit, client: str, most: int = 1000) -> int:
    """How many requests are let through now."""
    for count in range(most):
        try:
            limit.take(client)
        except TooManyRequestsError:
            return count
    return most


def test_a_burst_goes_through_and_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(per_second=2.0, burst=5, clock=clock)
    assert taken(limit, "ann") == 5
    clock.now += 0.49
    assert taken(limit, "ann") == 0
    clock.now += 0.02
    assert taken(limit, "ann") == 1
    clock.now += 1000
    assert taken(limit, "ann") == 5


def test_over_a_long_time_it_is_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(per_second=10.0, burst=3, clock=clock)
    count = 0
    for _ in range(10_000):
        clock.now += 0.01
        count += taken(limit, "ann", most=2)
    assert count == pytest.approx(1000, abs=4)


def test_each_client_has_its_own() -> None:
    limit = RateLimit(per_second=1.0, burst=2, clock=Clock())
    assert (taken(limit, "ann"), taken(limit, "bob"), taken(limit, "ann")) == (2, 2, 0)


def test_a_refusal_says_when_there_is_room_again() -> None:
    clock = Clock()
    limit = RateLimit(per_second=0.1, burst=1, clock=clock)
    limit.take("ann")
    clock.now += 4.5
    with pytest.raises(TooManyRequestsError, match=r"over the limit of 0.1 requests a second, 1 at once") as refusal:
        limit.take("ann")
    assert refusal.value.retry_after_seconds == pytest.approx(5.5)
    assert refusal.value.headers == [(b"retry-after", b"6")]
    clock.now += 5.501
    limit.take("ann")


def test_who_has_not_asked_for_longest_is_forgotten_first() -> None:
    limit = RateLimit(per_second=0.001, burst=2, clock=Clock(), max_clients=3)
    for client in ("ann", "bob", "eve"):
        limit.take(client)
    limit.take("ann")
    limit.take("zoe")  # bob goes
    assert taken(limit, "ann") == 0
    assert taken(limit, "eve") == 1
    assert taken(limit, "bob") == 2
