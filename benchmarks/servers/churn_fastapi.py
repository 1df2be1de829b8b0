"""The model behind FastAPI as a good engineer writes it: an async handler, pydantic, the access log left on."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers.churn_model import ChurnModel, Customer
from benchmarks.servers.session import served_folder

app = FastAPI()
model = ChurnModel(served_folder())


class Request(BaseModel):
    """The customers."""

    customers: list[Customer]


@app.post("/predict-churn")
async def predict_churn(request: Request) -> dict[str, Any]:
    """Customers -> whether they leave."""
    probabilities = model.infer(model.read(request.customers))
    return {"predictions": model.answer(request.customers, probabilities)}
