"""The model as BentoML's documentation shows a service with adaptive batching: a method of lists."""

from typing import Any

import bentoml

from benchmarks.servers.churn_model import ChurnModel
from benchmarks.servers.session import served_folder


@bentoml.service
class Churn:
    """The stock service, with nothing changed from the defaults but what batching needs."""

    def __init__(self) -> None:
        self.model = ChurnModel(served_folder())

    @bentoml.api(batchable=True, route="/predict-churn")  # type: ignore[untyped-decorator]
    def predict_churn(self, customers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Customers -> whether they leave."""
        return self.model.answer(customers, self.model.infer(self.model.read(customers)))
