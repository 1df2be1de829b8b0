"""Administrators set which versions serve, over HTTP, and nobody else does."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]

from tests.conftest import Serve
from tests.service.test_classify import PNG, check_problem
from tests.table_versions import add_generator
from tests.versions import KIND, add_version

ADMIN = f"/admin/models/{KIND}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the colour classifier, and one model that makes up rows."""
    root = tmp_path_factory.mktemp("models")
    add_version(root)
    add_version(root)
    add_generator(root)
    return root


@pytest.fixture(scope="module")
def environment(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Servers that share their models and their state, and take everybody for an administrator."""
    return {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_STATE": str(tmp_path_factory.mktemp("state")),
        "MODELYARD_ADMIN_OPEN": "true",
        "MODELYARD_WATCH_SECONDS": "0.2",
    }


@pytest.fixture(scope="module")
def http(serve: Serve, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """A client of such a server."""
    with serve(environment=environment) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def admin(http: httpx.Client) -> Iterator[httpx.Client]:
    """That client; afterwards nothing is set any more."""
    yield http
    http.patch(ADMIN, json={"default": None, "canary": None, "shadow": None}).raise_for_status()


def ask(client: httpx.Client, query: str = "") -> str:
    """The version that answers."""
    answer = client.post(f"/classify{query}", content=PNG, headers={"content-type": "image/png"})
    answer.raise_for_status()
    version: str = answer.json()["version"]
    return version


def list_states(client: httpx.Client) -> dict[str, str]:
    kind = next(kind for kind in client.get("/models").json()["models"] if kind["kind"] == KIND)
    return {version["version"]: version["state"] for version in kind["versions"]}


def wait_for(client: httpx.Client, expected: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while list_states(client) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list_states(client) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", ADMIN),
        ("POST", f"{ADMIN}/rollback"),
        ("POST", f"/v2/repository/models/{KIND}/load"),
        ("POST", f"/v2/repository/models/{KIND}/unload"),
    ],
)
def test_without_administrators_nobody_is_one(server: str, method: str, path: str) -> None:
    answer = httpx.request(method, server + path, json={})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "this route is for administrators, and there are none"
    assert httpx.get(server + path).status_code == 405


def test_a_default_version_is_set_and_rolled_back(admin: httpx.Client) -> None:
    wait_for(admin, {"1": "loaded", "2": "serving"})
    described = admin.patch(ADMIN, json={"default": 1}).json()
    assert (described["default_version"], described["pinned"], described["previous_version"]) == ("1", True, "2")
    assert (ask(admin), ask(admin, "?version=2")) == ("1", "2")
    assert list_states(admin) == {"1": "serving", "2": "loaded"}
    assert admin.post(f"{ADMIN}/rollback").json()["default_version"] == "2"
    assert ask(admin) == "2"
    check_problem(admin.post(f"{ADMIN}/rollback"), 409, "no earlier default version")


def test_a_canary_and_a_shadow_are_set_and_seen_in_the_metrics(admin: httpx.Client) -> None:
    wait_for(admin, {"1": "loaded", "2": "serving"})
    described = admin.patch(ADMIN, json={"default": 2, "canary": {"version": 1, "share": 0.5}}).json()
    assert described["canary"] == {"version": "1", "share": 0.5}
    assert {ask(admin) for _ in range(64)} == {"1", "2"}
    metrics = admin.get("/metrics").text
    assert f'model_version_info{{model="{KIND}",version="1",part="canary"}} 1' in metrics
    assert f'model_canary_share{{model="{KIND}",version="1"}} 0.5' in metrics
    admin.patch(ADMIN, json={"canary": None, "shadow": 1}).raise_for_status()
    assert list_states(admin) == {"1": "shadow", "2": "serving"}
    assert {ask(admin) for _ in range(8)} == {"2"}
    agreed = f'shadow_requests_total{{model="{KIND}",version="1",outcome="agreed"}}'
    deadline = time.monotonic() + 30
    while f"{agreed} 8" not in admin.get("/metrics").text and time.monotonic() < deadline:
        time.sleep(0.05)
    assert f"{agreed} 8" in admin.get("/metrics").text
    assert "model_canary_share{" not in admin.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        (ADMIN, {"default": 0}, 422, "default: 0 should be greater than or equal to 1"),
        (ADMIN, {"canary": {"version": 1, "share": 2}}, 422, "canary.share: 2 should be less than or equal to 1"),
        (ADMIN, {"colour": 1}, 422, "colour: unknown"),
        (ADMIN, {"default": 9}, 409, f"version 9 of {KIND} was refused: {KIND}/9/manifest.json: cannot be read"),
        ("/admin/models/toaster", {}, 404, "no such kind of model"),
        ("/admin/models/profile_generator", {"shadow": 1}, 422, "shadow: profile_generator makes things up"),
    ],
)
def test_what_cannot_be_set_is_refused(admin: httpx.Client, path: str, body: Any, status: int, detail: str) -> None:
    check_problem(admin.patch(path, json=body), status, detail)


def test_another_process_serves_by_the_same_plan(
    admin: httpx.Client, serve: Serve, environment: dict[str, str]
) -> None:
    admin.patch(ADMIN, json={"default": 1, "shadow": 2}).raise_for_status()
    with serve(environment=environment) as url, httpx.Client(base_url=url, timeout=60) as other:
        wait_for(other, {"1": "serving", "2": "shadow"})
        other.post(f"{ADMIN}/rollback").raise_for_status()
        assert ask(other) == "2"
        wait_for(admin, {"1": "loaded", "2": "serving"})
        assert ask(admin) == "2"


def test_a_new_version_takes_over_and_a_refused_one_says_why(admin: httpx.Client, models: Path) -> None:
    add_version(models)
    wait_for(admin, {"1": "not loaded", "2": "loaded", "3": "serving"})
    add_version(models, golden_shift=0.5)
    wait_for(admin, {"1": "not loaded", "2": "loaded", "3": "serving", "4": "refused"})
    versions = admin.get(f"/models/{KIND}").json()["versions"]
    assert {version["version"]: version["state"] for version in versions} == list_states(admin)
    assert versions[3]["reason"].startswith(f"{KIND}/4/golden.json: examples[0]: predictions[0]")
    assert ask(admin) == "3"
    loads = f'model_loads_total{{model="{KIND}",outcome='
    assert f'{loads}"refused"}} ' in admin.get("/metrics").text
    assert f'{loads}"loaded"}} 3' in admin.get("/metrics").text


def test_tritons_client_loads_and_unloads(admin: httpx.Client) -> None:
    with triton.InferenceServerClient(admin.base_url.netloc.decode()) as client:
        client.unload_model(KIND)
        assert not client.is_model_ready(KIND)
        check_problem(admin.post("/classify", content=PNG, headers={"content-type": "image/png"}), 404, "no version")
        assert {entry["state"] for entry in client.get_model_repository_index() if entry["name"] == KIND} == {
            "UNAVAILABLE"
        }
        assert client.is_server_ready()
        # The newest was refused, so that the one before it serves; who asked for a load hears of it.
        with pytest.raises(triton.InferenceServerException, match="version 4 of image_classifier was refused"):
            client.load_model(KIND)
        assert client.is_model_ready(KIND, "3")
        assert client.get_model_metadata(KIND)["versions"][-1] == "3"
        with pytest.raises(triton.InferenceServerException, match=r"parameters\.config: unknown"):
            client.load_model(KIND, config="{}")
        with pytest.raises(triton.InferenceServerException, match="no such kind of model"):
            client.load_model("toaster")
        client.load_model("profile_generator")


def test_one_version_is_loaded_and_unloaded_by_its_number(admin: httpx.Client) -> None:
    one = {"parameters": {"version": "1"}}
    admin.post(f"/v2/repository/models/{KIND}/load", json=one).raise_for_status()
    assert ask(admin, "?version=1") == "1"
    serving = {"parameters": {"version": "3"}}
    refused = admin.post(f"/v2/repository/models/{KIND}/unload", json=serving)
    assert (refused.status_code, refused.json()["error"][-20:]) == (409, "its state is serving")
    admin.post(f"/v2/repository/models/{KIND}/unload", json=one).raise_for_status()
    assert list_states(admin)["1"] in ("loaded", "not loaded")  # as one of those that stay, or not
    assert admin.post(f"/v2/repository/models/{KIND}/load", content=b"{").status_code == 400
