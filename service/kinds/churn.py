"""Says how likely a customer is to leave, and why."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool

from models.columns import TablePreprocessing
from models.errors import ArtifactError, ManifestError
from models.manifest import Manifest, find_preprocessing
from service.bodies import Body, read_quickly
from service.config import Settings
from service.errors import UnprocessableError
from service.items import Item
from service.queries import Query as CommonQuery
from service.session import Evaluate, Row
from service.shapley import Shapley
from service.table_contract import list_row_tensors
from service.table_reader import TableReader
from service.table_schema import Schema, describe_request_row
from service.tensor_contract import check_tensors

ROUTE: Final = "/predict-churn"
OUTCOME: Final = ("churn_probability", "will_churn", "threshold", "risk")
BACKGROUND_FILE: Final = "background.json"
# Reading so many takes less than a millisecond.
_QUICK_CUSTOMERS: Final = 64

Customer = Mapping[str, Any]


class Query(CommonQuery):
    """Nothing beside what every request may carry."""


class Request(BaseModel):
    """The customers, each with the columns that the model was trained on, under their own names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    customers: tuple[dict[str, Any], ...] = Field(json_schema_extra={"minItems": 1})
    explain: StrictBool = Field(default=False, description="Whether to say what each column has to do with it.")


class Factor(BaseModel):
    """How much a column's value adds to the log-odds."""

    feature: str
    value: JsonValue = Field(description="As it was sent.")
    log_odds: float


class Prediction(BaseModel):
    """How likely a customer is to leave. The last two members are there where an explanation was asked for.

    The factors are Shapley values, the largest first. Together with the baseline, which is the mean of a sample of the
    training data, they add up to the log-odds of the probability.
    """

    customer_id: str | float | None = Field(description="The identifier, if it was sent.")
    churn_probability: float = Field(ge=0, le=1)
    will_churn: bool = Field(description="Whether the probability has reached the threshold.")
    threshold: float = Field(gt=0, lt=1)
    risk: str = Field(description="The band of risk that the probability is in.")
    baseline_log_odds: float | None = None
    factors: list[Factor] | None = None


class Response(BaseModel):
    """One prediction for each customer, in the order of the request."""

    model: str
    version: str
    predictions: list[Prediction]


MEDIA_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {"application/json": Request.model_json_schema()}


class Assets(NamedTuple):
    """What a version's requests are read and answered with."""

    reader: TableReader
    identifier: str | None
    columns: Sequence[str]  # in the order of the graph
    threshold: float
    risk_minimums: Sequence[float]  # ascending, from 0
    risks: Sequence[str]
    shapley: Shapley


def load(folder: Path, manifest: Manifest) -> Assets:
    """The columns, the decision and the background of explanations.

    Raises:
        ManifestError: the tensors are not a row in and probabilities and log-odds out, or there is no decision.
        ArtifactError: the background is not such rows.
    """
    table = find_preprocessing(manifest, TablePreprocessing)
    answers = [("probabilities", "float32", ("batch", 2)), ("log_odds", "float32", ("batch", 1))]
    check_tensors(manifest, list_row_tensors(table), answers, "the columns")
    if manifest.labels != table.target.categories:
        raise ManifestError(f"manifest.json: labels: {manifest.labels}, expected {table.target.categories}")
    decision = manifest.decision
    if decision is None:
        raise ManifestError("manifest.json: decision: missing, expected a threshold and bands of risk")
    numbers, texts = table.numeric_columns, table.text_columns
    return Assets(
        reader=TableReader(table),
        identifier=table.identifier,
        columns=[column.name for column in (*numbers, *texts)],
        threshold=decision.threshold,
        risk_minimums=[band.minimum for band in decision.bands],
        risks=[band.name for band in decision.bands],
        shapley=Shapley(_read_background(folder / BACKGROUND_FILE, len(numbers), len(texts))),
    )


def describe(manifest: Manifest) -> dict[str, dict[str, Schema]]:
    """The columns of a customer."""
    table = find_preprocessing(manifest, TablePreprocessing)
    return {"Request": {"customers": {"type": "array", "minItems": 1, "items": describe_request_row(table)}}}


def parse(body: Body, settings: Settings) -> Request:
    """The customers in a body, whose columns are not looked at yet."""
    request = read_quickly(Request, body.content)
    count = len(request.customers)
    if not 1 <= count <= settings.max_items:
        raise UnprocessableError([("customers", f"{count:,} customers, expected 1 to {settings.max_items:,}")])
    return request


def is_quick(request: Request) -> bool:
    """Whether there are not too many customers."""
    return len(request.customers) <= _QUICK_CUSTOMERS


def preprocess(request: Request, _: Query, assets: Assets, settings: Settings) -> Iterator[Item]:  # noqa: ARG001  # the limits were parse's
    """The numbers (numeric columns,) and texts (other columns,) of each customer.

    Raises:
        UnprocessableError: columns are missing or unknown, or have values that they cannot have.
    """
    rows = assets.reader.read(request.customers, "customers")
    return map(Item, rows, request.customers)


def postprocess(row: Row, customer: Customer, _: Query, assets: Assets) -> dict[str, Any]:
    """What a customer's probabilities, (2,), lead to."""
    probability = row[0].tolist()[1]
    return {
        "customer_id": None if assets.identifier is None else customer.get(assets.identifier),
        "churn_probability": probability,
        "will_churn": probability >= assets.threshold,
        "threshold": assets.threshold,
        "risk": assets.risks[bisect_right(assets.risk_minimums, probability) - 1],
    }


def wants_explanation(request: Request) -> bool:
    """Whether the request asks for one."""
    return request.explain


def explain(item: Item, assets: Assets, evaluate: Evaluate) -> dict[str, Any]:
    """The Shapley values of a customer's columns in log-odds, the largest first."""

    def score(inputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        _, log_odds = evaluate(inputs)
        return log_odds[:, 0].astype(np.float64)

    baseline, values = assets.shapley.explain(item.row, score)
    ranked = sorted(zip(assets.columns, values.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    factors = [{"feature": name, "value": item.facts[name], "log_odds": value} for name, value in ranked]
    return {"baseline_log_odds": baseline, "factors": factors}


def _read_background(path: Path, numbers: int, texts: int) -> list[NDArray[Any]]:
    """The rows of the background: (rows, numbers) and (rows, texts), either only where it has columns."""
    try:
        content = json.loads(path.read_bytes())
        arrays = [np.array(content["numbers"], np.float32)] if numbers else []
        arrays += [np.array(content["texts"], object)] if texts else []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error
    widths = [*([numbers] if numbers else []), *([texts] if texts else [])]
    shapes = [array.shape for array in arrays]
    if shapes[0][:1] in ((), (0,)) or shapes != [(shapes[0][0], width) for width in widths]:
        raise ArtifactError(f"{path}: {shapes}, expected as many rows of each, with {widths} columns")
    return arrays
