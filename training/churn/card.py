"""The model card: the six steps of a churn project, what came of each, and what the model is and is not for.

Every number comes from the manifest or from the arrays that it was computed from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.columns import Column, TablePreprocessing, write_number
from models.manifest import CARD_FILE, Decision, Manifest, find_preprocessing
from training.churn.evaluate import measure_calibration
from training.churn.importance import Effect
from training.churn.pictures import (
    draw_calibration,
    draw_curves,
    draw_effects,
    draw_gain,
    draw_importances,
    draw_threshold,
)
from training.churn.report import Report
from training.sections import (
    count,
    describe_making,
    list_settings,
    make_details,
    make_table,
    make_title,
)

if TYPE_CHECKING:
    from training.churn.train import Config

CATEGORIES_SHOWN = 8

# In the order of the table. The deviation of each stands in the manifest under its name with "_deviation".
RESULTS: Mapping[str, tuple[str, str]] = {
    "roc_auc": ("Area under the ROC curve", ".4f"),
    "pr_auc": ("Average precision (area under the precision-recall curve)", ".4f"),
    "log_loss": ("Log loss", ".4f"),
    "brier_score": ("Brier score", ".4f"),
    "expected_calibration_error": ("Expected calibration error, 15 bins", ".4f"),
    "accuracy": ("Accuracy at the threshold", ".4f"),
    "precision": ("Precision at the threshold", ".4f"),
    "recall": ("Recall at the threshold", ".4f"),
    "f1": ("F1 at the threshold", ".4f"),
    "lift_top_decile": ("Lift in the tenth with the highest probability", ".2f"),
}
NAMES = {"logistic_regression": "logistic regression", "catboost": "CatBoost"}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from. ``config`` has the settings that a search found."""

    manifest: Manifest
    report: Report
    config: "Config"
    effects: Sequence[Effect]


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write ``card.md`` and its pictures into ``folder``."""
    report, metrics = facts.report, facts.manifest.metrics
    answers = {name: values.ravel() for name, values in report.probabilities.items()}
    network = next(iter(answers.values()))
    targets = np.tile(report.targets, len(network) // len(report.targets))
    draw_curves(folder / "curves.png", answers, targets)
    draw_calibration(folder / "calibration.png", measure_calibration(network, targets))
    draw_gain(folder / "gain.png", network, targets)
    importances: Any = metrics["importances"]
    draw_importances(folder / "importances.png", importances)
    draw_effects(folder / "effects.png", facts.effects)
    draw_threshold(
        folder / "threshold.png",
        network,
        targets,
        report.decision.threshold,
        facts.config.cost_false_negative,
        facts.config.cost_false_positive,
    )
    sections = (
        _details(facts),
        _prepare(facts),
        _build(facts),
        _train(facts),
        _evaluate(facts),
        _predict(facts),
        _improve(facts),
        _limits(facts),
        describe_making(facts.manifest),
    )
    (folder / CARD_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _decision(manifest: Manifest) -> Decision:
    assert manifest.decision is not None  # noqa: S101  # of this kind
    return manifest.decision


def _details(facts: CardFacts) -> str:
    manifest = facts.manifest
    columns = find_preprocessing(manifest, TablePreprocessing)
    rows = (
        ("Architecture", f"`{manifest.architecture}`, {manifest.parameters:,} parameters"),
        ("Input", f"a customer's {len(columns.columns)} columns as they are: numbers, words, and nothing"),
        ("Output", f"the calibrated probability that `{columns.target.name}` is `{columns.target.categories[1]}`"),
    )
    use = (
        "For choosing whom to ask, call or offer something before they leave, and for knowing what a customer's "
        "probability rests on. It is not made for decisions that a customer cannot object to, and says nothing about "
        "what would happen if something about a customer were changed."
    )
    return f"{make_title(manifest)}\n\n{make_details(manifest, rows)}\n\n{use}"


def _prepare(facts: CardFacts) -> str:
    manifest = facts.manifest
    columns, data = find_preprocessing(manifest, TablePreprocessing), manifest.provenance.data
    yes, share = columns.target.categories[1], columns.target_shares[1]
    rows = [(f"`{column.name}`", column.type, _content(column)) for column in columns.columns]
    text = (
        f"## 1. Prepare\n\n`{data.name}`, from {data.source}: {data.train_examples:,} rows, `{columns.target.name}` is "
        f"`{yes}` in {share:.1%}. Digest of the rows: `{data.sha256}`.\n\n"
        f"{make_table(('column', 'type', 'values'), rows)}"
    )
    left_out = [(f"`{name}`", reason) for name, reason in columns.dropped.items()]
    if columns.identifier:
        left_out.insert(0, (f"`{columns.identifier}`", "names the rows and says nothing about them"))
    return text + (f"\n\nLeft out:\n\n{make_table(('column', 'why'), left_out)}" if left_out else "")


def _build(facts: CardFacts) -> str:
    config = facts.config
    nets = "One net" if config.members == 1 else f"{config.members} nets side by side, whose log-odds are averaged"
    return (
        f"## 2. Build\n\n{nets}, with {count(config.layers, 'hidden layer')} of {count(config.hidden, 'unit')}. A "
        f"number is cut at its quantiles into {count(config.bins, 'piece')}, and is straight in each; a category is "
        "one of its column's. A value that is missing, or a category that is not known, counts by itself where "
        "training saw such, and as its column's average where it did not. All of this is inside of the graph."
    )


def _train(facts: CardFacts) -> str:
    return (
        "## 3. Train\n\nThe version was trained on all rows, as the networks that were evaluated were on theirs. No "
        f"rows were repeated or made up to even out the target. The settings:\n\n{list_settings(facts.manifest)}"
    )


def _evaluate(facts: CardFacts) -> str:
    manifest, config = facts.manifest, facts.config
    metrics: Mapping[str, Any] = manifest.metrics
    protocol = metrics["cross_validation"]
    tuned = (
        f" Each fold tried {config.tune} settings, on its own training rows, before it was predicted."
        if config.tune
        else ""
    )
    return (
        f"## 4. Evaluate and tune\n\nEvery row was predicted {_times(protocol['repeats'])}, each time by networks that "
        f"had not learnt from it: {protocol['folds']} stratified folds, {count(protocol['repeats'], 'repeat')}. "
        "Temperature and threshold of a fold come from the other folds." + tuned + " The figures are means over the "
        "repeats, with the standard deviation between them; the area under the ROC curve is the mean over folds.\n\n"
        f"{_results(metrics)}\n\n{_comparison(metrics)}"
        "![ROC and precision-recall curves](curves.png)\n\n"
        f"Log-odds are divided by {metrics['temperature']:.3f}, so that probabilities agree with shares:\n\n"
        "![Shares that churned against predicted probabilities](calibration.png)\n\n"
        "![Gain and lift](gain.png)\n\n"
        f"{_threshold(facts)}\n\n![Precision, recall, F1 and cost over the threshold](threshold.png)"
    )


def _results(metrics: Mapping[str, Any]) -> str:
    baselines: Mapping[str, Any] = metrics.get("baselines", {})
    header = ("metric", "network", *(NAMES[name] for name in baselines))
    rows = [
        (title, *(_figure(scores, name, form) for scores in (metrics, *baselines.values())))
        for name, (title, form) in RESULTS.items()
    ]
    return make_table(header, rows)


def _figure(scores: Mapping[str, Any], name: str, form: str) -> str:
    deviation = scores.get(f"{name}_deviation")
    return format(scores[name], form) + (f" ± {deviation:{form}}" if deviation is not None else "")


def _comparison(metrics: Mapping[str, Any]) -> str:
    baselines: Mapping[str, Any] = metrics.get("baselines", {})
    if not baselines:
        return ""
    rows = []
    for name, scores in baselines.items():
        difference = scores["network_minus_baseline"]
        rows.append(
            (
                NAMES[name],
                f"{difference['roc_auc_difference']:+.4f}",
                f"{difference['folds_better']} of {difference['folds']}",
                _p_value(difference.get("p_value")),
            )
        )
    header = ("network against", "difference in the area under the ROC curve", "folds better", "p")
    return (
        "The others learnt from the same rows of each fold and predicted the same. p is of a paired t-test over the "
        "folds, two-sided, corrected for the training rows that folds share (Nadeau and Bengio 2003).\n\n"
        f"{make_table(header, rows)}\n\n"
    )


def _p_value(value: float | None) -> str:
    """As tables have it; folds that all differ by the same have none."""
    if value is None:
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _threshold(facts: CardFacts) -> str:
    config, threshold = facts.config, _decision(facts.manifest).threshold
    if config.cost_false_negative or config.cost_false_positive:
        reason = (
            f"costs least where a missed churn costs {config.cost_false_negative:g} and a false alarm "
            f"{config.cost_false_positive:g}"
        )
    else:
        reason = (
            "has the best F1. With costs of your own, `--cost-false-negative` and `--cost-false-positive`, it moves"
        )
    return f"Churn is expected from a probability of {threshold:.2f} on, which {reason}."


def _predict(facts: CardFacts) -> str:
    bands = _decision(facts.manifest).bands
    edges = [*(band.minimum for band in bands[1:]), 1.0]
    probabilities = next(iter(facts.report.probabilities.values()))
    places = np.searchsorted([band.minimum for band in bands], probabilities, side="right") - 1
    churned = np.broadcast_to(facts.report.targets, places.shape)
    rows = [
        (
            band.name,
            f"{band.minimum:.0%} to {edge:.0%}",
            f"{np.mean(places == number):.1%}",
            f"{churned[places == number].mean():.1%}" if (places == number).any() else "none",
        )
        for number, (band, edge) in enumerate(zip(bands, edges, strict=True))
    ]
    header = ("risk", "probability", "share of customers", "of these churned")
    return (
        "## 5. Predict\n\n`POST /predict-churn` takes customers with the columns above and answers probability, "
        "decision and risk. A medium risk begins at the odds of the average customer, a high one at three times "
        "these.\n\n"
        f"{make_table(header, rows)}"
    )


def _improve(facts: CardFacts) -> str:
    importances: Mapping[str, float] = facts.manifest.metrics["importances"]  # type: ignore[assignment]
    first = ", ".join(f"`{name}`" for name in list(importances)[:3])
    moved = " and ".join(f"`{effect.column.name}`" for effect in facts.effects)
    return (
        f"## 6. Improve\n\nThe answers rest most on {first}. A Shapley value is how far a column moves a customer's "
        "log-odds from the average customer's:\n\n"
        "![Mean size of each column's Shapley value](importances.png)\n\n"
        f"How the probability moves with {moved} where all else stays as it is; the mean over customers, and where the "
        "middle 80 % of them are:\n\n"
        "![Probability against single columns](effects.png)\n\n"
        "`--tune 30` searches settings for a table of your own, `--drop` leaves out what is not known in time, and "
        "`--categorical` says which numbers are names. A column that is new, and known before a customer leaves, does "
        "more than any setting."
    )


def _limits(facts: CardFacts) -> str:
    metrics: Mapping[str, Any] = facts.manifest.metrics
    false_alarms = 1 - metrics["precision"]
    return (
        "## Limits\n\n"
        f"- At its threshold it finds {metrics['recall']:.0%} of those who churn, and {false_alarms:.0%} of its alarms "
        "are false.\n"
        "- It knows customers as they were when the table was written. On others, or in other times, it is less often "
        "right, and its probabilities are no longer calibrated.\n"
        "- A number beyond the range of the training rows counts as the end of that range.\n"
        "- What moves the answer need not be what makes customers leave.\n"
        "- Groups of customers have not been compared; look at your own before you act on it."
    )


def _content(column: Column) -> str:
    if column.is_numeric:
        low, high = (write_number(column, bound) for bound in (column.minimum or 0.0, column.maximum or 0.0))
        text = f"{low} to {high}"
    else:
        shown = ", ".join(column.categories[:CATEGORIES_SHOWN])
        more = len(column.categories) - CATEGORIES_SHOWN
        text = shown + (f" and {more:,} more" if more > 0 else "") + (", and others" if column.open else "")
    return text + ("; some missing" if column.has_missing else "")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
