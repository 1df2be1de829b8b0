"""Random numbers from a seed are the same however they are drawn."""

import numpy as np
import pytest

from models.noise import draw_normal, draw_uniform, interpolate


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_numbers_drawn_in_parts_are_those_drawn_at_once(seed: int, size: int, rows: int) -> None:
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal((rows, size), dtype=np.float32)
    assert np.array_equal(np.stack(list(draw_normal(seed, rows, size))), normal)
    uniform = np.random.Generator(np.random.PCG64([seed, 1])).random(rows)
    assert list(draw_uniform(seed, rows)) == uniform.tolist()


def test_the_way_begins_and_ends_exactly_and_keeps_its_distance() -> None:
    first, last = draw_normal(3, 2, 100)
    points = np.stack(list(interpolate(first, last, 33)))
    assert np.array_equal(points[0], first)
    assert np.array_equal(points[-1], last)
    lengths = np.linalg.norm(points, axis=1)
    assert lengths.min() > 0.98 * min(lengths[0], lengths[-1])
    assert lengths.max() < 1.02 * max(lengths[0], lengths[-1])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.max() < 1.2 * steps.min()


@pytest.mark.parametrize("factor", [1, 2, -1])
def test_a_way_that_has_no_arc_is_straight(factor: int) -> None:
    first = np.ones(4, np.float32)
    points = np.stack(list(interpolate(first, factor * first, 3)))
    assert points == pytest.approx(np.stack([first, (1 + factor) / 2 * first, factor * first]))


def test_nothing_has_no_direction_and_is_left_on_a_straight_way() -> None:
    points = np.stack(list(interpolate(np.zeros(2, np.float32), np.ones(2, np.float32), 3)))
    assert points.tolist() == [[0, 0], [0.5, 0.5], [1, 1]]
