"""A server with keys, limits, other origins and a private port lets in whom it should, and nobody else."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from benchmarks.process import free_port
from service.gate import PROBES
from service.keys import add_key
from tests.conftest import Serve
from tests.service.test_classify import PNG, check_problem

IMAGE = {"content-type": "image/png"}
OPEN = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
ORIGIN = "https://app.example"
BURST = 5


class Keys(NamedTuple):
    file: Path
    predict: str
    admin: str
    both: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    predict, admin = add_key(file, "predicts", ["predict"]), add_key(file, "administers", ["admin"])
    return Keys(file, predict, admin, add_key(file, "both", ["predict", "admin"]))


@pytest.fixture(scope="module")
def server(serve: Serve, models: Path, keys: Keys) -> Iterator[str]:
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_KEYS": str(keys.file),
        "MODELYARD_ALLOWED_ORIGINS": f"{ORIGIN}, https://other.example",
    }
    with serve(environment=environment) as url:
        yield url


@pytest.fixture(scope="module")
def limited(serve: Serve, models: Path, keys: Keys) -> Iterator[httpx.Client]:
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_KEYS": str(keys.file),
        "MODELYARD_RATE_LIMIT_PER_SECOND": "0.02",
        "MODELYARD_RATE_LIMIT_BURST": str(BURST),
        "MODELYARD_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    with serve(environment=environment) as url, httpx.Client(base_url=url) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_the_probes_are_those_that_are_open() -> None:
    assert set(OPEN) == PROBES


@pytest.mark.parametrize("path", OPEN)
def test_probes_need_no_key(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs.json", "/models", "/metrics", "/nope", "/schema.json"])
def test_every_other_route_needs_one(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    check_problem(answer, 401, "the request has no key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="modelyard"'
    answer = client.get(path, headers={"x-api-key": "modelyard_guess"})
    check_problem(answer, 401, "the request's key is not known")
    assert answer.headers["www-authenticate"] == 'Bearer realm="modelyard", error="invalid_token"'


def test_a_prediction_needs_a_key(client: httpx.Client) -> None:
    check_problem(client.post("/classify", content=PNG, headers=IMAGE), 401, "no key")
    assert (
        client.post("/v2/models/image_classifier/infer", json={}).json()["error"].startswith("the request has no key")
    )


def test_a_refused_body_is_not_read(client: httpx.Client) -> None:
    check_problem(client.post("/classify", content=b"x" * 5_000_000, headers=IMAGE), 401, "no key")


def test_a_key_opens_what_it_has_a_right_to(client: httpx.Client, keys: Keys) -> None:
    def ask(key: str) -> tuple[int, int, int]:
        prediction = client.post("/classify", content=PNG, headers={**IMAGE, **bearer(key)})
        metrics, models = (client.get(path, headers=bearer(key)) for path in ("/metrics", "/models"))
        return prediction.status_code, metrics.status_code, models.status_code

    assert ask(keys.predict) == (200, 403, 200)
    assert ask(keys.admin) == (403, 200, 403)
    assert ask(keys.both) == (200, 200, 200)


def test_a_key_without_the_right_is_told_which(client: httpx.Client, keys: Keys) -> None:
    answer = client.get("/metrics", headers=bearer(keys.predict))
    check_problem(answer, 403, "the request's key has not the right 'admin'")
    assert answer.headers["www-authenticate"].endswith('error="insufficient_scope", scope="admin"')


def test_what_is_not_there_is_not_found_with_a_key(client: httpx.Client, keys: Keys) -> None:
    check_problem(client.get("/nope", headers=bearer(keys.predict)), 404, "no such route")
    assert client.get("/schema.json", headers=bearer(keys.predict)).status_code == 200


def test_a_page_of_an_allowed_origin_may_ask(client: httpx.Client, keys: Keys) -> None:
    asks = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    leave = client.options("/classify", headers=asks)
    assert leave.status_code == 200
    assert leave.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in leave.headers["access-control-allow-methods"]
    assert "x-api-key" in leave.headers["access-control-allow-headers"]
    answer = client.post("/classify", content=PNG, headers={**IMAGE, **bearer(keys.predict), "origin": ORIGIN})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "Origin"


def test_a_page_can_read_a_refusal_too(client: httpx.Client) -> None:
    for path in ("/models", "/schema.json"):
        answer = client.get(path, headers={"origin": ORIGIN})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)


def test_a_page_of_another_origin_may_not(client: httpx.Client) -> None:
    asks = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.options("/classify", headers=asks).headers


def test_a_key_may_send_a_burst_and_then_hears_when_to_come_again(limited: httpx.Client, keys: Keys) -> None:
    answers = [limited.get("/models", headers=bearer(keys.predict)) for _ in range(BURST + 1)]
    assert [answer.status_code for answer in answers] == [200] * BURST + [429]
    check_problem(answers[-1], 429, "over the limit of 0.02 requests a second, 5 at once")
    assert 40 <= int(answers[-1].headers["retry-after"]) <= 50
    assert limited.get("/models", headers=bearer(keys.both)).status_code == 200


def test_who_has_no_key_is_limited_by_address(limited: httpx.Client) -> None:
    def ask(address: str) -> int:
        return limited.get("/models", headers={"x-forwarded-for": address}).status_code

    assert [ask("1.1.1.1") for _ in range(BURST + 1)] == [401] * BURST + [429]
    assert ask("2.2.2.2") == 401


def test_probes_have_no_limit(limited: httpx.Client) -> None:
    assert {limited.get("/readyz").status_code for _ in range(4 * BURST)} == {200}


def test_a_private_port_has_metrics_and_probes_and_the_public_one_has_the_rest(
    serve: Serve, models: Path, keys: Keys
) -> None:
    port = free_port()
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_KEYS": str(keys.file),
        "MODELYARD_ADMIN_PORT": str(port),
    }
    with serve(environment=environment) as url, httpx.Client(base_url=f"http://127.0.0.1:{port}") as private:
        assert private.get("/metrics").status_code == 200
        for path in OPEN:
            assert private.get(path).status_code == 200
        for path in ("/", "/models", "/nope", "/schema.json"):
            check_problem(private.get(path), 404, "no such route")
        check_problem(private.post("/classify", content=PNG, headers=IMAGE), 404, "no such route")
        check_problem(httpx.get(f"{url}/metrics", headers=bearer(keys.both)), 404, "no such route")
        check_problem(httpx.get(f"{url}/metrics"), 401, "no key")
        assert httpx.get(f"{url}/readyz").status_code == 200
        answer = httpx.post(f"{url}/classify", content=PNG, headers={**IMAGE, **bearer(keys.predict)})
        assert answer.status_code == 200
