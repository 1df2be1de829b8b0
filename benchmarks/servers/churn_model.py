"""The model of churn as every peer uses it: customers as JSON objects in, decisions out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.servers.session import open_session
from models.columns import TablePreprocessing
from models.manifest import load_manifest

Customer = dict[str, Any]
Inputs = dict[str, NDArray[Any]]


class ChurnModel:
    """A model of which customers leave."""

    def __init__(self, folder: Path) -> None:
        """Load the version in ``folder``."""
        manifest = load_manifest(folder)
        table = manifest.preprocessing
        assert isinstance(table, TablePreprocessing)
        assert manifest.decision is not None
        self.session = open_session(folder)
        self.numbers = [column.name for column in table.numeric_columns]
        self.texts = [column.name for column in table.text_columns]
        self.identifier = table.identifier or ""
        self.threshold = manifest.decision.threshold
        self.bands = manifest.decision.bands

    def read(self, customers: Sequence[Customer]) -> Inputs:
        """Customers -> the graph's inputs, (customers, ...) each. What is no number is NaN."""
        numbers = [[_read_number(customer[name]) for name in self.numbers] for customer in customers]
        texts = [[str(customer[name]) for name in self.texts] for customer in customers]
        return {"numbers": np.array(numbers, np.float32), "texts": np.array(texts, object)}

    def infer(self, inputs: Inputs) -> NDArray[np.float32]:
        """The graph's inputs -> (customers, 2)."""
        probabilities: NDArray[np.float32] = self.session.run(["probabilities"], inputs)[0]
        return probabilities

    def answer(self, customers: Sequence[Customer], probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Customers and their probabilities, (customers, 2) -> the predictions."""
        return [
            {
                "customer_id": customer.get(self.identifier),
                "churn_probability": probability,
                "will_churn": probability >= self.threshold,
                "threshold": self.threshold,
                "risk": [band.name for band in self.bands if probability >= band.minimum][-1],
            }
            for customer, probability in zip(customers, probabilities[:, 1].tolist(), strict=True)
        ]

    def decode(self, body: bytes) -> tuple[list[Customer], Inputs]:
        """A request -> its customers, and the graph's inputs."""
        customers: list[Customer] = orjson.loads(body)["customers"]
        return customers, self.read(customers)

    def stack(self, contents: Sequence[tuple[list[Customer], Inputs]]) -> Inputs:
        """The inputs of several requests as one."""
        return {name: np.concatenate([inputs[name] for _, inputs in contents]) for name in ("numbers", "texts")}

    def encode(self, content: tuple[list[Customer], Inputs], probabilities: NDArray[np.float32]) -> bytes:
        """A request's customers and their probabilities -> the answer."""
        return orjson.dumps({"predictions": self.answer(content[0], probabilities)})


def _read_number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is none is caught
    except (TypeError, ValueError):
        return float("nan")
