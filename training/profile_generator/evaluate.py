"""How good generated rows are, how private, and whether they keep the rules: all of it against held-out real rows."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier
from numpy.typing import NDArray
from pydantic import JsonValue
from sdmetrics.reports import QualityReport
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from training.metrics import DECIMALS
from training.profile_generator.copies import SHIFTS
from training.profile_generator.data import ProfileData
from training.profile_generator.encoding import Encoding, exact_numbers
from training.profile_generator.rules import Rule, describe_base, describe_rules, encode_all
from training.profile_generator.sampling import Sampler, order_columns
from training.table import Table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RULE_ROWS = 100_000
SAMPLES = 3  # of generated rows, each of the size of the training rows; figures are means over them
FOLDS = 5
MAX_DISTANCE_ROWS = 5_000
BOOSTING = {"iterations": 200, "learning_rate": 0.05, "depth": 4, "verbose": False, "allow_writing_files": False}
_SDTYPES = {"number": "numerical", "date": "numerical", "category": "categorical", "boolean": "categorical"}


@dataclass(frozen=True)
class Measurements:
    """The metrics of a manifest, and what a card draws them from."""

    metrics: Mapping[str, JsonValue]
    synthetic: Table
    training_distances: Floats  # of generated rows to the nearest training row
    held_out_distances: Floats  # of held-out rows to the nearest training row
    rules: Sequence[str]  # in words


def measure(data: ProfileData, encoding: Encoding, rules: Sequence[Rule], sampler: Sampler, seed: int) -> Measurements:
    """Measure what the exported graph generates. The test split is the judge, and nothing is chosen by it."""
    samples = [generate(data.table, sampler, seed + place, len(data.train)) for place in range(SAMPLES)]
    first = samples[0]
    distances = measure_distances(data, first, seed)
    metrics: dict[str, JsonValue] = {
        **measure_quality(data, samples),
        **measure_usefulness(data, samples, seed),
        **measure_detection(data, samples, seed),
        **_summarise_copies(data, samples),
        **distances.metrics,
        **measure_rules(data, encoding, rules, sampler, seed),
    }
    return Measurements(
        metrics={name: _round(value) for name, value in metrics.items()},
        synthetic=first,
        training_distances=distances.synthetic,
        held_out_distances=distances.held_out,
        rules=describe_rules(rules, encoding),
    )


def generate(table: Table, sampler: Sampler, seed: int, rows: int) -> Table:
    """A table of ``rows`` generated rows."""
    numbers, texts, targets = sampler.sample(seed, rows)
    return replace(table, numbers=numbers, texts=texts, targets=targets, identifiers=())


def measure_quality(data: ProfileData, samples: Sequence[Table]) -> dict[str, JsonValue]:
    """The report of sdmetrics: how alike columns are one by one, and in pairs. What real rows reach is its ceiling."""
    reports = [_quality(data.test, sample) for sample in samples]
    real = _quality(data.test, data.train)
    shapes = reports[0].get_details("Column Shapes")
    return {
        "quality": float(np.mean([report.get_score() for report in reports])),
        "quality_shapes": float(np.mean([_part(report, "Column Shapes") for report in reports])),
        "quality_pairs": float(np.mean([_part(report, "Column Pair Trends") for report in reports])),
        "quality_all_pairs": float(_quality(data.test, samples[0], all_pairs=True).get_score()),
        "quality_of_training_rows": float(real.get_score()),
        "shapes": {
            str(name): round(float(score), 4) for name, score in zip(shapes["Column"], shapes["Score"], strict=True)
        },
    }


def measure_usefulness(data: ProfileData, samples: Sequence[Table], seed: int) -> dict[str, JsonValue]:
    """The area under the ROC curve on held-out rows of classifiers trained on generated and on real rows."""
    prepare = _design(data.train)
    tests = data.test.targets

    def areas(rows: Table, place: int) -> list[float]:
        linear = LogisticRegression(max_iter=1000).fit(prepare(rows), rows.targets)
        boosted = CatBoostClassifier(**BOOSTING, random_seed=seed + place, thread_count=1)
        boosted.fit(prepare(rows), rows.targets)
        return [
            float(roc_auc_score(tests, model.predict_proba(prepare(data.test))[:, 1])) for model in (linear, boosted)
        ]

    real = np.mean([areas(data.train, place) for place in range(SAMPLES)], axis=0)
    generated = np.mean([areas(sample, place) for place, sample in enumerate(samples)], axis=0)
    return {
        "train_on_real_auc": float(real.mean()),
        "train_on_synthetic_auc": float(generated.mean()),
        "auc_gap": float(real.mean() - generated.mean()),
        "auc_by_classifier": {
            name: {"real": round(float(real[place]), 4), "synthetic": round(float(generated[place]), 4)}
            for place, name in enumerate(("logistic_regression", "catboost"))
        },
    }


def measure_detection(data: ProfileData, samples: Sequence[Table], seed: int) -> dict[str, JsonValue]:
    """The area under the ROC curve of discriminators of generated from held-out rows, cross-validated.

    They read standardised numbers and categories, target included, one column for each category; 0.5 is a guess.
    """

    def area(first: Table, second: Table, model: Any) -> float:
        rows = min(len(first), len(second))
        prepare = _design(data.train, with_target=True)
        features = np.concatenate([prepare(first)[:rows], prepare(second)[:rows]])
        labels = np.repeat([0, 1], rows)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        chances = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
        return float(roc_auc_score(labels, chances[:, 1]))

    linear = LogisticRegression(max_iter=1000)
    boosted = CatBoostClassifier(**BOOSTING, random_seed=seed, thread_count=1)
    shuffled = data.train.take(np.random.default_rng(seed).permutation(len(data.train)))
    return {
        "detection_auc": float(np.mean([area(data.test, sample, linear) for sample in samples])),
        "detection_auc_of_training_rows": area(data.test, shuffled, linear),
        "detection_auc_boosted": area(data.test, samples[0], boosted),
    }


@dataclass(frozen=True)
class Associations:
    """How strongly each pair of columns goes together, from 0 to 1: (columns, columns), the target last."""

    names: tuple[str, ...]
    real: Floats
    synthetic: Floats


def measure_associations(real: Table, synthetic: Table) -> Associations:
    """The strength by which columns go together, in real and in generated rows.

    Of two numbers it is the size of their rank correlation, of two categories Cramér's V, of a number and a category
    the correlation ratio.
    """
    frames = [to_frame(table) for table in (real, synthetic)]
    return Associations(tuple(frames[0].columns), *(_associations(frame) for frame in frames))


def _associations(frame: pd.DataFrame) -> Floats:
    count = frame.shape[1]
    codes = [frame.iloc[:, place].astype("category").cat.codes.to_numpy() for place in range(count)]
    numeric = [pd.api.types.is_numeric_dtype(frame.iloc[:, place]) for place in range(count)]
    ranks = [frame.iloc[:, place].rank().to_numpy() if numeric[place] else np.empty(0) for place in range(count)]
    strengths = np.eye(count)
    for first in range(count):
        for second in range(first):
            if numeric[first] and numeric[second]:
                strength = _rank_correlation(ranks[first], ranks[second])
            elif numeric[first] or numeric[second]:
                number, words = (first, second) if numeric[first] else (second, first)
                strength = _correlation_ratio(ranks[number], codes[words])
            else:
                strength = _cramers_v(codes[first], codes[second])
            strengths[first, second] = strengths[second, first] = strength
    return strengths


def _rank_correlation(first: Floats, second: Floats) -> float:
    rows = ~(np.isnan(first) | np.isnan(second))
    if rows.sum() < 2 or first[rows].std() == 0 or second[rows].std() == 0:
        return 0.0
    return abs(float(np.corrcoef(first[rows], second[rows])[0, 1]))


def _correlation_ratio(ranks: Floats, codes: NDArray[np.integer[Any]]) -> float:
    rows = ~np.isnan(ranks)
    values, groups = ranks[rows], codes[rows].astype(np.int64)
    if not len(values) or values.std() == 0:
        return 0.0
    counts = np.bincount(groups)
    means = np.bincount(groups, values) / np.maximum(counts, 1)
    return float(np.sqrt((counts * (means - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum()))


def _cramers_v(first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]) -> float:
    counts = pd.crosstab(first, second).to_numpy().astype(np.float64)
    smaller = min(counts.shape) - 1
    if smaller == 0:
        return 0.0
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    return float(np.sqrt(((counts - expected) ** 2 / expected).sum() / counts.sum() / smaller))


def count_copies(rows: Table, of: Table) -> int:
    """How many of ``rows`` are, in all columns and the target, equal to a row ``of`` another table."""
    known = set(_keys(of))
    return sum(key in known for key in _keys(rows))


@dataclass(frozen=True)
class Distances:
    """To the nearest training row, of generated and of held-out rows, and what follows from them."""

    metrics: Mapping[str, JsonValue]
    synthetic: Floats
    held_out: Floats


def measure_distances(data: ProfileData, synthetic: Table, seed: int) -> Distances:
    """Whether generated rows stand closer to training rows than to held-out rows, as rows learnt by heart would.

    The distance is the mean over columns and target of the difference: of numbers as a share of their range, of
    categories 0 or 1 (Gower 1971). Training and held-out rows are equally many; a tie counts half.
    """
    prepare = _gower(data.train)
    generator = np.random.default_rng(seed)
    count = min(len(data.train), len(data.test), MAX_DISTANCE_ROWS)
    train = prepare(data.train.take(generator.permutation(len(data.train))[:count]))
    test = prepare(data.test.take(generator.permutation(len(data.test))[:count]))
    rows = prepare(synthetic.take(np.arange(min(len(synthetic), MAX_DISTANCE_ROWS))))
    to_train, to_test = nearest(rows, train), nearest(rows, test)
    held_out = nearest(test, train)
    share = float((to_train < to_test).mean() + 0.5 * (to_train == to_test).mean())
    return Distances(
        metrics={
            "closer_to_training_share": share,
            "median_distance_to_training": float(np.median(to_train)),
            "median_distance_of_held_out_to_training": float(np.median(held_out)),
            "fifth_percentile_distance_to_training": float(np.quantile(to_train, 0.05)),
            "fifth_percentile_distance_of_held_out_to_training": float(np.quantile(held_out, 0.05)),
        },
        synthetic=to_train,
        held_out=held_out,
    )


def nearest(rows: Floats, among: Floats) -> Floats:
    """The city-block distance of each row to the nearest of ``among``."""
    search = NearestNeighbors(n_neighbors=1, algorithm="brute", metric="manhattan").fit(among)
    # What differs in nothing but the order of a sum is the same distance.
    distances: Floats = np.round(search.kneighbors(rows)[0][:, 0], 9)
    return distances


def measure_rules(
    data: ProfileData, encoding: Encoding, rules: Sequence[Rule], sampler: Sampler, seed: int
) -> dict[str, JsonValue]:
    """How many of many generated rows break a rule, and how many of the held-out rows do."""
    rows = generate(data.table, sampler, seed, RULE_ROWS)
    relations: dict[str, JsonValue] = {}
    for place, code in enumerate(encoding.numbers):
        if code.relation is not None:
            relations[code.column.name] = {
                "follows_from": describe_base(encoding, code),
                "real": round(explained(encoding, data.test, place), 6),
                "synthetic": round(explained(encoding, rows, place), 6),
            }
    return {
        "rules": len(rules),
        "rows_that_break_a_rule": int(breaks_rule(encoding, rules, rows).sum()),
        "rows_checked_for_rules": RULE_ROWS,
        "held_out_rows_that_break_a_rule": int(breaks_rule(encoding, rules, data.test).sum()),
        "rules_in_words": list(describe_rules(rules, encoding)),
        "relations": relations,
        "exact_copies_in_rows_checked": count_copies(rows, data.train),
    }


def breaks_rule(encoding: Encoding, rules: Sequence[Rule], table: Table) -> NDArray[np.bool_]:
    """Which rows of ``table`` break any of ``rules``, or stray further from a relation than training rows do.

    A value at its column's bound may stray: what a relation asks for can lie beyond.
    """
    tokens = encode_all(encoding, table)
    broken = np.zeros(len(table), dtype=np.bool_)
    for rule in rules:
        broken |= rule.broken(tokens)
    for place, code in enumerate(encoding.numbers):
        if code.relation is not None:
            differences, scale = encoding.differences(table, place)
            slack = (0.51 + max(SHIFTS)) * code.unit / scale  # of rounding, and of the steps that avoid copies
            values = exact_numbers(table)[:, place]
            bounded = (values == code.column.minimum) | (values == code.column.maximum)
            strays = (differences < code.knots.min() - slack) | (differences > code.knots.max() + slack)
            broken |= strays & ~bounded
    return broken


def explained(encoding: Encoding, table: Table, place: int) -> float:
    """The share of the variance of a numeric column that what it follows from explains."""
    differences, scale = encoding.differences(table, place)
    values = exact_numbers(table)[:, place]
    rows = ~np.isnan(values)
    return 1 - float(((differences * scale)[rows] ** 2).mean() / values[rows].var())


def _summarise_copies(data: ProfileData, samples: Sequence[Table]) -> dict[str, JsonValue]:
    return {
        "exact_copies": int(sum(count_copies(sample, data.train) for sample in samples)),
        "rows_checked_for_copies": sum(map(len, samples)),
        "exact_copies_share": float(np.mean([count_copies(s, data.train) / len(s) for s in samples])),
        "held_out_copies_share": count_copies(data.test, data.train) / len(data.test),
    }


def _quality(real: Table, synthetic: Table, *, all_pairs: bool = False) -> QualityReport:
    """The report of ``synthetic``. By itself it leaves out pairs of columns that hardly go together in real rows."""
    facts = real.preprocessing
    columns = {column.name: {"sdtype": _SDTYPES[column.type]} for column in (*facts.columns, facts.target)}
    report = QualityReport()
    if all_pairs:
        report.real_correlation_threshold = report.real_association_threshold = 0.0
    with warnings.catch_warnings():
        # Of columns that are constant in a small table, whose correlation is then left out of the mean.
        warnings.simplefilter("ignore")
        report.generate(
            {real.name: to_frame(real)},
            {real.name: to_frame(synthetic)},
            {"tables": {real.name: {"columns": columns}}},
            verbose=False,
        )
    return report


def _part(report: QualityReport, name: str) -> float:
    properties = report.get_properties()
    return float(properties.loc[properties["Property"] == name, "Score"].iloc[0])


def to_frame(table: Table) -> pd.DataFrame:
    """The table with its target, categories as words; a missing category is a word of its own."""
    facts = table.preprocessing
    columns = order_columns(facts, exact_numbers(table), table.texts)
    frame = pd.DataFrame({column.name: values for column, values in zip(facts.columns, columns, strict=True)})
    frame[facts.target.name] = np.array(facts.target.categories, dtype=object)[table.targets]
    return frame


def _design(train: Table, *, with_target: bool = False) -> Callable[[Table], Floats]:
    """Standardised numbers, whether each is missing where some are, and a column for each category."""
    facts = train.preprocessing
    numbers = exact_numbers(train)
    mean = np.nan_to_num(np.nanmean(numbers, axis=0)) if numbers.size else np.empty(0)
    deviation = np.nan_to_num(np.nanstd(numbers, axis=0)) if numbers.size else np.empty(0)
    deviation[deviation == 0] = 1
    words = [sorted(set(train.texts[:, place])) for place in range(train.texts.shape[1])]
    gaps = [place for place, column in enumerate(facts.numeric_columns) if column.has_missing]

    def prepare(table: Table) -> Floats:
        values = (exact_numbers(table) - mean) / deviation
        parts = [np.nan_to_num(values), np.isnan(values[:, gaps]).astype(np.float64)]
        parts += [_one_hot(table.texts[:, place], known) for place, known in enumerate(words)]
        parts += [table.targets[:, np.newaxis].astype(np.float64)] if with_target else []
        return np.concatenate(parts, axis=1)

    return prepare


def _gower(train: Table) -> Callable[[Table], Floats]:
    """Features (rows, …) whose city-block distance is Gower's."""
    numbers = exact_numbers(train)
    low = np.nan_to_num(np.nanmin(numbers, axis=0)) if numbers.size else np.empty(0)
    span = np.nan_to_num(np.nanmax(numbers, axis=0)) - low if numbers.size else np.empty(0)
    span[span == 0] = 1
    words = [sorted(set(train.texts[:, place])) for place in range(train.texts.shape[1])]
    columns = len(train.preprocessing.columns) + 1

    def prepare(table: Table) -> Floats:
        values = np.nan_to_num((exact_numbers(table) - low) / span, nan=-1.0)
        parts = [values, *(0.5 * _one_hot(table.texts[:, place], known) for place, known in enumerate(words))]
        parts.append(table.targets[:, np.newaxis].astype(np.float64))
        return np.concatenate(parts, axis=1) / columns

    return prepare


def _one_hot(texts: NDArray[np.object_], words: Sequence[str]) -> Floats:
    return np.array(texts[:, np.newaxis] == np.array(words, dtype=object), dtype=np.float64)


def _keys(table: Table) -> list[tuple[Any, ...]]:
    numbers = np.nan_to_num(exact_numbers(table), nan=np.inf)
    return [
        (*first, *second, third)
        for first, second, third in zip(numbers.tolist(), table.texts.tolist(), table.targets.tolist(), strict=True)
    ]


def _round(value: JsonValue) -> JsonValue:
    return round(value, DECIMALS) if isinstance(value, float) else value
