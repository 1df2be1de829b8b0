"""The routes that are no predictions, and what every route has in common."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from models.manifest import Manifest
from service.documents import Models
from tests.service.clients import read_metrics
from tests.service.test_classify import PNG, check_problem

READING = ("/livez", "/readyz", "/metrics", "/docs.json", "/models", "/models/image_classifier", "/", "/schema.json")


@pytest.mark.parametrize("path", READING)
def test_what_can_be_read_can_be_read(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_can_be_read_cannot_be_written(client: httpx.Client, path: str, method: str) -> None:
    answer = client.request(method, path)
    check_problem(answer, 405, f"takes GET and HEAD, not {method}")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/classify/",
        "/classify/x",
        "/models/",
        "/models/toaster",
        "/healthz",
        "/%ff",
        "/v3",
        "/x" * 4000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_an_unknown_route_is_a_problem(client: httpx.Client, path: str, method: str) -> None:
    check_problem(client.request(method, path), 404, "no such route")


def test_a_missing_file_of_the_page_is_a_problem(client: httpx.Client) -> None:
    check_problem(client.get("/static_content/nope.js"), 404, "Not Found")


def test_a_client_may_name_its_request_on_every_route(client: httpx.Client) -> None:
    for path in (*READING, "/nope", "/static_content/nope"):
        assert client.get(path, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_the_page_finds_what_it_loads(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="\./([^"]+)"', page.text)
    assert links
    for link in links:
        assert client.get(f"/{link}").status_code == 200
    assert "./docs.json" in page.text


def test_the_page_tells_no_third_party_of_a_visit(client: httpx.Client) -> None:
    assert "//" not in client.get("/").text


def test_models_lists_what_is_served(client: httpx.Client) -> None:
    content = client.get("/models").json()
    kind = next(kind for kind in Models.model_validate(content).models if kind.kind == "image_classifier")
    assert (kind.route, kind.default_version) == ("/classify", "1")
    version = kind.versions[0]
    assert (version.version, version.state, version.provider) == ("1", "serving", "cpu")
    assert version.task == "image classification"
    assert version.metrics == {"accuracy": 1.0}


def test_a_model_is_described_by_its_manifest(client: httpx.Client) -> None:
    content = client.get("/models/image_classifier").json()
    assert content.pop("versions") == [{"version": "1", "state": "serving", "reason": ""}]
    manifest = Manifest.model_validate_json(json.dumps(content))
    assert manifest.labels == ("red", "green", "blue")


def test_metrics_count_requests_rows_and_runs(client: httpx.Client) -> None:
    before = read_metrics(client)
    for _ in range(5):
        assert client.post("/classify", content=PNG, headers={"content-type": "image/png"}).status_code == 200
    client.post("/classify", content=b"junk", headers={"content-type": "image/png"})
    after = read_metrics(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    model = 'model="image_classifier",version="1"'
    assert grown(f"nv_inference_request_success{{{model}}}") == 5
    assert grown(f'nv_inference_request_failure{{{model},reason="OTHER"}}') == 1
    assert grown(f"nv_inference_count{{{model}}}") == 5
    assert grown(f"nv_inference_exec_count{{{model}}}") == 5
    for stage in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert grown(f"nv_inference_{stage}_duration_us{{{model}}}") >= 0
    assert grown('http_requests_total{route="/classify",method="POST",status="200"}') == 5
    assert grown('http_requests_total{route="/classify",method="POST",status="422"}') == 1


def test_no_client_can_multiply_the_metrics(client: httpx.Client) -> None:
    def send(number: int) -> None:
        headers = {"content-type": f"image/x-{number}", "x-request-id": f"id-{number}", "user-agent": f"agent-{number}"}
        client.get(f"/path-{number}", headers=headers)
        client.get(f"/static_content/{number}", headers=headers)
        client.request("LINK" if number % 2 else "PURGE", f"/classify?version={number}", headers=headers)
        client.post(f"/classify?version={number + 2}", content=PNG, headers={"content-type": "image/png"})
        client.post(f"/classify?top_k={number + 4}", content=PNG, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(20)))
        before = set(read_metrics(client))
        list(threads.map(send, range(20, 120)))
    assert set(read_metrics(client)) == before
