import numpy as np
import pytest

from training.errors import DivergenceError
from training.image_generator.judge import Reading
from training.image_generator.watch import check_health, count_missing, watch

LABELS = np.repeat([0, 1], 100)


def reading(seed: int, spread: float = 1.0) -> Reading:
    """Features of two classes; those of the second vary by ``spread``."""
    features = np.random.default_rng(seed).normal(0, 1, (200, 3)).astype(np.float32)
    features[100:] *= spread
    return Reading(features + LABELS[:, np.newaxis].astype(np.float32) * 5, LABELS)


def history(distances: list[float], diversity: float = 0.8) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "validation_frechet_distance": distance,
            "validation_spread": 40.0,
            "least_diversity": diversity,
            "least_diverse_class": 1.0,
        }
        for epoch, distance in enumerate(distances, start=1)
    ]


def test_images_like_real_ones_are_diverse_near_and_recognised() -> None:
    found = watch(reading(0), LABELS, reading(1), LABELS)
    assert found["validation_diversity"] == pytest.approx(1.0, abs=0.1)
    assert found["validation_frechet_distance"] < 0.5
    assert found["validation_accuracy"] == 1.0
    assert found["classes_missing"] == 0


def test_a_class_that_shows_one_picture_is_the_least_diverse() -> None:
    found = watch(reading(0), LABELS, reading(1, spread=0.01), LABELS)
    assert found["least_diverse_class"] == 1
    assert found["least_diversity"] < 0.02


def test_a_class_that_no_image_is_taken_for_is_missing() -> None:
    assert count_missing(Reading(reading(0).features, np.zeros(200, np.int64)), LABELS) == 1


def test_a_training_on_its_way_goes_on() -> None:
    check_health([], ("Bag", "Coat"))
    check_health(history([90, 80, 70, 5, 50, 39, 60, 60]), ("Bag", "Coat"))
    check_health(history([9, 8], diversity=0.0), ("Bag", "Coat"))


def test_a_collapsed_training_stops_and_names_the_class() -> None:
    with pytest.raises(DivergenceError, match=r"collapsed in epoch 3: images of 'Coat' differ 1\.0% as much as real"):
        check_health(history([9, 8, 7], diversity=0.01), ("Bag", "Coat"))


def test_a_training_that_only_gets_worse_stops() -> None:
    with pytest.raises(
        DivergenceError, match=r"diverged in epoch 4: the Fréchet distance is 80 and was 2, real images spread 40"
    ):
        check_health(history([2, 50, 60, 80]), ("Bag", "Coat"))
