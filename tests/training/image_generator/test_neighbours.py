import numpy as np
import pytest
from numpy.typing import NDArray

from training.image_generator.neighbours import find_nearest, find_nearest_others


def images(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)


def test_the_nearest_image_is_found_with_its_distance_in_levels() -> None:
    among = images(0, 700)
    queries = among[[5, 600]].copy()
    queries[1, :3] ^= 1  # half of the pixels by one level
    found = find_nearest(queries, among)
    assert found.places.tolist() == [5, 600]
    assert found.distances == pytest.approx([0, np.sqrt(0.5)])


def test_among_themselves_images_do_not_find_themselves() -> None:
    pictures = images(1, 600)
    pictures[599] = pictures[2]
    found = find_nearest_others(pictures)
    assert (found.places[2], found.places[599]) == (599, 2)
    assert (found.distances == 0).sum() == 2
    assert (found.places != np.arange(600)).all()
