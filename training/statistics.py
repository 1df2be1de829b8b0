"""What a version has seen: the statistics in its manifest, with which the service compares what it is asked.

python -m training.statistics models/churn/1    measures those of a version anew, from the data that it was trained on
"""

import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns import MISSING
from models.distributions import (
    CategoricalDistribution,
    Finder,
    NumericDistribution,
    Statistics,
    Value,
    make_number_finder,
    make_text_finder,
)
from models.errors import ModelError
from models.features import (
    Feature,
    Row,
    list_input_features,
    list_prediction_features,
    make_input_reader,
    make_prediction_reader,
)
from models.manifest import MANIFEST_FILE, Manifest, load_manifest, save_manifest, verify_files
from training.errors import DataError, SettingError, TrainingError

# The kinds that read rows and say what is probable.
KINDS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/statistics.py"))
# Ten bins of as many rows each, as Siddiqi 2006 ("Credit Risk Scorecards", chapter 8) has them.
QUANTILES = np.arange(1, 10) / 10
DECIMALS = 6  # of shares
# Fixed, so that what differs in the last bits is in the same bin; closer where most confidences are.
PROBABILITY_EDGES = (*(tenth / 10 for tenth in range(1, 10)), 0.95, 0.99)
# Further ones count as other: by chance alone the index grows with the bins (Yurdakul 2018).
MAX_CATEGORIES = 20


def measure_statistics(manifest: Manifest, rows: Iterable[Row], probabilities: NDArray[np.float32]) -> Statistics:
    """How the features of rows and of predictions are spread.

    Args:
        manifest: whose graph reads and answers them.
        rows: of the training split, as the graph reads them.
        probabilities: (rows, labels) of a split that was not learnt from, as far as there is one.
    """
    read = make_input_reader(manifest.preprocessing)
    threshold = None if manifest.decision is None else manifest.decision.threshold
    predict = make_prediction_reader(manifest.labels, threshold)
    inputs = [read(row) for row in rows]
    predictions = [predict(row) for row in probabilities]
    input_features = list_input_features(manifest.preprocessing)
    label, probability = list_prediction_features(has_decision=threshold is not None)
    labels, numbers = zip(*predictions, strict=True)
    return Statistics(
        input_rows=len(inputs),
        inputs=tuple(map(describe_values, input_features, zip(*inputs, strict=True))),
        prediction_rows=len(predictions),
        predictions=(
            describe_texts(label.name, labels),
            describe_numbers(probability.name, numbers, PROBABILITY_EDGES),
        ),
    )


def describe_values(feature: Feature, values: Sequence[Value]) -> NumericDistribution | CategoricalDistribution:
    """How the values of a feature are spread; numbers in bins of as many rows each, as far as they differ."""
    if not feature.is_numeric:
        return describe_texts(feature.name, values)
    numbers = np.array(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    # Values that occur, so that those of a discrete feature are not split by rounding.
    edges = np.unique(np.quantile(numbers, QUANTILES, method="inverted_cdf")) if len(numbers) else np.empty(0)
    return describe_numbers(feature.name, values, edges.tolist())


def describe_numbers(name: str, values: Sequence[Value], edges: Sequence[float]) -> NumericDistribution:
    """The shares of numbers between edges."""
    *shares, missing = _count_shares(make_number_finder(edges), len(edges) + 2, values)
    return NumericDistribution(name=name, edges=tuple(edges), shares=tuple(shares), missing=missing)


def describe_texts(name: str, values: Sequence[Value]) -> CategoricalDistribution:
    """The shares of the most frequent texts, the most frequent first."""
    counts = Counter(str(value) for value in values if value != MISSING)
    categories = tuple(sorted(counts, key=lambda text: (-counts[text], text))[:MAX_CATEGORIES])
    *shares, other, missing = _count_shares(make_text_finder(categories), len(categories) + 2, values)
    return CategoricalDistribution(name=name, categories=categories, shares=tuple(shares), other=other, missing=missing)


def remeasure(folder: Path, data: str | None, cache: Path) -> Manifest:
    """Measure the statistics of a version anew, and write its manifest with them.

    Args:
        folder: of the version.
        data: where the data that it was trained on is, if not where its settings say.
        cache: where downloads are kept.

    Raises:
        DataError: the data is not what the version was trained on.
        ModelError: the version is not as its manifest says.
        SettingError: it is of a kind that has no statistics, or was trained with settings that there are no more.
    """
    manifest = load_manifest(folder)
    verify_files(folder, manifest)
    if manifest.kind not in KINDS:
        raise SettingError(f"{folder}: a {manifest.kind} has no statistics, expected one of {', '.join(KINDS)}")
    package = f"training.{manifest.kind}"
    config = _build_config(import_module(f"{package}.train").Config, manifest, data)
    split = import_module(f"{package}.data").load_data(config, cache)
    if split.sha256 != manifest.provenance.data.sha256:
        raise DataError(
            f"data: sha256 of '{config.data}' is {split.sha256}, expected {manifest.provenance.data.sha256}, as "
            f"{folder} was trained with"
        )
    statistics = import_module(f"{package}.statistics").measure(folder, manifest, split)
    manifest = manifest.model_copy(update={"statistics": statistics})
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=folder.parent) as staging:
        save_manifest(Path(staging), manifest)
        (Path(staging) / MANIFEST_FILE).replace(folder / MANIFEST_FILE)
    return load_manifest(folder)


def _build_config(kind: type[Any], manifest: Manifest, data: str | None) -> Any:
    settings = dict(manifest.provenance.settings)
    known = {item.name for item in fields(kind)}
    for name in settings:
        if name not in known:
            raise SettingError(f"{name}: {manifest.kind} has no such setting any more, expected one of {sorted(known)}")
    return kind(**(settings if data is None else {**settings, "data": data}))


def _count_shares(find: Finder, bins: int, values: Sequence[Value]) -> list[float]:
    """The share of ``values`` in each bin."""
    counts = Counter(map(find, values))
    return [round(counts[place] / len(values), DECIMALS) for place in range(bins)]


def main(arguments: list[str]) -> int:
    """Run the command line; the exit status."""
    parser = ArgumentParser(prog="python -m training.statistics", description="Measure a version's statistics anew.")
    parser.add_argument("folder", type=Path, help="the version's folder, such as models/churn/1")
    parser.add_argument("--data", help="the data that it was trained on, if it is elsewhere than its settings say")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where downloaded data is kept")
    given = parser.parse_args(arguments)
    try:
        manifest = remeasure(given.folder.resolve(), given.data, given.cache)
    except (TrainingError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    statistics = manifest.statistics
    assert statistics is not None  # noqa: S101  # just measured
    print(f"{given.folder}: {statistics.input_rows:,} rows, {statistics.prediction_rows:,} predictions")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
