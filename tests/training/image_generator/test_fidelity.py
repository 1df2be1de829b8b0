import numpy as np
import pytest
from numpy.typing import NDArray

from training.image_generator.fidelity import frechet_distance, measure_manifold


def normal(seed: int, rows: int = 2000, mean: float = 0.0, deviation: float = 1.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean, deviation, (rows, 4))


def test_the_frechet_distance_is_that_of_known_normal_distributions() -> None:
    points = normal(0)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points + 3) == pytest.approx(4 * 9)
    # Deviations of 1 and 3 in each of four dimensions: 4 (3 - 1)^2.
    assert frechet_distance(points, points * 3) == pytest.approx(
        4 * 4 * np.var(points, axis=0, ddof=1).mean() + 4 * np.square(points.mean(axis=0)).sum()
    )


def test_features_that_never_vary_have_a_distance_too() -> None:
    dead = normal(0)
    dead[:, 1] = 0
    assert frechet_distance(dead, dead) == pytest.approx(0, abs=1e-9)


def test_two_samples_of_one_distribution_cover_each_other() -> None:
    found = measure_manifold(normal(0), normal(1))
    assert found.density == pytest.approx(1.0, abs=0.1)
    assert found.coverage > 0.95
    assert min(found.precision, found.recall) > 0.9


def test_what_lies_elsewhere_covers_nothing() -> None:
    found = measure_manifold(normal(0), normal(1, mean=50))
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_one_picture_again_and_again_is_precise_but_covers_little() -> None:
    found = measure_manifold(normal(0), np.tile(normal(0)[:1], (500, 1)) + normal(1, rows=500) * 1e-3)
    assert found.precision > 0.9
    assert found.coverage < 0.05
    assert found.recall < 0.05


def test_balls_are_as_their_definition_counts_them() -> None:
    real = np.array([[0.0], [1.0], [10.0]])
    generated = np.array([[0.4], [9.5], [30.0]])
    # With one neighbour the radii of real points are 1, 1 and 9, of generated ones 9.1, 9.1 and 20.5.
    found = measure_manifold(real, generated, neighbours=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx((2 + 1 + 0) / 3)
    assert found.coverage == pytest.approx(1.0)
    assert found.recall == pytest.approx(1.0)
