"""Raw requests with the predictions that training computes for them, as the service must answer them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import JsonValue

from models.manifest import Decision, Golden, GoldenExample, GoldenRequest
from training.churn.graph import feeds_of, run_graph
from training.table import Table

TOLERANCE = 1e-3
# No decision may hang on the last bits, in which providers differ.
MARGIN = 2 * TOLERANCE
PER_BAND = 2


def golden_examples(path: Path, table: Table, decision: Decision) -> Golden:
    """Make the golden examples of a churn model from its exported graph.

    There is a request with one customer, one with some of each risk and one with values that are missing: the first
    rows of the table that are not close to the threshold or the edge of a band.

    Args:
        path: the exported graph.
        table: where the customers are taken from.
        decision: as it stands in the manifest.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    probabilities = run_graph(session, feeds_of(table.numbers, table.texts), len(table))[0][:, 1].astype(float)
    edges = np.array([decision.threshold, *(band.minimum for band in decision.bands)])
    clear = np.flatnonzero((np.abs(probabilities[:, None] - edges) > MARGIN).all(axis=1))
    bands = np.array([_band(decision, probability) for probability in probabilities[clear]])
    several = [int(row) for name in dict.fromkeys(bands) for row in clear[bands == name][:PER_BAND]]
    incomplete = [int(row) for row in clear if _misses_something(table, int(row))][:PER_BAND]
    requests = [rows for rows in (several[:1], several, incomplete) if rows]

    def example(rows: Sequence[int], *, named: bool) -> GoldenExample:
        identifier = table.preprocessing.identifier if named else None
        customers: list[dict[str, JsonValue]] = [
            {identifier: table.identifiers[row], **table.record(row)} if identifier else table.record(row)
            for row in rows
        ]
        names = [table.identifiers[row] if identifier else None for row in rows]
        return GoldenExample(
            request=GoldenRequest.from_json({"customers": customers}),
            predictions=tuple(
                _prediction(name, probabilities[row], decision) for name, row in zip(names, rows, strict=True)
            ),
        )

    # The first request names nobody: an identifier may be sent, and need not be.
    return Golden(
        tolerance=TOLERANCE, examples=tuple(example(rows, named=number > 0) for number, rows in enumerate(requests))
    )


def make_background(table: Table, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The rows that an explanation compares a customer with, as the graph reads them; null is NaN."""
    numbers = [[None if np.isnan(value) else value for value in row] for row in table.numbers[rows].tolist()]
    return {"numbers": numbers, "texts": table.texts[rows].tolist()}


def _prediction(name: str | None, probability: float, decision: Decision) -> JsonValue:
    return {
        "customer_id": name,
        "churn_probability": float(probability),
        "will_churn": bool(probability >= decision.threshold),
        "threshold": decision.threshold,
        "risk": _band(decision, probability),
    }


def _band(decision: Decision, probability: float) -> str:
    return [band.name for band in decision.bands if probability >= band.minimum][-1]


def _misses_something(table: Table, row: int) -> bool:
    return bool(np.isnan(table.numbers[row]).any() or (table.texts[row] == "").any())
