"""From which probability on churn is expected, and what is called a low, medium and high risk."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Decision, RiskBand

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

CANDIDATES = np.arange(1, 100) / 100
HIGH_ODDS_RATIO = 3.0


def choose_threshold(
    probabilities: Floats, targets: Integers, cost_false_negative: float, cost_false_positive: float
) -> float:
    """The hundredth that costs least, or, without costs, the one with the best F1. Of equals the one in the middle.

    Args:
        probabilities: (n,) of rows that their model did not learn from.
        targets: (n,) of 0 and 1.
        cost_false_negative: of a churn that was not expected.
        cost_false_positive: of an expected churn that was none.
    """
    missed, alarms, hits = count_outcomes(probabilities, targets)
    if cost_false_negative or cost_false_positive:
        gains = -(cost_false_negative * missed + cost_false_positive * alarms)
    else:
        gains = 2 * hits / np.maximum(2 * hits + missed + alarms, 1)
    best = np.flatnonzero(gains == gains.max())
    return float(CANDIDATES[best[len(best) // 2]])


def count_outcomes(probabilities: Floats, targets: Integers) -> tuple[Floats, Floats, Floats]:
    """For each candidate: how many that churned were missed, how many alarms were false, how many churns were hit."""
    churned, stayed = np.sort(probabilities[targets == 1]), np.sort(probabilities[targets == 0])
    missed = np.searchsorted(churned, CANDIDATES, side="left").astype(float)
    alarms = (len(stayed) - np.searchsorted(stayed, CANDIDATES, side="left")).astype(float)
    return missed, alarms, len(churned) - missed


def make_decision(threshold: float, share: float) -> Decision:
    """The threshold with risk bands: medium begins at the average row's odds of churn, high at three times these.

    Args:
        threshold: from which probability on churn is expected.
        share: of the training rows that churned.
    """
    odds = share / (1 - share)
    medium, high = (round(o / (1 + o), 4) for o in (odds, HIGH_ODDS_RATIO * odds))
    return Decision(
        threshold=threshold,
        bands=(
            RiskBand(name="low", minimum=0.0),
            RiskBand(name="medium", minimum=medium),
            RiskBand(name="high", minimum=high),
        ),
    )
