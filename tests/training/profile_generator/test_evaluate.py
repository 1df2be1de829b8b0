from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.profile_generator.tables import write_subscriptions
from training.profile_generator.data import ProfileData, load_profiles
from training.profile_generator.encoding import build_encoding
from training.profile_generator.evaluate import (
    breaks_rule,
    count_copies,
    measure_associations,
    measure_detection,
    measure_distances,
    measure_quality,
)
from training.profile_generator.rules import find_rules
from training.profile_generator.sampling import draw_targets
from training.profile_generator.served import Uniform


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ProfileData:
    folder = tmp_path_factory.mktemp("data")
    path = write_subscriptions(folder / "table.csv")
    return load_profiles(
        str(path), folder, "cancelled", categorical=(), drop=(), max_rows=0, validation_fraction=0.1, seed=0
    )


def test_the_parts_share_no_row_and_the_mix_of_the_target(data: ProfileData) -> None:
    parts = (data.train, data.validation, data.test)
    names = [set(part.identifiers) for part in parts]
    assert sum(map(len, names)) == len(set.union(*names)) == 600
    assert len(data.test) >= len(data.train) / 2
    for part in parts:
        assert part.targets.mean() == pytest.approx(data.table.targets.mean(), abs=0.02)


def test_copies_are_counted_with_missing_values_and_the_target(data: ProfileData) -> None:
    assert count_copies(data.train, data.train) == len(data.train)
    assert count_copies(replace(data.train, targets=1 - data.train.targets), data.train) == 0
    assert count_copies(data.test, data.train) == 0


def test_rows_learnt_by_heart_stand_closer_to_the_training_rows(data: ProfileData) -> None:
    assert measure_distances(data, data.train, seed=0).metrics["closer_to_training_share"] > 0.75  # type: ignore[operator]
    assert measure_distances(data, data.test, seed=0).metrics["closer_to_training_share"] < 0.05  # type: ignore[operator]


def test_real_rows_are_of_the_best_quality_and_shuffled_ones_are_not(data: ProfileData) -> None:
    shuffled = replace(data.train, texts=np.random.default_rng(0).permuted(data.train.texts, axis=0))
    real, wrong = (measure_quality(data, [sample]) for sample in (data.test, shuffled))
    assert real["quality"] == pytest.approx(1)
    assert wrong["quality_pairs"] < 0.9  # type: ignore[operator]


def test_a_discriminator_finds_what_is_wrong(data: ProfileData) -> None:
    moved = replace(data.train, numbers=data.train.numbers + 1.5 * np.nanstd(data.train.numbers, axis=0))
    assert measure_detection(data, [moved], seed=0)["detection_auc"] > 0.8  # type: ignore[operator]


def test_rows_that_break_a_rule_or_a_relation_are_found(data: ProfileData) -> None:
    encoding = build_encoding(data.train, bins=12)
    rules = find_rules(encoding, data.train)
    assert not breaks_rule(encoding, rules, data.train).any()
    texts, numbers = data.train.texts.copy(), data.train.numbers.copy()
    (first, *_) = np.flatnonzero(texts[:, 0] == "basic")
    texts[first, 1] = "phone"
    (second, *_) = np.flatnonzero((numbers[:, 1] > 12) & (texts[:, 0] == "plus"))
    numbers[second, 3] *= 1.2
    broken = breaks_rule(encoding, rules, replace(data.train, texts=texts, numbers=numbers))
    assert np.flatnonzero(broken).tolist() == sorted((first, second))


def test_associations_are_strong_where_columns_go_together(data: ProfileData) -> None:
    found = measure_associations(data.test, data.train)
    place = {name: index for index, name in enumerate(found.names)}
    for strengths in (found.real, found.synthetic):
        assert strengths[place["plan"], place["price"]] > 0.9
        assert strengths[place["plan"], place["support"]] > 0.7
        assert strengths[place["app"], place["region"]] < 0.25
        np.testing.assert_array_equal(strengths, strengths.T)


def test_fewer_targets_of_a_seed_are_the_beginning_of_more() -> None:
    np.testing.assert_array_equal(draw_targets(7, 2, 0.3), draw_targets(7, 5, 0.3)[:2])
    assert draw_targets(7, 4000, 0.3).mean() == pytest.approx(0.3, abs=0.03)


def test_normal_noise_becomes_uniform() -> None:
    noise = torch.linspace(-6, 6, 1001, dtype=torch.float64)
    assert (Uniform()(noise) - torch.special.ndtr(noise)).abs().max() < 8e-8


def test_the_same_file_is_split_the_same_way(data: ProfileData, tmp_path: Path) -> None:
    path = write_subscriptions(tmp_path / "table.csv")
    again = load_profiles(
        str(path), tmp_path, "cancelled", categorical=(), drop=(), max_rows=0, validation_fraction=0.1, seed=0
    )
    assert again.test.identifiers == data.test.identifiers
