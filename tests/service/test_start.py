"""What cannot start says why, once, and ends; what can needs no torch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.process import free_port
from tests.conftest import ROOT, Serve
from tests.reliability.server import run_service
from tests.service.test_classify import PNG
from tests.versions import add_version


def start(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a service that should not start."""
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:ModelService"]
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True", **variables}
    return subprocess.run(
        [*command, "--host", "127.0.0.1", "--port", str(free_port())],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MODELYARD_MAX_ITEMS", "none", "MODELYARD_MAX_ITEMS='none': Input should be a valid integer"),
        ("MODELYARD_MAX_ITEM", "3", "MODELYARD_MAX_ITEM='3': no such setting, did you mean MODELYARD_MAX_ITEMS?"),
        ("MODELYARD_MODELS", "/nowhere", "/nowhere: cannot be read: No such file or directory"),
        ("MODELYARD_SETTINGS_FILE", "/nowhere", "MODELYARD_SETTINGS_FILE='/nowhere': cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_ends_the_start(tmp_path: Path, name: str, value: str, message: str) -> None:
    add_version(tmp_path / "models")
    finished = start(tmp_path, **{"MODELYARD_MODELS": str(tmp_path / "models"), name: value})
    check_refusal(finished, message)


def test_without_a_model_that_can_be_served_the_start_ends(tmp_path: Path) -> None:
    add_version(tmp_path / "models", golden_shift=0.01)
    finished = start(tmp_path, MODELYARD_MODELS=str(tmp_path / "models"))
    check_refusal(finished, f"{tmp_path / 'models'}: holds no model that can be served")
    assert "image_classifier version 1: image_classifier/1/golden.json: examples[0]: predictions[0]" in finished.stderr


def test_a_provider_that_is_not_there_ends_the_start(tmp_path: Path, no_gpu: None) -> None:
    add_version(tmp_path / "models")
    finished = start(tmp_path, MODELYARD_MODELS=str(tmp_path / "models"), MODELYARD_PROVIDER="cuda")
    check_refusal(finished, "provider 'cuda': expected CUDAExecutionProvider in use, found CPUExecutionProvider")


def check_refusal(finished: subprocess.CompletedProcess[str], message: str) -> None:
    assert finished.returncode == 1
    assert f"modelyard cannot start: {message}" in finished.stderr
    assert finished.stderr.count("modelyard cannot start") == 1
    assert "Traceback" not in finished.stdout + finished.stderr


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch, or anything of training, fails."""
    site = tmp_path / "site"
    for name in ("torch", "torchvision", "onnx", "training"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(f"raise ModuleNotFoundError('no {name} here')\n")
    return {"PYTHONPATH": str(site)}


def test_the_service_starts_and_answers_where_torch_cannot_be_imported(
    serve: Serve, tmp_path: Path, without_torch: dict[str, str]
) -> None:
    add_version(tmp_path / "models")
    with serve(environment={**without_torch, "MODELYARD_MODELS": str(tmp_path / "models")}) as url:
        answer = httpx.post(f"{url}/classify", content=PNG, headers={"content-type": "image/png"})
        assert answer.json()["predictions"][0]["label"] == "red"


def test_a_refused_version_is_listed_with_its_reason(serve: Serve, tmp_path: Path) -> None:
    add_version(tmp_path / "models")
    add_version(tmp_path / "models", golden_shift=0.01)
    with serve(environment={"MODELYARD_MODELS": str(tmp_path / "models")}) as url:
        kinds = httpx.get(f"{url}/models").json()["models"]
        kind = next(kind for kind in kinds if kind["kind"] == "image_classifier")
        assert kind["default_version"] == "1"
        assert [version["state"] for version in kind["versions"]] == ["serving", "refused"]
        assert kind["versions"][1]["reason"].startswith("image_classifier/2/golden.json: examples[0]")
        answer = httpx.post(f"{url}/classify?version=2", content=PNG, headers={"content-type": "image/png"})
        assert answer.status_code == 404


@pytest.mark.skipif(sys.platform != "linux", reason="the open ports are read in /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_listens_at_its_port_and_at_no_other(tmp_path: Path, workers: int) -> None:
    add_version(tmp_path / "models")
    environment = {"MODELYARD_MODELS": str(tmp_path / "models"), "MODELYARD_WORKERS": str(workers)}
    with run_service(tmp_path, environment) as service:
        assert service.ports() == {service.port}


def test_a_stopped_service_ends_cleanly(tmp_path: Path) -> None:
    add_version(tmp_path / "models")
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:ModelService"]
    environment = {
        **os.environ,
        "BENTOML_HOME": str(tmp_path / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "MODELYARD_MODELS": str(tmp_path / "models"),
        "MODELYARD_LOG_FORMAT": "json",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/readyz").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            headers = {"x-request-id": "the-last-one"}
            assert httpx.get(f"http://127.0.0.1:{port}/livez", headers=headers).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    text = (tmp_path / "log").read_text()
    assert '"request_id":"the-last-one"' in text
    assert "Traceback" not in text
