"""The model as BentoML's documentation shows a service with adaptive batching: a method of lists."""

from typing import Any

import bentoml

from benchmarks.servers.sentiment_model import SentimentModel
from benchmarks.servers.session import served_folder


@bentoml.service
class Sentiment:
    """The stock service, with nothing changed from the defaults but what batching needs."""

    def __init__(self) -> None:
        self.model = SentimentModel(served_folder())

    @bentoml.api(batchable=True, route="/analyze-sentiment")  # type: ignore[untyped-decorator]
    def analyze_sentiment(self, texts: list[str]) -> list[dict[str, Any]]:
        """Texts -> what is thought in each."""
        return self.model.analyze(texts)
