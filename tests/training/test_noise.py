"""The noise of a seed, and what lies between the noise of two."""

import numpy as np
import pytest

from training.noise import draw_noise, interpolate


def test_fewer_rows_of_a_seed_are_the_beginning_of_more() -> None:
    assert np.array_equal(draw_noise(7, 2, 26), draw_noise(7, 5, 26)[:2])


def test_interpolation_begins_and_ends_at_its_seeds_and_stays_as_long() -> None:
    start, end = draw_noise(1, 1, 400)[0], draw_noise(2, 1, 400)[0]
    path = interpolate(start, end, 5)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-6)
    assert np.linalg.norm(path, axis=1) == pytest.approx(20, rel=0.1)
