"""BentoML's own application gives the same answers as the one in front, and BentoML's client can ask it."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.process import free_port
from tests.conftest import ROOT, wait_until_ready
from tests.service.test_classify import BLUE, GREEN, PNG, check_prediction
from tests.table_versions import CUSTOMER, expected_profiles, make_customer
from tests.versions import encode, plain_picture

IMAGES = [base64.b64encode(encode(plain_picture(colour))).decode() for colour in (BLUE, GREEN)]


@contextmanager
def serve_behind(models: Path, home: Path, **settings: str) -> Iterator[str]:
    """Start BentoML's application with nothing in front of it."""
    port = free_port()
    script = f"""
import bentoml, uvicorn
from service.app import ModelService

uvicorn.run(bentoml.Service.to_asgi(ModelService), host="127.0.0.1", port={port})
"""
    environment = {**os.environ, "BENTOML_HOME": str(home), "MODELYARD_MODELS": str(models), **settings}
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def behind(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of BentoML's application with nothing in front of it."""
    with serve_behind(models, tmp_path_factory.mktemp("behind"), MODELYARD_MAX_ITEMS="8") as url:
        yield url


@pytest.fixture(scope="module")
def table_behind(table_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As behind, with the models on tables."""
    with serve_behind(table_models, tmp_path_factory.mktemp("behind")) as url:
        yield url


@pytest.fixture(scope="module")
def picture_behind(picture_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As behind, with the model of images."""
    with serve_behind(picture_models, tmp_path_factory.mktemp("behind"), MODELYARD_MAX_IMAGES="50000") as url:
        yield url


@pytest.mark.parametrize("query", ["", "?top_k=1", "?top_k=2&version=1"])
def test_both_ways_in_lead_to_the_same_answers(server: str, behind: str, query: str) -> None:
    front_answer = httpx.post(f"{server}/classify{query}", json={"images": IMAGES})
    answer = httpx.post(f"{behind}/classify{query}", json={"images": IMAGES})
    assert answer.status_code == 200, answer.text
    assert answer.content == front_answer.content


@pytest.mark.parametrize(
    ("query", "images"),
    [
        ("?top_k=9", IMAGES),
        ("?version=5", IMAGES),
        ("?colour=1", IMAGES),
        ("", [base64.b64encode(b"junk").decode()]),
        ("", [base64.b64encode(PNG).decode()] * 9),
    ],
)
def test_both_ways_in_lead_to_the_same_problems(server: str, behind: str, query: str, images: list[str]) -> None:
    front_answer = httpx.post(f"{server}/classify{query}", json={"images": images})
    answer = httpx.post(f"{behind}/classify{query}", json={"images": images})
    assert answer.status_code == front_answer.status_code
    assert answer.headers["content-type"] == front_answer.headers["content-type"]
    assert {**answer.json(), "request_id": ""} == {**front_answer.json(), "request_id": ""}


def test_bentomls_client_asks_through_the_front(server: str) -> None:
    script = f"""
import bentoml, json

with bentoml.SyncHTTPClient({server!r}) as client:
    print(json.dumps(client.classify(images={IMAGES!r})))
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    predictions = json.loads(finished.stdout)["predictions"]
    for prediction, colour in zip(predictions, (BLUE, GREEN), strict=True):
        check_prediction(prediction, colour)


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/predict-churn", {"customers": [CUSTOMER, make_customer(1)]}),
        ("/predict-churn?version=1", {"customers": [CUSTOMER], "explain": True}),
        ("/generate-profiles", {"count": 3, "seed": 1, "churn": "goes"}),
        ("/generate-profiles", {"count": 300, "seed": 1}),
        ("/generate-profiles", {"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}}),
    ],
)
def test_both_ways_in_lead_to_the_same_tables(
    table_server: str, table_behind: str, path: str, request_: object, accept: str
) -> None:
    front_answer = httpx.post(table_server + path, json=request_, headers={"accept": accept})
    answer = httpx.post(table_behind + path, json=request_, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.content == front_answer.content
    for header in ("content-type", "x-seed"):
        assert answer.headers.get(header) == front_answer.headers.get(header)


@pytest.mark.parametrize("accept", ["application/json", "image/png"])
@pytest.mark.parametrize(
    "request_",
    [
        {"count": 3, "seed": 1, "label": "coat"},
        {"count": 300, "seed": 1, "truncation": 0.5},
        {"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}},
        {"label": "cat"},
        {"count": 50_001},
    ],
)
def test_both_ways_in_lead_to_the_same_images(
    picture_server: str, picture_behind: str, request_: object, accept: str
) -> None:
    front_answer, answer = (
        httpx.post(f"{url}/generate-image", json=request_, headers={"accept": accept})
        for url in (picture_server, picture_behind)
    )
    assert answer.status_code == front_answer.status_code
    if answer.status_code == 200:
        assert answer.content == front_answer.content
    else:
        assert {**answer.json(), "request_id": ""} == {**front_answer.json(), "request_id": ""}
    for header in ("content-type", "x-seed"):
        assert answer.headers.get(header) == front_answer.headers.get(header)


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/predict-churn", {"customers": [CUSTOMER | {"age": "old", "x": 1}]}),
        ("/predict-churn", {"customers": []}),
        ("/generate-profiles", {"count": 1_000_000}),
        ("/generate-profiles", {"churn": "perhaps"}),
    ],
)
def test_both_ways_in_lead_to_the_same_problems_with_tables(
    table_server: str, table_behind: str, path: str, request_: object
) -> None:
    front_answer, answer = (httpx.post(url + path, json=request_) for url in (table_server, table_behind))
    assert answer.status_code == front_answer.status_code == 422
    assert {**answer.json(), "request_id": ""} == {**front_answer.json(), "request_id": ""}


def test_bentomls_client_asks_about_tables_through_the_front(table_server: str) -> None:
    script = f"""
import bentoml, json

with bentoml.SyncHTTPClient({table_server!r}) as client:
    made = client.generate_profiles(count=2, seed=5)
    said = client.predict_churn(customers=made["profiles"], explain=True)
    print(json.dumps([made, said]))
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    made, said = json.loads(finished.stdout)
    assert made["profiles"] == expected_profiles(5, 2)
    assert len(said["predictions"]) == 2
