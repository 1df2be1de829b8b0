"""The model behind FastAPI as a good engineer writes it: an async handler, pydantic, the access log left on."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers.sentiment_model import SentimentModel
from benchmarks.servers.session import served_folder

app = FastAPI()
model = SentimentModel(served_folder())


class Request(BaseModel):
    """The texts."""

    texts: list[str]


@app.post("/analyze-sentiment")
async def analyze_sentiment(request: Request) -> dict[str, Any]:
    """Texts -> what is thought in each."""
    return {"predictions": model.analyze(request.texts)}
