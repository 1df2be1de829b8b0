"""Rows that vary in length are told apart by it."""

import pytest

from service.errors import UnprocessableError
from service.lanes import Lane, find_lane, make_lanes
from service.session import buckets


def test_two_lanes_double_the_length_on_the_cpu_and_one_on_a_gpu() -> None:
    on_cpu = make_lanes(200, buckets(64), None, on_cpu=True)
    assert [lane.length for lane in on_cpu] == [16, 23, 32, 45, 64, 91, 128, 181, 200]
    on_gpu = make_lanes(200, buckets(64), None, on_cpu=False)
    assert [lane.length for lane in on_gpu] == [16, 32, 64, 128, 200]


@pytest.mark.parametrize("longest", [1, 3, 15, 16])
def test_rows_that_are_all_short_have_one_lane(longest: int) -> None:
    assert make_lanes(longest, buckets(8), None, on_cpu=True) == (Lane(longest, 8),)


def test_a_run_has_as_many_rows_as_its_tokens_allow_and_never_none() -> None:
    lanes = make_lanes(512, buckets(12), 256, on_cpu=False)
    assert lanes == (Lane(16, 12), Lane(32, 8), Lane(64, 4), Lane(128, 2), Lane(256, 1), Lane(512, 1))


def test_without_a_bound_the_cpu_has_its_own_and_a_gpu_none() -> None:
    assert [lane.max_rows for lane in make_lanes(512, buckets(64), None, on_cpu=True)][::2] == [64, 64, 32, 16, 8, 4]
    assert {lane.max_rows for lane in make_lanes(512, buckets(64), None, on_cpu=False)} == {64}


def test_every_length_has_the_first_lane_that_it_fits_in() -> None:
    lanes = make_lanes(100, buckets(4), None, on_cpu=True)
    for length in range(1, 101):
        place = find_lane(lanes, length)
        assert lanes[place].length >= length
        assert place == 0 or lanes[place - 1].length < length


def test_a_row_that_is_too_long_is_refused() -> None:
    lanes = make_lanes(1000, buckets(4), None, on_cpu=True)
    with pytest.raises(UnprocessableError, match="inputs: a row is 1,001 long, expected at most 1,000"):
        find_lane(lanes, 1001)
