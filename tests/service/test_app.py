"""BentoML's own application gives the same answers as the one in front, and BentoML's client can ask it."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, free_port, wait_until_ready
from tests.service.test_classify import BLUE, GREEN, PNG, check_prediction
from tests.versions import encode, plain_picture

IMAGES = [base64.b64encode(encode(plain_picture(colour))).decode() for colour in (BLUE, GREEN)]


@pytest.fixture(scope="module")
def behind(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of BentoML's application with nothing in front of it."""
    port = free_port()
    script = f"""
import bentoml, uvicorn
from service.app import ModelService

uvicorn.run(bentoml.Service.to_asgi(ModelService), host="127.0.0.1", port={port})
"""
    home = tmp_path_factory.mktemp("behind")
    environment = {**os.environ, "BENTOML_HOME": str(home), "MODELYARD_MODELS": str(models), "MODELYARD_MAX_ITEMS": "8"}
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
