"""Texts become token ids and results become predictions, with what each token has to do with them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.errors import ArtifactError, ManifestError
from models.repository import Repository
from models.text import TextPreprocessing
from service.bodies import Body
from service.config import Settings
from service.errors import BadBodyError, UnprocessableError
from service.items import Item
from service.kinds import churn, sentiment
from service.kinds.sentiment import Assets, Query, Request
from tests.table_versions import TABLE
from tests.text_versions import (
    KIND,
    PREPROCESSING,
    add_sentiment,
    expected_prediction,
    make_graph,
    make_text,
    read_text,
)

LABELS = ("bad", "so so", "good")


def read(content: bytes, **settings: Any) -> Request:
    return sentiment.parse(Body("application/json", b"application/json", content), Settings(**settings))


def load(root: Path, **changes: Any) -> Assets:
    manifest = add_sentiment(root, **changes)
    return sentiment.load(Repository(root).folder(KIND, manifest.version), manifest)


def preprocess(assets: Assets, *texts: str) -> list[Item]:
    return list(sentiment.preprocess(Request(texts=texts), Query(), assets, Settings()))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'{"texts": ["a", ""]}', ("a", "")),
        (b'{"texts": ["\\ud83d\\ude00 \\u00fc"]}', ("😀 ü",)),
        (b'{"texts": ["a\\ud83d", "\\ude00b", "\\uD83D\\ud83d\\ude00"]}', ("a�", "�b", "�😀")),
        (b'{"texts": ["\\\\ud83d \\ud83d"]}', ("\\ud83d �",)),
        (b'{"texts": ["\\ude00\\ud83d"], "explain": true}', ("��",)),
    ],
)
def test_halves_of_characters_are_replaced_and_nothing_else(content: bytes, texts: tuple[str, ...]) -> None:
    assert read(content).texts == texts
    # Python's own reader finds as many characters, so that places in the text are the client's.
    assert [len(text) for text in json.loads(content)["texts"]] == [len(text) for text in texts]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"texts": [NaN]}', b'{"texts": ["\\ud8"]}', b'{"texts": ["\xed\xa0\x80"]}', b'"\\ud800']
)
def test_what_is_not_json_is_refused(content: bytes) -> None:
    with pytest.raises(BadBodyError, match="the body is not JSON"):
        read(content)


def test_texts_that_are_too_many_or_too_long_are_named() -> None:
    with pytest.raises(UnprocessableError, match=r"^texts: 65 texts, expected 1 to 64$"):
        read(json.dumps({"texts": [""] * 65}).encode())
    with pytest.raises(UnprocessableError, match=r"^texts\[1\]: 20,001 characters, expected at most 20,000$"):
        read(json.dumps({"texts": ["ü" * 20_000, "ü" * 20_001]}).encode())
    with pytest.raises(UnprocessableError) as refusal:
        read(json.dumps({"texts": ["abc"] * 64}).encode(), max_text_characters=2)
    assert len(refusal.value.problems) == 20


def test_a_few_thousand_characters_are_quick() -> None:
    assert sentiment.is_quick(Request(texts=("a" * 2000, "b" * 2000)))
    assert not sentiment.is_quick(Request(texts=("a" * 2000, "b" * 2001)))


def test_the_same_is_read_on_the_event_loop_and_beside_it(tmp_path: Path) -> None:
    assets = load(tmp_path)
    texts = [make_text(number) for number in range(40)]
    together = preprocess(assets, *texts)
    for text, item in zip(texts, together, strict=True):
        (alone,) = preprocess(assets, text)
        ids, offsets, tokens, truncated = read_text(text)
        assert item.row[0].tolist() == alone.row[0].tolist() == ids.tolist()
        assert item.row[0].dtype == np.int32
        assert item.facts == (text, item.facts.reading)
        assert list(item.facts.reading.offsets) == offsets
        assert item.facts.reading[2:] == alone.facts.reading[2:] == (tokens, truncated)


def test_a_prediction_has_every_label_and_the_likeliest(tmp_path: Path) -> None:
    assets = load(tmp_path, labels=LABELS)
    (item,) = preprocess(assets, "the film")
    row = (np.array([0.25, 0.25, 0.5], np.float32), np.zeros(3, np.float32))
    assert sentiment.postprocess(row, item.facts, Query(), assets) == {
        "label": "good",
        "probability": 0.5,
        "probabilities": {"bad": 0.25, "so so": 0.25, "good": 0.5},
        "tokens": 2,
        "truncated": False,
    }


class Graph:
    """The graph, which counts the texts that it is asked about."""

    def __init__(self, classes: int) -> None:
        content = make_graph(classes).SerializeToString()
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.rows: list[NDArray[np.int32]] = []

    def __call__(self, inputs: Any) -> Any:
        self.rows += list(inputs[0])
        return self._session.run(["probabilities", "logits"], {"token_ids": inputs[0]})


@pytest.mark.parametrize("labels", [("negative", "positive"), LABELS])
@pytest.mark.parametrize(
    "text", ["", "good", "The film was not bad, and I liked it!", "<br />Über😀", make_text(3, 150)]
)
def test_an_explanation_adds_up_to_the_log_odds_of_the_label(
    tmp_path: Path, labels: tuple[str, ...], text: str
) -> None:
    assets = load(tmp_path, labels=labels)
    (item,) = preprocess(assets, text)
    graph = Graph(len(labels))
    explanation = sentiment.explain(item, assets, graph)
    probability = expected_prediction(text, labels)["probability"]
    total = explanation["baseline_log_odds"] + sum(token["log_odds"] for token in explanation["tokens"])
    assert total == pytest.approx(math.log(probability / (1 - probability)), abs=1e-4)
    ids, offsets, _, _ = read_text(text)
    assert [(token["start"], token["end"]) for token in explanation["tokens"]] == offsets[1:-1]
    assert all(token["text"] == text[token["start"] : token["end"]] for token in explanation["tokens"])
    # Whatever is hidden, every text asked about is this one, with its ends and some of its tokens.
    for row in graph.rows:
        assert [row[0], row[-1]] == [2, 3]
        assert ((row == ids) | (row == 1)).all()
    assert len(graph.rows) <= 513


def test_an_explanation_of_a_long_text_reads_no_more_tokens_than_one_of_a_shorter_text(tmp_path: Path) -> None:
    assets = load(tmp_path, preprocessing=PREPROCESSING.model_copy(update={"max_tokens": 1_000}))
    (item,) = preprocess(assets, make_text(3, 2_000))
    assert item.facts.reading.truncated
    graph = Graph(2)
    explanation = sentiment.explain(item, assets, graph)
    assert len(explanation["tokens"]) == 998
    # One more than for the explanation: it is first asked what the label is.
    assert 200 < len(graph.rows) <= 1 + 512 * 512 // 1_000


def test_tokens_stand_where_the_client_has_them(tmp_path: Path) -> None:
    assets = load(tmp_path)
    text = "Good<br />😀 THE e\u0301nd"
    (item,) = preprocess(assets, text)
    tokens = sentiment.explain(item, assets, Graph(2))["tokens"]
    assert [token["text"] for token in tokens][:3] == ["Good", "😀", "THE"]
    assert [(token["start"], token["end"]) for token in tokens][:3] == [(0, 4), (10, 11), (12, 15)]


def test_of_a_text_that_is_too_long_both_ends_are_explained(tmp_path: Path) -> None:
    assets = load(tmp_path)
    text = "good " * 60 + "boring " * 60
    (item,) = preprocess(assets, text)
    tokens = sentiment.explain(item, assets, Graph(2))["tokens"]
    assert len(tokens) == 98
    assert tokens[0]["start"] == 0
    assert tokens[-1]["end"] == len(text) - 1


@pytest.mark.parametrize(
    "change",
    [
        {"preprocessing": TABLE},
        {"labels": ("one",)},
        {"labels": ("one", "two", "three")},
        {"inputs": ()},
        {"outputs": ()},
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    manifest = add_sentiment(tmp_path).model_copy(update=change)
    with pytest.raises(ManifestError, match=r"manifest\.json: (inputs|outputs|labels|preprocessing): "):
        sentiment.load(Repository(tmp_path).folder(KIND, 1), manifest)


def test_a_version_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    manifest = add_sentiment(tmp_path)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: cannot be read"):
        sentiment.load(tmp_path, manifest)


def test_texts_are_not_taken_for_a_table(tmp_path: Path) -> None:
    manifest = add_sentiment(tmp_path)
    assert isinstance(manifest.preprocessing, TextPreprocessing)
    with pytest.raises(ManifestError, match="its type is 'text', expected 'table'"):
        churn.load(tmp_path, manifest)
