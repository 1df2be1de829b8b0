"""The pictures of a model card. Each function draws one and writes it as a PNG; the same facts give the same bytes."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from sklearn import metrics

from training.churn.importance import Effect
from training.churn.threshold import CANDIDATES, count_outcomes
from training.diagrams import Words, draw_reliability
from training.drawing import BLUE, GREEN, GREY, ORANGE, RED, open_figure, shorten
from training.metrics import Reliability

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

COLOURS = (BLUE, ORANGE, GREEN)
MAX_COLUMNS = 25
CURVE_POINTS = 400
NAME_LENGTH = 26
SPREAD = (0.1, 0.9)
CALIBRATION = Words(
    title="Calibration",
    share="churned",
    bars="share that churned",
    marks="mean predicted probability",
    confidence="predicted probability of churn",
)


def draw_curves(path: Path, answers: Mapping[str, Floats], targets: Integers) -> None:
    """The ROC curve and the precision-recall curve of each model, over all repeats of the folds.

    Args:
        path: where to write.
        answers: by model, (n,) of probabilities.
        targets: (n,) of 0 and 1.
    """
    with open_figure(path, 8.2, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        for (name, probabilities), colour in zip(answers.items(), COLOURS, strict=False):
            false_rate, true_rate, _ = metrics.roc_curve(targets, probabilities)
            precision, recall, _ = metrics.precision_recall_curve(targets, probabilities)
            label = name.replace("_", " ")
            style: dict[str, Any] = {"color": colour, "linewidth": 1.6 if colour == BLUE else 1.1, "label": label}
            left.plot(*_thin(false_rate, true_rate), **style, zorder=3 if colour == BLUE else 2)
            # Above the first few rows precision is all noise.
            kept = recall[:-1] >= 0.01
            right.plot(*_thin(recall[:-1][kept], precision[:-1][kept]), **style, zorder=3 if colour == BLUE else 2)
        share = float(targets.mean())
        left.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="by chance")
        right.axhline(share, color=GREY, linewidth=1, linestyle="--")
        left.set(title="ROC", xlabel="of those who stayed, taken for churn", ylabel="of those who churned, found")
        right.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1))
        _percent(left, right)
        left.legend(loc="lower right")


def draw_calibration(path: Path, reliability: Reliability) -> None:
    """How many churned of those given each probability, above how many were given it."""
    draw_reliability(path, reliability, CALIBRATION)


def draw_gain(path: Path, probabilities: Floats, targets: Integers) -> None:
    """How many of all churns are among the rows with the highest probability; and how many times the average that is.

    Args:
        path: where to write.
        probabilities: (n,).
        targets: (n,) of 0 and 1.
    """
    found = np.cumsum(targets[np.argsort(-probabilities, kind="stable")]) / targets.sum()
    asked = np.arange(1, len(found) + 1) / len(found)
    share = float(targets.mean())
    with open_figure(path, 8.2, 3.4) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(*_thin(asked, found), color=BLUE, linewidth=1.6, label="by predicted probability")
        left.plot([0, share, 1], [0, 1, 1], color=GREY, linewidth=1, linestyle=":", label="by knowing it")
        left.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="by chance")
        left.set(title="Gain", xlabel="customers asked", ylabel="of those who churned, found")
        left.legend(loc="lower right")
        tenths = [found[max(0, round(len(found) * tenth / 10) - 1)] for tenth in range(1, 11)]
        lifts = np.diff(tenths, prepend=0.0) * 10
        right.bar(np.arange(1, 11), lifts, color=BLUE)
        right.axhline(1, color=GREY, linewidth=1, linestyle="--")
        for place, lift in enumerate(lifts, start=1):
            right.text(place, lift, f"{lift:.1f}", ha="center", va="bottom", fontsize=7)
        right.set(title="Lift of each tenth", xlabel="tenth, highest probability first", ylabel="times the average")
        right.set_xticks(range(1, 11))
        _percent(left)


def draw_importances(path: Path, importances: Mapping[str, float]) -> None:
    """How far each column moves the answers, in log-odds."""
    shown = list(importances.items())[:MAX_COLUMNS]
    with open_figure(path, 6.2, 0.9 + 0.22 * len(shown)) as figure:
        axes = figure.subplots()
        names = [shorten(name, NAME_LENGTH) for name, _ in shown]
        axes.barh(range(len(shown)), [value for _, value in shown], color=BLUE)
        axes.set_yticks(range(len(shown)), names)
        axes.set(title="What the columns do", xlabel="mean size of the Shapley value, in log-odds")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")


def draw_effects(path: Path, effects: Sequence[Effect]) -> None:
    """How the probability moves with a column, all else unchanged: the mean, and where the middle 80 % of rows are."""
    with open_figure(path, 4.1 * len(effects), 3.3) as figure:
        panels = figure.subplots(1, len(effects), sharey=True, squeeze=False)[0]
        for axes, effect in zip(panels, effects, strict=True):
            mean = effect.probabilities.mean(axis=1)
            low, high = np.quantile(effect.probabilities, SPREAD, axis=1)
            places: Any
            if effect.column.is_numeric:
                places = [_place(effect, value) for value in effect.values]
                axes.fill_between(places, low, high, color=BLUE, alpha=0.15, linewidth=0)
                axes.plot(places, mean, color=BLUE, linewidth=1.6)
                axes.tick_params(axis="x", labelrotation=30 if effect.column.type == "date" else 0)
            else:
                places = range(len(effect.values))
                axes.errorbar(places, mean, (mean - low, high - mean), color=BLUE, marker="o", linestyle="", capsize=4)
                axes.set_xticks(places, [shorten(str(value), 16) for value in effect.values])
                if len(effect.values) > 3:
                    axes.tick_params(axis="x", labelrotation=30)
                axes.set_xlim(-0.5, len(effect.values) - 0.5)
            axes.set(title=shorten(effect.column.name, 40), ylim=(0, 1))
        panels[0].set_ylabel("probability of churn")
        panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))


def draw_threshold(
    path: Path,
    probabilities: Floats,
    targets: Integers,
    threshold: float,
    cost_false_negative: float,
    cost_false_positive: float,
) -> None:
    """Precision, recall and F1 at each threshold, and what a customer costs.

    Where no costs are given the second panel shows three ratios of a missed churn's cost to a false alarm's, each as a
    share of its cost without a model.
    """
    missed, alarms, hits = count_outcomes(probabilities, targets)
    count = len(targets)
    with open_figure(path, 8.2, 3.5) as figure:
        left, right = figure.subplots(1, 2)
        precision = hits / np.maximum(hits + alarms, 1)
        precision[hits + alarms < 0.002 * count] = np.nan
        recall = hits / np.maximum(hits + missed, 1)
        f1 = 2 * hits / np.maximum(2 * hits + missed + alarms, 1)
        for values, name, colour in ((precision, "precision", ORANGE), (recall, "recall", GREEN), (f1, "F1", BLUE)):
            left.plot(CANDIDATES, values, color=colour, linewidth=1.6, label=name)
        left.set(title="Precision, recall and F1", xlabel="threshold", ylim=(0, 1))
        left.legend(loc="lower left")
        if cost_false_negative or cost_false_positive:
            cost = (cost_false_negative * missed + cost_false_positive * alarms) / count
            right.plot(CANDIDATES, cost, color=RED, linewidth=1.6)
            right.set(title="Cost for each customer", ylabel="cost")
            right.set_ylim(bottom=0)
        else:
            for ratio, colour in ((1, GREEN), (3, BLUE), (10, RED)):
                cost = ratio * missed + alarms
                without = min(ratio * float((targets == 1).sum()), float((targets == 0).sum()))
                right.plot(CANDIDATES, cost / without, color=colour, linewidth=1.6, label=f"{ratio} : 1")
            right.set(title="Cost against asking all or none", ylabel="share of that cost", ylim=(0, 2))
            right.yaxis.set_major_formatter(PercentFormatter(1.0))
            right.legend(loc="lower right", title="cost of a missed churn\nto that of a false alarm")
        right.set_xlabel("threshold")
        for axes in (left, right):
            axes.axvline(threshold, color=GREY, linewidth=1, linestyle="--")
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        left.yaxis.set_major_formatter(PercentFormatter(1.0))


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Points of a curve, no more than can be seen."""
    kept = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).round().astype(int))
    return x[kept], y[kept]


def _percent(*panels: Axes) -> None:
    for axes in panels:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _place(effect: Effect, value: float | str) -> Any:
    return date(1970, 1, 1) + timedelta(days=float(value)) if effect.column.type == "date" else value
