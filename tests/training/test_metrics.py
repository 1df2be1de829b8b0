"""Metrics against their definitions and against another library's."""

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error

from training.metrics import (
    MAX_TEMPERATURE,
    classification_metrics,
    fit_temperature,
    fit_weights,
    measure_reliability,
)

NAMES = tuple("abcdefg")


def draw(count: int, sharpness: float = 2.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (count, 7) and labels that were drawn with exactly the probabilities of these logits."""
    generator = np.random.default_rng(0)
    logits = sharpness * generator.normal(size=(count, len(NAMES)))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    return logits.astype(np.float32), labels


def probabilities_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch.softmax(torch.from_numpy(logits), dim=1).numpy()


def test_numbers_are_what_their_definitions_say() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], dtype=np.float32)
    labels = np.array([0, 1, 1, 2])
    metrics = classification_metrics(probabilities, labels, ("x", "y", "z"))
    assert metrics["accuracy"] == 0.75
    assert metrics["negative_log_likelihood"] == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.8]).mean(), abs=1e-6)
    assert metrics["brier_score"] == pytest.approx((0.14 + 0.86 + 0.38 + 0.06) / 4, abs=1e-6)
    # Each prediction is alone in its bin: |0.7 - 1|, |0.6 - 0|, |0.5 - 1| and |0.8 - 1|, averaged.
    assert metrics["expected_calibration_error"] == pytest.approx((0.3 + 0.6 + 0.5 + 0.2) / 4, abs=1e-6)
    assert metrics["confusion_matrix"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert metrics["per_class"] == {
        "x": {"precision": 0.5, "recall": 1.0, "f1": 0.666667, "support": 1},
        "y": {"precision": 1.0, "recall": 0.5, "f1": 0.666667, "support": 2},
        "z": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    }
    assert "top_5_accuracy" not in metrics, "of three classes the first five are all"


def test_the_first_five_are_counted_where_there_are_more() -> None:
    logits, labels = draw(500)
    ranks = (logits > logits[np.arange(500), labels][:, np.newaxis]).sum(axis=1)
    metrics = classification_metrics(probabilities_of(logits), labels, NAMES)
    assert metrics["top_5_accuracy"] == pytest.approx((ranks < 5).mean())


def test_calibration_error_is_torchmetrics_own() -> None:
    logits, labels = draw(3_000)
    probabilities = probabilities_of(3 * logits)
    expected = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=len(NAMES), n_bins=15
    )
    found = measure_reliability(probabilities, labels).expected_calibration_error
    assert found == pytest.approx(float(expected), abs=1e-6)
    assert found > 0.1


def test_certainty_falls_into_the_last_bin() -> None:
    reliability = measure_reliability(np.eye(3), np.array([0, 1, 1]))
    assert reliability.counts.tolist() == [0] * 14 + [3]
    assert reliability.accuracy[-1] == pytest.approx(2 / 3)


def test_two_classes_and_a_class_without_test_images_have_metrics() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    metrics = classification_metrics(probabilities, np.array([0, 0]), ("no", "yes"))
    assert metrics["accuracy"] == 0.5
    assert metrics["brier_score"] == pytest.approx((2 * 0.1**2 + 2 * 0.6**2) / 2, abs=1e-6)
    assert metrics["confusion_matrix"] == [[1, 1], [0, 0]]


def test_metrics_are_json() -> None:
    logits, labels = draw(100)
    metrics = classification_metrics(probabilities_of(logits), labels, NAMES)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_on_the_logits(factor: float) -> None:
    logits, labels = draw(20_000)
    temperature = fit_temperature(factor * torch.from_numpy(logits), torch.from_numpy(labels))
    assert temperature == pytest.approx(factor, rel=0.03)
    reliability = measure_reliability(probabilities_of(factor * logits / temperature), labels)
    assert reliability.expected_calibration_error < 0.01


def test_a_split_without_a_mistake_gives_a_confidence_that_its_size_allows() -> None:
    logits = 5 * torch.eye(4)
    probability = 1 - 1 / 5 + 1 / 20  # four right answers, and a fifth of the weight on any of the four
    temperature = fit_temperature(logits, torch.arange(4))
    assert torch.softmax(logits / temperature, dim=1).diagonal() == pytest.approx(probability, abs=1e-4)


def test_the_temperature_of_a_net_that_is_always_wrong_stays_in_bounds() -> None:
    logits = 5 * torch.eye(4)
    assert fit_temperature(-logits, torch.arange(4)) == pytest.approx(MAX_TEMPERATURE)


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no labels to fit a temperature to"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_the_sum_of_two_classifiers_is_weighed_by_what_each_knows() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (4000,), generator=generator)
    truth = 2.0 * (2 * labels - 1)
    # Both are told the truth with noise of their own; the optimum weighs each by the inverse of its noise's variance.
    good, poor = (truth + spread * torch.randn(4000, generator=generator) for spread in (1.0, 2.0))
    parts = [torch.stack([-evidence, evidence], 1) for evidence in (good, poor)]
    weights = fit_weights(parts, labels)
    assert weights[0] == pytest.approx(2.0, rel=0.1)
    assert weights[1] == pytest.approx(0.5, rel=0.2)


def test_a_classifier_that_knows_nothing_has_next_to_no_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (4000,), generator=generator)
    knowing = nn.functional.one_hot(labels, 3).float() + torch.randn(4000, 3, generator=generator)
    guessing = torch.randn(4000, 3, generator=generator)
    weights = fit_weights([knowing, guessing], labels)
    assert weights[0] == pytest.approx(1.0, rel=0.1)
    assert weights[1] < 0.1
