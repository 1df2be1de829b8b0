"""Versions come and go under load, damaged ones among them, and no request fails."""

import sys
from pathlib import Path

import pytest

from benchmarks.reliability.reload import Options, format_table, prove

if sys.platform != "linux":
    pytest.skip("the proof reads /proc", allow_module_level=True)


def test_no_request_fails_while_versions_are_loaded_refused_and_released(tmp_path: Path) -> None:
    options = Options(reloads=18, requests_per_second=150, steady_seconds=0.1)
    result = prove(options, tmp_path)
    assert result.failures == []
    assert (sum(result.outcomes.values()), result.outcomes["whole"], len(result.outcomes)) == (18, 12, 7)
    assert len(result.reload_ms) > 100
    # Whatever a version takes is given back: a few MB of noise, not a dozen models.
    assert result.resident_mb[-1] < result.resident_mb[3] + 20
    # A model that is slow while it is loaded runs in a thread of its own: two of them may, and a dozen may not.
    assert result.threads[-1] < result.threads[0] + 6
    assert "failed, or not of a version that was valid | 0 |" in format_table(options, result)
