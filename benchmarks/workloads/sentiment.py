"""Made-up reviews, as JSON: one a request, short, typical, long, or mostly short."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.contenders import UVICORN, Contender, floor, plain_bentoml, this_service
from benchmarks.servers.sentiment_model import SentimentModel
from benchmarks.texts import make_text
from benchmarks.workloads.workload import Workload

ROUTE = "/analyze-sentiment"
REQUESTS = 240
SPREAD: Final = 0.2  # of a size, to either side

CONTENDERS = (
    this_service(ROUTE, "json"),
    plain_bentoml("benchmarks.servers.sentiment_bentoml:Sentiment", ROUTE, "json"),
    Contender("fastapi", "FastAPI", UVICORN, ("benchmarks.servers.sentiment_fastapi:app",), ROUTE, "json"),
    floor("json"),
)


class Mixture(NamedTuple):
    """The words of a text: how many texts of each size stand beside how many of another."""

    shares: Mapping[int, int]
    batches: tuple[int, ...]  # requests in a batch, for the limit


# 230 words are the mean of IMDB's reviews. The mixture shows what a long text costs the short ones that come with it.
MIXTURES: Final[Mapping[str, Mixture]] = {
    "1 text of 10 words": Mixture({10: 1}, (1, 8, 32)),
    "1 text of 230 words": Mixture({230: 1}, (1, 8, 32)),
    "1 text of 1,000 words": Mixture({1000: 1}, (1, 8)),
    "1 text, 19 of 10 words to 1 of 1,000": Mixture({10: 19, 1000: 1}, (1, 8)),
}


def open_model(version_folder: Path) -> SentimentModel:
    """The model of sentiment."""
    return SentimentModel(version_folder)


def make_workloads(version_folder: Path, images: Path | None) -> list[Workload]:  # noqa: ARG001  # there are none
    """Texts that are drawn anew for each size, the same in every run."""
    model = SentimentModel(version_folder)
    workloads = []
    for name, mixture in MIXTURES.items():
        texts = _draw_texts(mixture.shares)
        answers = [model.analyze([text]) for text in texts]
        workloads.append(
            Workload(
                name=name,
                bodies={"json": [json.dumps({"texts": [text]}).encode() for text in texts]},
                read=_read_labels,
                expected=[_read_labels(answer) for answer in answers],
                example=json.dumps({"predictions": answers[0]}).encode(),
                batches=mixture.batches,
            )
        )
    return workloads


def _draw_texts(shares: Mapping[int, int]) -> list[str]:
    """Texts of about the sizes of ``shares``, in exactly these shares, and in no order."""
    draw = random.Random(0)
    sizes = [size for size, share in shares.items() for _ in range(REQUESTS * share // sum(shares.values()))]
    draw.shuffle(sizes)
    return [make_text(round(size * draw.uniform(1 - SPREAD, 1 + SPREAD)), draw) for size in sizes]


def _read_labels(answer: Any) -> object:
    """BentoML's batches are lists, so that its answers are."""
    predictions = answer if isinstance(answer, list) else answer["predictions"]
    return [(prediction["label"], prediction["tokens"], prediction["truncated"]) for prediction in predictions]
