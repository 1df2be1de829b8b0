"""How good a classifier is, from its probabilities and the true labels; and the temperature that calibrates it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from sklearn import metrics
from torch import Tensor, nn

CALIBRATION_BINS = 15
DECIMALS = 6
# Where validation has no mistake, likelihood has no optimum short of certainty; the temperature stops here.
MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Reliability:
    """Predictions by confidence, in bins of equal width from 0 to 1: what a reliability diagram shows."""

    counts: NDArray[np.int64]  # (bins,)
    confidence: NDArray[np.float64]  # (bins,) mean confidence, 0 where the bin is empty
    accuracy: NDArray[np.float64]  # (bins,) share that was right, 0 where the bin is empty

    @property
    def expected_calibration_error(self) -> float:
        """The mean distance of confidence and accuracy, weighted by count. Source: Guo et al. 2017, equation 3."""
        return float(np.abs(self.confidence - self.accuracy) @ self.counts / self.counts.sum())


def measure_reliability(probabilities: Floats, labels: Integers, bins: int = CALIBRATION_BINS) -> Reliability:
    """Sort predictions by the probability of their label into ``bins``, each open below and closed above.

    Args:
        probabilities: (n, classes).
        labels: (n,) the true classes.
        bins: how many. Guo et al. 2017 use 15.
    """
    return sort_into_bins(probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels, bins)


def sort_into_bins(confidence: Floats, right: NDArray[Any], bins: int) -> Reliability:
    """Sort predictions by their confidence into ``bins``, each open below and closed above.

    Args:
        confidence: (n,) the probability of what was predicted.
        right: (n,) whether it was so: 0 or 1, or a truth value.
        bins: how many.
    """
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    filled = np.maximum(counts, 1)
    return Reliability(
        counts=counts,
        confidence=np.bincount(places, confidence, bins) / filled,
        accuracy=np.bincount(places, right, bins) / filled,
    )


def classification_metrics(probabilities: Floats, labels: Integers, names: tuple[str, ...]) -> dict[str, JsonValue]:
    """Everything the manifest says about a classifier on its test split, ready for JSON.

    ``confusion_matrix`` has a row for each true class and a column for each predicted one;
    ``brier_score`` is the sum over classes (0 to 2). The F1 of a class that is never predicted is 0.

    Args:
        probabilities: (n, classes), rows that sum to one.
        labels: (n,) the true classes, 0 to classes - 1.
        names: (classes,) what the classes are called.
    """
    classes = np.arange(len(names))
    predicted = probabilities.argmax(axis=1)
    # In float64 and scaled to an exact sum, which float32 rows miss by rounding.
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    binary = len(names) == 2
    scored = exact[:, 1] if binary else exact
    numbers = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "negative_log_likelihood": metrics.log_loss(labels, exact, labels=classes),
        "expected_calibration_error": measure_reliability(probabilities, labels).expected_calibration_error,
        "brier_score": metrics.brier_score_loss(labels, scored, labels=classes, scale_by_half=False),
    }
    if len(names) > 5:
        numbers["top_5_accuracy"] = metrics.top_k_accuracy_score(labels, exact, k=5, labels=classes)
    scores = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0.0)
    return {
        **{name: round(float(value), DECIMALS) for name, value in numbers.items()},
        "per_class": {
            name: {
                "precision": round(float(precision), DECIMALS),
                "recall": round(float(recall), DECIMALS),
                "f1": round(float(f1), DECIMALS),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(names, *scores, strict=True)
        },
        "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=classes).tolist(),
    }


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature by which to divide logits so that probabilities are calibrated. Source: Guo et al. 2017.

    Args:
        logits: (n, classes), any float dtype.
        labels: (n,) the true classes.

    Returns:
        From ``MIN_TEMPERATURE`` to ``MAX_TEMPERATURE``.

    Raises:
        ValueError: there are no labels.
    """
    return 1 / fit_weights([logits], labels)[0]


def fit_weights(parts: Sequence[Tensor], labels: Tensor) -> list[float]:
    """By what to multiply the logits of several classifiers so that their sum is best, and calibrated.

    They minimise the negative log-likelihood, by L-BFGS on their logarithms, of the labels and of one more example that
    could have any label: on a split without a mistake no finite weights would else be best (Platt 1999, section 2.2).
    Fit them on the validation split: on the training split every classifier is too sure, and the test split chooses
    nothing. Of one classifier the weight is the inverse of a temperature; several are stacked (Wolpert 1992).

    Args:
        parts: each classifier's, (n, classes), any float dtype.
        labels: (n,) the true classes.

    Returns:
        One for each part, from ``1 / MAX_TEMPERATURE`` to ``1 / MIN_TEMPERATURE``.

    Raises:
        ValueError: there are no labels.
    """
    if len(labels) == 0:
        raise ValueError("no labels to fit a temperature to, expected one at least")
    logits = torch.stack([part.detach().cpu().double() for part in parts])
    labels = labels.detach().cpu()
    logarithms = torch.zeros(len(parts), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithms], max_iter=100, line_search_fn="strong_wolfe")

    def weights() -> Tensor:
        return logarithms.exp().clamp(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE)

    def negative_log_likelihood() -> Tensor:
        optimizer.zero_grad()
        total = torch.einsum("p,pnc->nc", weights(), logits)
        loss = nn.functional.cross_entropy(total, labels, label_smoothing=1 / (len(labels) + 1))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(negative_log_likelihood)  # type: ignore[no-untyped-call]
    return weights().tolist()
