"""What the folds say: how good the network is, beside other models, and the temperature and threshold that follow.

What is judged of a fold was chosen without it: its temperature and its threshold come from the other folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import nn

from models.manifest import Decision
from training.churn.data import Fold
from training.churn.evaluate import compare, fold_areas, score_predictions, summarise
from training.churn.threshold import choose_threshold, make_decision
from training.metrics import fit_temperature
from training.table import Table

if TYPE_CHECKING:
    from training.churn.train import Config

Floats = NDArray[np.floating[Any]]

DECIMALS = 6
SHOWN = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
    "brier_score": "Brier",
    "expected_calibration_error": "ECE",
    "accuracy": "accuracy",
    "f1": "F1",
    "lift_top_decile": "lift",
}


@dataclass(frozen=True)
class Report:
    """The figures of a training, and the answers they were computed from. ``metrics`` is what the manifest carries."""

    metrics: Mapping[str, JsonValue]
    decision: Decision
    temperature: float
    probabilities: Mapping[str, Floats]  # by model: (repeats, rows), calibrated by the other folds
    targets: NDArray[np.int64]
    folds: Sequence[Fold]
    records: Sequence[Mapping[str, float]]


def make_report(
    config: "Config",
    table: Table,
    folds: Sequence[Fold],
    predictions: nn.Module,
    records: Sequence[Mapping[str, float]],
) -> Report:
    """Judge what each model said of the rows that it had not learnt from.

    Args:
        config: whose costs decide the threshold.
        table: the rows.
        folds: in the order of ``records``.
        predictions: a buffer for each model, (repeats, rows): log-odds of the network, which is the first, and
            probabilities of the others.
        records: a line for each fold.
    """
    answers = {name: values.numpy() for name, values in predictions.named_buffers()}
    network, *baselines = answers
    targets = table.targets
    log_odds = answers[network]
    probabilities = {network: _calibrate(log_odds, targets, folds), **{name: answers[name] for name in baselines}}
    areas = {name: fold_areas(answers[name], targets, folds) for name in answers}
    scores = {name: _score(config, probabilities[name], areas[name], targets, folds) for name in answers}
    temperature = _temperature(log_odds.ravel(), np.tile(targets, len(log_odds)))
    calibrated = _sigmoid(log_odds / temperature)
    threshold = choose_threshold(
        calibrated.ravel(), np.tile(targets, len(log_odds)), config.cost_false_negative, config.cost_false_positive
    )
    metrics: dict[str, JsonValue] = {
        **scores[network],
        "temperature": round(temperature, DECIMALS),
        "cross_validation": {"folds": config.folds, "repeats": config.repeats},
    }
    if baselines:
        metrics["baselines"] = {
            name: {**scores[name], "network_minus_baseline": compare(areas[network], areas[name], folds)}
            for name in baselines
        }
    decision = make_decision(threshold, table.preprocessing.target_shares[1])
    return Report(metrics, decision, temperature, probabilities, targets, folds, records)


def describe_report(report: Report) -> str:
    """The figures of all models, a line for each, and the network's difference to the others."""
    baselines: Any = report.metrics.get("baselines", {})
    models: dict[str, Mapping[str, Any]] = {"network": report.metrics, **baselines}
    width = max(len(name) for name in models)
    lines = [" " * width + "".join(f"{title:>10}" for title in SHOWN.values())]
    lines += [f"{name:<{width}}" + "".join(f"{scores[key]:>10.4f}" for key in SHOWN) for name, scores in models.items()]
    for name, scores in baselines.items():
        difference = scores["network_minus_baseline"]
        lines.append(
            f"network minus {name}: {difference['roc_auc_difference']:+.4f} ROC AUC, better in "
            f"{difference['folds_better']} of {difference['folds']} folds, p = {difference.get('p_value', 'none')}"
        )
    lines.append(f"churn is expected from a probability of {report.decision.threshold} on")
    return "\n".join(lines)


def _calibrate(log_odds: Floats, targets: NDArray[np.int64], folds: Sequence[Fold]) -> Floats:
    """Probabilities (repeats, rows), those of each fold by the temperature of the others of its repeat."""
    probabilities = np.empty_like(log_odds)
    for fold in folds:
        temperature = _temperature(log_odds[fold.repeat, fold.train], targets[fold.train])
        probabilities[fold.repeat, fold.test] = _sigmoid(log_odds[fold.repeat, fold.test] / temperature)
    return probabilities


def _score(
    config: "Config", probabilities: Floats, areas: Floats, targets: NDArray[np.int64], folds: Sequence[Fold]
) -> dict[str, JsonValue]:
    decisions = np.zeros(probabilities.shape, dtype=bool)
    for fold in folds:
        said = probabilities[fold.repeat]
        threshold = choose_threshold(
            said[fold.train], targets[fold.train], config.cost_false_negative, config.cost_false_positive
        )
        decisions[fold.repeat, fold.test] = said[fold.test] >= threshold
    repeats = np.array([fold.repeat for fold in folds])
    return summarise(
        [
            {
                "roc_auc": float(areas[repeats == repeat].mean()),
                **score_predictions(probabilities[repeat], decisions[repeat], targets),
            }
            for repeat in range(len(probabilities))
        ]
    )


def _temperature(log_odds: Floats, targets: NDArray[np.int64]) -> float:
    logits = torch.from_numpy(np.stack((np.zeros_like(log_odds), log_odds), axis=1))
    return fit_temperature(logits, torch.from_numpy(targets))


def _sigmoid(log_odds: Floats) -> Floats:
    probabilities: Floats = 1 / (1 + np.exp(-log_odds))
    return probabilities
