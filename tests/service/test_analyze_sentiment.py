"""The whole way of texts: any text has its answer, whatever else is asked, and what is refused is named."""

import asyncio
import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Serve
from tests.service.clients import send_at_once
from tests.service.test_app import serve_behind
from tests.text_versions import TEXTS, Prediction, add_sentiment, expected_prediction, make_text, read_text, run_alone

CONNECTIONS = 16
LONGEST = "the film was " * 1500  # 19,500 characters


@pytest.fixture(scope="module")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    add_sentiment(root)
    return root


@pytest.fixture(scope="module")
def text_server(serve: Serve, text_models: Path) -> Iterator[str]:
    with serve(environment={"MODELYARD_MODELS": str(text_models), "MODELYARD_LOG_LEVEL": "WARNING"}) as url:
        yield url


@pytest.fixture(scope="module")
def text_client(text_server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=text_server, timeout=60) as client:
        yield client


def ask(client: httpx.Client, *texts: object, **members: object) -> httpx.Response:
    return client.post("/analyze-sentiment", json={"texts": texts, **members})


def near(prediction: Prediction) -> Prediction:
    """``prediction``, with numbers that may differ by a millionth."""
    probabilities = {label: pytest.approx(value, abs=1e-6) for label, value in prediction["probabilities"].items()}
    return prediction | {
        "probability": pytest.approx(prediction["probability"], abs=1e-6),
        "probabilities": probabilities,
    }


def check_predictions(answer: httpx.Response, texts: list[str]) -> None:
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert (content["model"], content["version"]) == ("sentiment", "1")
    assert content["predictions"] == [near(expected_prediction(text)) for text in texts]


@pytest.mark.parametrize("count", [1, 2, 64])
def test_every_text_gets_its_prediction_in_order(text_client: httpx.Client, count: int) -> None:
    texts = [make_text(number) for number in range(count)]
    check_predictions(ask(text_client, *texts), texts)


def test_a_text_gets_the_same_alone_among_64_and_beside_the_longest(text_client: httpx.Client) -> None:
    text = "The film was not bad, and I liked it."
    alone = ask(text_client, text).json()["predictions"][0]
    others = [make_text(number) for number in range(62)]
    among = ask(text_client, *others, text, LONGEST).json()["predictions"]
    beside = ask(text_client, LONGEST, text).json()["predictions"]
    assert among[62] == beside[1] == near(alone)
    assert among[63] == near(beside[0])
    assert (beside[0]["tokens"], beside[0]["truncated"]) == (4500, True)


def test_random_mixes_at_16_connections_get_exactly_their_own_answers(text_server: str) -> None:
    async def send(client: httpx.AsyncClient, number: int) -> None:
        draw = random.Random(number)
        for step in range(8):
            texts = [make_text(1000 * number + 10 * step + place) for place in range(draw.choice((1, 1, 1, 2, 9)))]
            if draw.random() < 0.1:
                texts.append(LONGEST)
            explain = draw.random() < 0.1
            answer = await client.post("/analyze-sentiment", json={"texts": texts, "explain": explain})
            if explain:
                for prediction, text in zip(answer.json()["predictions"], texts, strict=True):
                    check_explanation(prediction, text)
            else:
                check_predictions(answer, texts)

    send_at_once(text_server, CONNECTIONS, send)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "!",
        "?!" * 10_000,
        "a" * 20_000,
        "😀" * 20_000,
        "漢字かな",
        "e\u0301\u0302" * 300,
        "\x00\x01\x7f\ufeff\u200b",
        "<br /><br/>",
        "[START] [PAD] [UNK]",
        "مرحبا بالعالم",
        "\U0010ffff\ue000",
    ],
)
def test_any_text_has_an_answer(text_client: httpx.Client, text: str) -> None:
    check_predictions(ask(text_client, text), [text])


