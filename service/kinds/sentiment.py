"""Says what is thought in a text, and which of its words say so."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from models.errors import ManifestError
from models.manifest import Manifest, find_preprocessing
from models.text import Reading, TextPreprocessing, TextReader, load_tokenizer
from service.bodies import Body, read_quickly
from service.config import Settings
from service.errors import Problem, UnprocessableError
from service.items import Item
from service.owen import attribute
from service.problems import MAX_PROBLEMS
from service.queries import Query as CommonQuery
from service.session import Evaluate, Row
from service.tensor_contract import Tensor, check_tensors

ROUTE: Final = "/analyze-sentiment"
OUTCOME: Final = ("label", "probability", "truncated")
# What a millisecond reads: 0.25 us a character of IMDB's reviews, 0.8 us of marks in turns, the slowest text known
# (measured on one core, AMD EPYC, with a vocabulary of 16,000).
_QUICK_CHARACTERS: Final = 4_000
# The texts that are asked about for an explanation, with some of their tokens hidden: twice as many as a review of 200
# words has tokens, which is where the values begin to be near the exact ones. That is 2 s of a core (AMD EPYC, which
# others used too) for such a review and a BiLSTM of 256 units, 0.02 s for 10 words and 5 s for 512 tokens.
_EXPLANATION_EVALUATIONS: Final = 512
# Of a longer text it is asked about fewer, so that it reads no more tokens in all than for one of 512.
_EXPLANATION_TOKENS: Final = 512 * 512
# In JSON a character beyond the first 65,536 is two escapes, and any one of them can stand alone.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


class Query(CommonQuery):
    """Nothing beside what every request may carry."""


class Request(BaseModel):
    """The texts, in any language and of any characters. An empty one has an answer too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: tuple[str, ...] = Field(json_schema_extra={"minItems": 1})
    explain: StrictBool = Field(default=False, description="Whether to say what each token has to do with it.")


class Token(BaseModel):
    """A piece of the text, and how much it adds to the log-odds of the label."""

    text: str
    start: int = Field(ge=0, description="Its first character's place in the text, which counts from 0.")
    end: int = Field(ge=0, description="The place behind its last character.")
    log_odds: float


class Prediction(BaseModel):
    """The most probable label.

    With an explanation there is a baseline, which is what the model says where every token is hidden, and ``tokens``
    lists those that it has read, in their order. Their Owen values and the baseline add up to the log-odds of the
    label's probability. A text that is too long is read at both ends: what is between them is not in the list.
    """

    label: str
    probability: float = Field(ge=0, le=1)
    probabilities: dict[str, float] = Field(description="Of every label.")
    tokens: int | list[Token] = Field(description="How many the whole text has; which they are, with an explanation.")
    truncated: bool = Field(description="Whether the text is longer than what the model reads of it.")
    baseline_log_odds: float | None = Field(default=None, description="There with an explanation.")


class Response(BaseModel):
    """One prediction for each text, in the order of the request."""

    model: str
    version: str
    predictions: list[Prediction]


MEDIA_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {"application/json": Request.model_json_schema()}


class Assets(NamedTuple):
    """What a version's requests are read and answered with."""

    reader: TextReader
    labels: tuple[str, ...]
    unknown_id: int


class ReadText(NamedTuple):
    """A text and what was read of it."""

    text: str
    reading: Reading


def load(folder: Path, manifest: Manifest) -> Assets:
    """The tokenizer and the labels.

    Raises:
        ManifestError: the tensors are not token ids in and probabilities and logits out, of two labels at least.
        ArtifactError: the tokenizer cannot be read.
    """
    preprocessing, labels = find_preprocessing(manifest, TextPreprocessing), manifest.labels
    if len(labels) < 2:
        raise ManifestError(f"manifest.json: labels: {labels}, expected two or more")
    answers: list[Tensor] = [(name, "float32", ("batch", len(labels))) for name in ("probabilities", "logits")]
    check_tensors(manifest, [("token_ids", "int32", ("batch", "sequence"))], answers, "the labels")
    return Assets(TextReader(load_tokenizer(folder), preprocessing), labels, preprocessing.unknown_id)


