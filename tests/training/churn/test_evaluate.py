"""The figures are those of their definitions."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from training.churn.data import Fold, hold_out, split_folds
from training.churn.evaluate import (
    compare,
    fold_areas,
    lift,
    measure_calibration,
    score_predictions,
    summarise,
    two_sided_p_value,
)
from training.churn.threshold import CANDIDATES, choose_threshold, make_decision

GENERATOR = np.random.default_rng(0)
PROBABILITIES = GENERATOR.random(2000)
TARGETS = (GENERATOR.random(2000) < PROBABILITIES).astype(np.int64)


def test_every_row_is_predicted_once_in_each_repeat_by_others() -> None:
    folds = list(split_folds(TARGETS, 5, 2, seed=0))
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(2000))
    assert all(not set(fold.train) & set(fold.test) for fold in folds)
    assert not np.array_equal(folds[0].test, folds[5].test)


def test_what_is_watched_is_not_learnt() -> None:
    kept, watched = hold_out(np.arange(500), TARGETS, seed=1)
    assert sorted([*kept, *watched]) == list(range(500))
    assert TARGETS[kept].mean() == pytest.approx(TARGETS[watched].mean(), abs=0.02)


def test_probabilities_that_are_right_are_calibrated() -> None:
    reliability = measure_calibration(PROBABILITIES, TARGETS)
    assert reliability.counts.sum() == 2000
    assert reliability.expected_calibration_error < 0.04
    assert measure_calibration(PROBABILITIES**3, TARGETS).expected_calibration_error > 0.15


def test_scores_are_those_of_the_decisions() -> None:
    scores = score_predictions(PROBABILITIES, PROBABILITIES >= 0.5, TARGETS)
    assert scores["f1"] == pytest.approx(f1_score(TARGETS, PROBABILITIES >= 0.5))
    assert scores["brier_score"] == pytest.approx(np.mean((PROBABILITIES - TARGETS) ** 2))
    assert score_predictions(TARGETS.astype(float), TARGETS == 1, TARGETS)["accuracy"] == 1.0


def test_the_lift_of_one_who_knows_is_the_inverse_of_the_share() -> None:
    targets = np.repeat([1, 0, 0, 0], 100)
    assert lift(targets.astype(float), targets) == 4.0


def test_a_summary_has_the_mean_and_its_deviation() -> None:
    assert summarise([{"f1": 0.5}, {"f1": 0.7}]) == {"f1": 0.6, "f1_deviation": 0.141421}
    assert summarise([{"f1": 0.5}]) == {"f1": 0.5}


def test_a_comparison_is_the_corrected_t_test_of_nadeau_and_bengio() -> None:
    folds = [Fold(0, number, np.arange(80), np.arange(20)) for number in range(4)]
    comparison = compare(np.array([0.81, 0.82, 0.83, 0.84]), np.array([0.80, 0.80, 0.80, 0.80]), folds)
    # Mean 0.025, variance 0.0005 / 3, corrected by 1/4 + 1/4: t = 2.7386 with three degrees of freedom.
    assert comparison == {"roc_auc_difference": 0.025, "p_value": 0.071422, "folds_better": 4, "folds": 4}
    same = compare(np.full(4, 0.8), np.full(4, 0.8), folds)
    assert "p_value" not in same


@pytest.mark.parametrize(
    ("t", "degrees_of_freedom", "p"),  # from the table of Student's t
    [(12.7062, 1, 0.05), (4.3027, 2, 0.05), (3.1824, 3, 0.05), (2.7969, 24, 0.01), (-2.0639, 24, 0.05), (0.0, 7, 1.0)],
)
def test_p_values_are_those_of_the_printed_tables(t: float, degrees_of_freedom: int, p: float) -> None:
    assert two_sided_p_value(t, degrees_of_freedom) == pytest.approx(p, abs=2e-6)


def test_the_area_of_a_fold_is_of_its_own_rows() -> None:
    targets = np.array([0, 1, 0, 1])
    folds = [Fold(0, 0, np.array([2, 3]), np.array([0, 1])), Fold(0, 1, np.array([0, 1]), np.array([2, 3]))]
    assert fold_areas(np.array([[0.1, 0.2, 0.9, 0.8]]), targets, folds).tolist() == [1.0, 0.0]


def test_without_costs_the_threshold_has_the_best_f1() -> None:
    scores = [f1_score(TARGETS, threshold <= PROBABILITIES) for threshold in CANDIDATES]
    assert f1_score(TARGETS, choose_threshold(PROBABILITIES, TARGETS, 0, 0) <= PROBABILITIES) == max(scores)


@pytest.mark.parametrize(("missed", "alarm", "expected"), [(1, 1, 0.5), (9, 1, 0.1), (1, 4, 0.8)])
def test_with_costs_the_threshold_is_where_they_balance(missed: float, alarm: float, expected: float) -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.random(200_000)
    targets = (generator.random(200_000) < probabilities).astype(np.int64)
    assert choose_threshold(probabilities, targets, missed, alarm) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("share", [0.001, 0.265, 0.9])
def test_risk_bands_ascend_from_the_odds_of_the_average(share: float) -> None:
    bands = make_decision(0.3, share).bands
    assert [band.name for band in bands] == ["low", "medium", "high"]
    assert bands[1].minimum == pytest.approx(share)
    assert bands[2].minimum / (1 - bands[2].minimum) == pytest.approx(3 * share / (1 - share), rel=0.06)