def test_half_a_character_has_an_answer(text_client: httpx.Client) -> None:
    body = b'{"texts": ["good \\ud83d", "\\udc00\\ud800"], "explain": true}'
    answer = text_client.post("/analyze-sentiment", content=body, headers={"content-type": "application/json"})
    for prediction, text in zip(answer.json()["predictions"], ["good \ufffd", "\ufffd\ufffd"], strict=True):
        check_explanation(prediction, text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec=None), max_size=80), min_size=1, max_size=4), explain=st.booleans())
def test_any_characters_have_an_answer(text_client: httpx.Client, texts: list[str], explain: bool) -> None:
    body = json.dumps({"texts": texts, "explain": explain}).encode()
    answer = text_client.post("/analyze-sentiment", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == len(texts)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
NAMES = st.sampled_from(["texts", "explain", "text", ""])
ANYTHING = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANYTHING)
def test_no_json_brings_about_a_fault(text_client: httpx.Client, content: object) -> None:
    body = json.dumps(content).encode()
    answer = text_client.post("/analyze-sentiment", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text
    assert answer.json()


@pytest.mark.parametrize(
    ("request_", "location", "message"),
    [
        ({"texts": ["", "", "", "ü" * 21_000]}, "texts[3]", "21,000 characters, expected at most 20,000"),
        ({"texts": []}, "texts", "0 texts, expected 1 to 64"),
        ({"texts": [""] * 65}, "texts", "65 texts, expected 1 to 64"),
        ({"texts": ["", 7]}, "texts[1]", "7 should be a valid string"),
        ({"texts": ["", None]}, "texts[1]", "null should be a valid string"),
        ({"texts": "a text"}, "texts", '"a text" should be a valid list'),
        ({}, "texts", "missing"),
        ({"texts": [""], "explain": 1}, "explain", "1 should be a valid boolean"),
        ({"texts": [""], "text": ""}, "text", "unknown, expected no such field"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    text_client: httpx.Client, request_: dict[str, Any], location: str, message: str
) -> None:
    answer = text_client.post("/analyze-sentiment", json=request_)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"location": location, "message": message}]


def test_another_type_of_body_and_another_version_are_refused(text_client: httpx.Client) -> None:
    assert text_client.post("/analyze-sentiment", content=b"a text").status_code == 415
    assert text_client.post("/analyze-sentiment?version=2", json={"texts": [""]}).status_code == 404
    assert text_client.get("/analyze-sentiment").status_code == 405


def check_explanation(prediction: Prediction, text: str) -> None:
    expected = near(expected_prediction(text))
    tokens = prediction["tokens"]
    assert {**expected, "tokens": tokens, "baseline_log_odds": prediction["baseline_log_odds"]} == prediction
    assert [(token["start"], token["end"]) for token in tokens] == read_text(text)[1][1:-1]
    assert all(token["text"] == text[token["start"] : token["end"]] for token in tokens)
    total = prediction["baseline_log_odds"] + sum(token["log_odds"] for token in tokens)
    probability = prediction["probability"]
    assert total == pytest.approx(math.log(probability / (1 - probability)), abs=1e-4)


def test_an_explanation_adds_up_to_the_prediction_and_says_the_same_again(text_client: httpx.Client) -> None:
    texts = [*TEXTS, make_text(1, 20), make_text(2, 150)]
    first, second = (ask(text_client, *texts, explain=True).json()["predictions"] for _ in range(2))
    assert first == second
    for prediction, text in zip(first, texts, strict=True):
        check_explanation(prediction, text)
    assert first[2]["tokens"] == []


@pytest.mark.parametrize("binary", [False, True])
def test_the_graph_can_be_asked_by_the_inference_protocol(text_server: str, binary: bool) -> None:
    token_ids = [read_text(make_text(number))[0] for number in (3, 4)]
    length = max(map(len, token_ids))
    padded = np.array([np.pad(ids, (0, length - len(ids))) for ids in token_ids])
    with triton.InferenceServerClient(text_server.removeprefix("http://")) as client:
        assert client.get_model_metadata("sentiment")["inputs"] == [
            {"name": "token_ids", "datatype": "INT32", "shape": [-1, -1]}
        ]
        tensor = triton.InferInput("token_ids", padded.shape, "INT32")
        outputs = [
            triton.InferRequestedOutput("probabilities", binary_data=binary),
            triton.InferRequestedOutput("logits", binary_data=binary),
        ]
        result = client.infer("sentiment", [tensor.set_data_from_numpy(padded, binary_data=binary)], outputs=outputs)
    for row, ids in enumerate(token_ids):
        for name, expected in zip(("probabilities", "logits"), run_alone(ids), strict=True):
            assert result.as_numpy(name)[row] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("token_ids", "message"),
    [
        ([[1] * 101], "inputs: a row is 101 long, expected at most 100"),
        ([[1, 2], [3, 100_000]], "inputs: values that are out of the graph's bounds"),
    ],
)
def test_token_ids_that_the_graph_does_not_take_are_refused(
    text_client: httpx.Client, token_ids: list[list[int]], message: str
) -> None:
    tensor = {"name": "token_ids", "datatype": "INT32", "shape": [len(token_ids), len(token_ids[0])], "data": token_ids}
    answer = text_client.post("/v2/models/sentiment/infer", json={"inputs": [tensor]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == message


def test_token_ids_out_of_bounds_disturb_nobody(text_server: str) -> None:
    tensor = {"name": "token_ids", "datatype": "INT32", "shape": [1, 12], "data": [-5000] * 12}
    nothing = {"name": "token_ids", "datatype": "INT32", "shape": [1, 12], "data": [0] * 12}

    async def ask_all() -> None:
        async with httpx.AsyncClient(base_url=text_server, timeout=60) as client:

            async def ask_for(number: int) -> None:
                text = make_text(number, 10)
                check_predictions(await client.post("/analyze-sentiment", json={"texts": [text]}), [text])

            async def disturb(data: object) -> None:
                await client.post("/v2/models/sentiment/infer", json={"inputs": [data]})

            await asyncio.gather(
                *(ask_for(number) for number in range(40)), *(disturb(data) for data in (tensor, nothing) * 10)
            )

    asyncio.run(ask_all())


def test_the_route_is_described_with_a_request_that_is_answered_as_it_says(text_client: httpx.Client) -> None:
    description = text_client.get("/docs.json").json()
    operation = description["paths"]["/analyze-sentiment"]["post"]
    assert operation["description"] == "What is thought of a film."
    body = operation["requestBody"]["content"]["application/json"]
    assert text_client.post("/analyze-sentiment", json=body["example"]).json()["predictions"] == [
        near(prediction)
        for prediction in operation["responses"]["200"]["content"]["application/json"]["example"]["predictions"]
    ]
    schemas = description["components"]["schemas"]
    request = schemas["SentimentRequest"]["properties"]
    assert request["texts"]["items"] == {"type": "string"}
    assert request["explain"]["type"] == "boolean"
    (name,) = (name for name in schemas if name.endswith("SentimentPrediction") or name == "Prediction")
    assert {"label", "probabilities", "tokens", "truncated", "baseline_log_odds"} <= set(schemas[name]["properties"])


def test_both_ways_in_lead_to_the_same_answers(
    text_server: str, text_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    requests: list[dict[str, Any]] = [
        {"texts": TEXTS},
        {"texts": ["good"], "explain": True},
        {"texts": []},
        {"texts": ["a" * 20_001]},
    ]
    with serve_behind(text_models, tmp_path_factory.mktemp("behind")) as behind:
        for request in requests:
            front_answer, answer = (
                httpx.post(f"{url}/analyze-sentiment", json=request).json() for url in (text_server, behind)
            )
            assert {**answer, "request_id": ""} == {**front_answer, "request_id": ""}


def test_bentomls_client_asks_through_the_front(text_server: str) -> None:
    script = f"""
import bentoml, json

with bentoml.SyncHTTPClient({text_server!r}) as client:
    print(json.dumps(client.analyze_sentiment(texts={TEXTS!r}, explain=True)))
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    for prediction, text in zip(json.loads(finished.stdout)["predictions"], TEXTS, strict=True):
        check_explanation(prediction, text)