def parse(body: Body, settings: Settings) -> Request:
    """The texts in a body. Halves of characters are replaced in them, since UTF-8 cannot carry them.

    Raises:
        BadBodyError: it is not JSON.
        UnprocessableError: it is not a request, or has too many texts or too long ones; it names them.
    """
    request = read_quickly(Request, body.content, _load_json)
    count, longest = len(request.texts), settings.max_text_characters
    if not 1 <= count <= settings.max_items:
        raise UnprocessableError([("texts", f"{count:,} texts, expected 1 to {settings.max_items:,}")])
    problems: list[Problem] = [
        (f"texts[{index}]", f"{len(text):,} characters, expected at most {longest:,}")
        for index, text in enumerate(request.texts)
        if len(text) > longest
    ]
    if problems:
        raise UnprocessableError(problems[:MAX_PROBLEMS])
    return request


def is_quick(request: Request) -> bool:
    """Whether the texts are not too long, all together."""
    return sum(map(len, request.texts)) <= _QUICK_CHARACTERS


def preprocess(request: Request, _: Query, assets: Assets, settings: Settings) -> Iterator[Item]:  # noqa: ARG001  # the limits were parse's
    """The token ids of each text, (sequence,) int32."""
    reader = assets.reader
    quick = is_quick(request)
    for text in request.texts:
        # In another thread it is to let go of the interpreter, which only the reading of several texts does. One takes
        # as long in either way.
        reading = reader.read(text) if quick else reader.read_all([text])[0]
        yield Item((reading.ids,), ReadText(text, reading))


def postprocess(row: Row, text: ReadText, _: Query, assets: Assets) -> dict[str, Any]:
    """The most probable label by a text's probabilities, (classes,) float32."""
    probabilities = row[0].tolist()
    best = probabilities.index(max(probabilities))
    return {
        "label": assets.labels[best],
        "probability": probabilities[best],
        "probabilities": dict(zip(assets.labels, probabilities, strict=True)),
        "tokens": text.reading.tokens,
        "truncated": text.reading.truncated,
    }


def wants_explanation(request: Request) -> bool:
    """Whether the request asks for one."""
    return request.explain


def explain(item: Item, assets: Assets, evaluate: Evaluate) -> dict[str, Any]:
    """The Owen values of the tokens of a text, in log-odds of its label. A hidden token is one that nobody knows."""
    text, reading = item.facts
    ids, offsets = reading.ids, reading.offsets[1:-1]  # without the tokens before and behind the text
    probabilities, _ = evaluate([ids[np.newaxis]])
    label = int(np.argmax(probabilities[0]))

    def score(shown: NDArray[np.bool_]) -> NDArray[np.float64]:
        rows = np.repeat(ids[np.newaxis], len(shown), axis=0)  # (rows, sequence)
        rows[:, 1:-1][~shown] = assets.unknown_id
        _, logits = evaluate([rows])
        return _compute_log_odds(logits, label)

    evaluations = min(_EXPLANATION_EVALUATIONS, _EXPLANATION_TOKENS // len(ids))
    baseline, values = attribute(len(offsets), score, evaluations)
    tokens = [
        {"text": text[start:end], "start": start, "end": end, "log_odds": value}
        for (start, end), value in zip(offsets, values.tolist(), strict=True)
    ]
    return {"baseline_log_odds": baseline, "tokens": tokens}


def _compute_log_odds(logits: NDArray[Any], label: int) -> NDArray[np.float64]:
    """The log-odds of a label against all others, (rows,), from logits, (rows, classes)."""
    own = logits[:, label].astype(np.float64)
    others = np.delete(logits, label, axis=1).astype(np.float64)
    highest = others.max(axis=1)
    log_odds: NDArray[np.float64] = own - highest - np.log(np.exp(others - highest[:, np.newaxis]).sum(axis=1))
    return log_odds


def _load_json(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # It takes no half of a character, which browsers and Python send where a text was cut in the middle of one.
        return orjson.loads(_ESCAPE.sub(_replace_half, content))


def _replace_half(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]
