"""Request after request leaves no memory behind."""

import sys
from pathlib import Path

import pytest

from benchmarks.reliability.endurance import Options, endure, format_table
from benchmarks.reliability.growth import find_slope

if sys.platform != "linux":
    pytest.skip("the proof reads /proc", allow_module_level=True)


def test_requests_good_and_bad_are_answered_and_leave_nothing(tmp_path: Path) -> None:
    options = Options(requests=2000, minutes=1)
    result = endure(options, tmp_path)
    assert result.failures == 0
    assert set(result.statuses) == {200, 400, 404}
    assert sum(result.statuses.values()) == result.requests
    assert len(result.resident_mb) > 50
    # A buffer here and there, not what two thousand requests hold.
    assert result.resident_mb[-1] < result.resident_mb[len(result.resident_mb) // 2] + 10
    assert "| status | " in format_table(options, result)


def test_growth_is_that_of_the_second_half() -> None:
    assert find_slope([100.0, 0.0, 1.0, 3.0, 5.0, 7.0]) == pytest.approx(2.0)
    assert find_slope([0.0, 90.0, 5.0, 5.0, 5.0]) == pytest.approx(0.0)
