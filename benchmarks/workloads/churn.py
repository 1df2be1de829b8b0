"""Customers of the golden requests, as JSON: one or 64 a request."""

import base64
import json
import random
from pathlib import Path
from typing import Any

from benchmarks.contenders import UVICORN, Contender, floor, plain_bentoml, this_service
from benchmarks.servers.churn_model import ChurnModel, Customer
from benchmarks.workloads.workload import Workload
from models.manifest import load_golden

ROUTE = "/predict-churn"
REQUESTS = 256
SIZES = {1: (1, 8, 32), 64: (1,)}  # customers in a request: requests in a batch, for the limit

CONTENDERS = (
    this_service(ROUTE, "json"),
    plain_bentoml("benchmarks.servers.churn_bentoml:Churn", ROUTE, "json"),
    Contender("fastapi", "FastAPI", UVICORN, ("benchmarks.servers.churn_fastapi:app",), ROUTE, "json"),
    floor("json"),
)


def open_model(version_folder: Path) -> ChurnModel:
    """The model of churn."""
    return ChurnModel(version_folder)


def make_workloads(version_folder: Path, images: Path | None) -> list[Workload]:  # noqa: ARG001  # there are none
    """Customers drawn at random from the golden requests."""
    model = ChurnModel(version_folder)
    customers = _golden_customers(version_folder)
    draw = random.Random(0)
    workloads = []
    for size, batches in SIZES.items():
        requests = [draw.choices(customers, k=size) for _ in range(REQUESTS)]
        answers = [model.answer(request, model.infer(model.read(request))) for request in requests]
        workloads.append(
            Workload(
                name="1 customer" if size == 1 else f"{size} customers",
                bodies={"json": [json.dumps({"customers": request}).encode() for request in requests]},
                read=_read_decisions,
                expected=[_read_decisions(answer) for answer in answers],
                example=json.dumps({"predictions": answers[0]}).encode(),
                batches=batches,
            )
        )
    return workloads


def _golden_customers(version_folder: Path) -> list[Customer]:
    customers: list[Customer] = []
    for example in load_golden(version_folder).examples:
        customers += json.loads(base64.b64decode(example.request.body))["customers"]
    return customers


def _read_decisions(answer: Any) -> object:
    """BentoML's batches are lists, so that its answers are."""
    predictions = answer if isinstance(answer, list) else answer["predictions"]
    return [prediction["will_churn"] for prediction in predictions]
