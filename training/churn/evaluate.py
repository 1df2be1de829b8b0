"""How good predictions of churn are: for one repeat of the folds, over the repeats, and beside other models."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from sklearn import metrics

from training.churn.data import Fold
from training.metrics import CALIBRATION_BINS, Reliability, sort_into_bins

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

DECIMALS = 6
TOP_SHARE = 0.1
TINY = 1e-7


def score_predictions(probabilities: Floats, decisions: NDArray[np.bool_], targets: Integers) -> dict[str, float]:
    """What the manifest says about predictions, but for the area under the ROC curve, which is of single folds.

    Args:
        probabilities: (n,) of churn.
        decisions: (n,) whether it is expected.
        targets: (n,) of 0 and 1.
    """
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        targets, decisions, average="binary", zero_division=0.0
    )
    return {
        "pr_auc": float(metrics.average_precision_score(targets, probabilities)),
        "log_loss": float(metrics.log_loss(targets, np.clip(probabilities, TINY, 1 - TINY), labels=[0, 1])),
        "brier_score": float(np.mean((probabilities - targets) ** 2)),
        "expected_calibration_error": measure_calibration(probabilities, targets).expected_calibration_error,
        "accuracy": float(np.mean(decisions == (targets == 1))),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "lift_top_decile": lift(probabilities, targets),
    }


def fold_areas(probabilities: Floats, targets: Integers, folds: Sequence[Fold]) -> Floats:
    """The area under the ROC curve of each fold. ``probabilities`` is (repeats, rows)."""
    return np.array(
        [metrics.roc_auc_score(targets[fold.test], probabilities[fold.repeat, fold.test]) for fold in folds]
    )


def summarise(scores: Sequence[Mapping[str, float]]) -> dict[str, JsonValue]:
    """The mean of each score over the repeats, and under ``..._deviation`` its standard deviation."""
    summary: dict[str, JsonValue] = {}
    for name in scores[0]:
        values = [score[name] for score in scores]
        summary[name] = round(float(np.mean(values)), DECIMALS)
        if len(values) > 1:
            summary[f"{name}_deviation"] = round(float(np.std(values, ddof=1)), DECIMALS)
    return summary


def compare(areas: Floats, other: Floats, folds: Sequence[Fold]) -> dict[str, JsonValue]:
    """The mean difference of two models' areas over the same folds, and how likely chance alone would give as much.

    The t-test is corrected for folds that share their training rows (Nadeau and Bengio 2003, "Inference for the
    Generalization Error", section 3): the variance counts (1 / folds + test rows / training rows) times. It needs
    two folds; where all differences are the same there is no p-value.
    """
    differences = areas - other
    mean, variance = float(differences.mean()), float(differences.var(ddof=1))
    ratio = float(np.mean([len(fold.test) / len(fold.train) for fold in folds]))
    comparison: dict[str, JsonValue] = {"roc_auc_difference": round(mean, DECIMALS)}
    if variance > 0:
        t = mean / np.sqrt((1 / len(differences) + ratio) * variance)
        comparison["p_value"] = round(two_sided_p_value(t, len(differences) - 1), DECIMALS)
    comparison["folds_better"] = int((differences > 0).sum())
    comparison["folds"] = len(differences)
    return comparison


def two_sided_p_value(t: float, degrees_of_freedom: int) -> float:
    """How likely Student's t is as far from zero as ``t`` (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(abs(t) / math.sqrt(degrees_of_freedom))
    odd = degrees_of_freedom % 2
    factor, total = (math.cos(angle) if odd else 1.0), 0.0
    for power in range(odd, degrees_of_freedom - 1, 2):
        total += factor
        factor *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 1 - within


def measure_calibration(probabilities: Floats, targets: Integers, bins: int = CALIBRATION_BINS) -> Reliability:
    """Predictions by their probability of churn, in bins of equal width; ``accuracy`` is the share that did churn."""
    return sort_into_bins(probabilities, targets, bins)


def lift(probabilities: Floats, targets: Integers, share: float = TOP_SHARE) -> float:
    """How many times as many churn among the ``share`` of rows with the highest probability as among all."""
    top = np.argsort(-probabilities, kind="stable")[: max(1, round(share * len(targets)))]
    return float(targets[top].mean() / targets.mean())
