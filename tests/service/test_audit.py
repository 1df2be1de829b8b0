"""The log of predictions: what a real server writes, what it never writes, and what becomes of it on a full disk."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.repository import Repository
from service.audit import Audit, check_audit
from service.bodies import Body
from service.config import Settings, SettingsError
from service.exchange import Exchange, Message
from service.metrics import Metrics
from tests.conftest import ROOT, Serve
from tests.service.test_classify import PNG
from tests.table_versions import CUSTOMER, add_generator, add_predictor
from tests.text_versions import TEXTS, add_sentiment
from tests.versions import add_version

IMAGE = {"content-type": "image/png"}
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
ANSWER = json.dumps({"predictions": [{"label": "red", "probability": 0.5, "top": []}]}).encode()
Line = dict[str, Any]


@pytest.fixture(scope="module")
def all_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for add in (add_version, add_predictor, add_generator, add_sentiment):
        add(root)
    return root


def read_lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for_lines(path: Path, count: int) -> list[Line]:
    deadline = time.monotonic() + 20
    while len(lines := read_lines(path)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(lines) == count
    return lines


def read_outcomes(url: str) -> dict[str, int]:
    text = httpx.get(f"{url}/metrics").text
    found = re.findall(r'audit_records_total\{(?:worker="\d",)?outcome="(\w+)"\} (\d+)', text)
    outcomes: dict[str, int] = {}
    for outcome, count in found:
        outcomes[outcome] = outcomes.get(outcome, 0) + int(count)
    return outcomes


def ask_all(url: str) -> None:
    """One request of every kind, with everything that an answer may repeat of it."""
    customer = {**CUSTOMER}
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/classify", {"content": PNG, "headers": {**IMAGE, "x-request-id": "picture"}}),
        ("/predict-churn", {"json": {"customers": [customer, customer], "explain": True}}),
        ("/analyze-sentiment", {"json": {"texts": [TEXTS[0]], "explain": True}}),
        ("/generate-profiles", {"json": {"count": 3, "seed": 1}}),
        ("/generate-profiles", {"json": {"count": 200, "seed": 1}, "headers": {"accept": "text/csv"}}),
        ("/v2/models/image_classifier/infer", {"json": {"inputs": [TENSOR]}}),
    ]
    for path, arguments in requests:
        httpx.post(f"{url}{path}", timeout=30, **arguments).raise_for_status()
    assert httpx.post(f"{url}/classify", content=b"junk", headers=IMAGE).status_code == 422


def test_every_kind_s_predictions_are_logged_without_what_was_sent(
    serve: Serve, all_models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    with serve(environment={"MODELYARD_MODELS": str(all_models), "MODELYARD_AUDIT_LOG": str(path)}) as url:
        ask_all(url)
        lines = wait_for_lines(path, 6)
        assert read_outcomes(url) == {"written": 6, "dropped": 0, "failed": 0}
    picture, churn, sentiment, profiles, table, tensors = lines
    assert picture.keys() == {"time", "request_id", "route", "model", "version", "duration_ms", "predictions"}
    assert (picture["request_id"], picture["route"], picture["version"]) == ("picture", "/classify", "1")
    assert picture["predictions"] == [{"label": "red", "probability": pytest.approx(0.95, abs=0.01)}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", picture["time"])
    assert 0 < picture["duration_ms"] < 30_000
    assert len(churn["predictions"]) == 2
    assert churn["predictions"][0].keys() == {"churn_probability", "will_churn", "threshold", "risk"}
    assert sentiment["predictions"][0].keys() == {"label", "probability", "truncated"}
    assert (profiles["model"], table["model"]) == ("profile_generator", "profile_generator")
    assert "predictions" not in profiles
    assert tensors["rows"] == 1
    assert sum(tensors["outputs"]["probabilities"][0]) == pytest.approx(1)
    text = path.read_text()
    for sent in (TEXTS[0].split()[0], *(str(value) for value in CUSTOMER.values() if isinstance(value, str))):
        assert f'"{sent}"' not in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_inputs_are_logged_where_they_are_asked_for(serve: Serve, all_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    environment = {
        "MODELYARD_MODELS": str(all_models),
        "MODELYARD_AUDIT_LOG": str(path),
        "MODELYARD_AUDIT_INPUTS": "true",
    }
    with serve(environment=environment) as url:
        ask_all(url)
    # What waited was written at the end.
    lines = read_lines(path)
    assert base64.b64decode(lines[0]["input"]["base64"]) == PNG
    assert json.loads(lines[1]["input"]["text"])["customers"][0] == CUSTOMER
    assert json.loads(lines[5]["input"]["text"]) == {"inputs": [TENSOR]}


def test_several_workers_fill_files_that_are_put_aside(serve: Serve, all_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    environment = {
        "MODELYARD_MODELS": str(all_models),
        "MODELYARD_WORKERS": "2",
        "MODELYARD_AUDIT_LOG": str(path),
        "MODELYARD_AUDIT_MAX_BYTES": "4096",
        "MODELYARD_AUDIT_FILES": "100",
    }
    with serve(environment=environment) as url:

        def ask_often(number: int) -> None:
            for index in range(50):  # each on a connection of its own, which either worker may take
                headers = {**IMAGE, "x-request-id": f"{number}-{index}"}
                httpx.post(f"{url}/classify", content=PNG, headers=headers, timeout=30).raise_for_status()

        threads = [threading.Thread(target=ask_often, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    files = list(tmp_path.glob("audit.jsonl*"))
    assert len(files) > 5
    assert max(file.stat().st_size for file in files) <= 4096
    ids = [line["request_id"] for file in files for line in read_lines(file)]
    assert sorted(ids) == sorted(f"{number}-{index}" for number in range(4) for index in range(50))


def test_a_full_disk_costs_records_and_no_answer(serve: Serve, models: Path) -> None:
    # Whatever is written to this device fails as on a full disk.
    environment = {"MODELYARD_MODELS": str(models), "MODELYARD_AUDIT_LOG": "/dev/full"}
    with serve(environment=environment) as url:
        for _ in range(20):
            httpx.post(f"{url}/classify", content=PNG, headers=IMAGE).raise_for_status()
        deadline = time.monotonic() + 20
        while (outcomes := read_outcomes(url))["failed"] < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert outcomes == {"written": 0, "dropped": 0, "failed": 20}


def test_a_path_that_cannot_be_written_stops_the_start(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "audit.jsonl"
    settings = {"MODELYARD_MODELS": str(models), "MODELYARD_AUDIT_LOG": str(path), "BENTOML_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:ModelService", "--port", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    message = f"modelyard cannot start: MODELYARD_AUDIT_LOG='{path}': cannot be written: No such file or directory"
    assert message in done.stderr.splitlines()


def make_settings(path: Path, **settings: object) -> Settings:
    return Settings.model_validate({"audit_log": path, **settings})


def make_exchange(request_id: str) -> Exchange:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    return Exchange({}, {}, receive, request_id, time.perf_counter(), 0.0, None)  # type: ignore[arg-type]


def count(metrics: Metrics) -> Mapping[str, int]:
    found = re.findall(r'audit_records_total\{outcome="(\w+)"\} (\d+)', metrics.render().decode())
    return {outcome: int(number) for outcome, number in found}


@pytest.fixture
def manifest(all_models: Path) -> Any:
    return Repository(all_models).load("image_classifier", 1)


def test_a_share_of_the_predictions_is_logged(tmp_path: Path, manifest: Any) -> None:
    path, metrics = tmp_path / "audit.jsonl", Metrics()
    audit = Audit(path, make_settings(path, audit_share=0.25), metrics)
    for number in range(4000):
        audit.offer(make_exchange(str(number)), "/classify", manifest, Body("image/png", b"", b""), ANSWER)
    audit.close()
    # Of a binomial distribution, six standard deviations at each side.
    assert 835 <= len(read_lines(path)) <= 1165
    assert count(metrics) == {"dropped": 0, "failed": 0, "written": len(read_lines(path))}


def test_what_the_thread_cannot_keep_up_with_is_dropped_and_counted(tmp_path: Path, manifest: Any) -> None:
    path, metrics = tmp_path / "audit.jsonl", Metrics()
    audit = Audit(path, make_settings(path, audit_inputs=True), metrics)
    large = Body("image/png", b"", bytes(20 * 2**20))
    for number in range(5):
        audit.offer(make_exchange(str(number)), "/classify", manifest, large, ANSWER)
    began = time.perf_counter()
    for number in range(20_000):
        audit.offer(make_exchange(str(number)), "/classify", manifest, Body("image/png", b"", b"1"), ANSWER)
    assert time.perf_counter() - began < 10
    audit.close()
    counted = count(metrics)
    assert counted["dropped"] >= 2
    assert counted["failed"] == 0
    assert counted["written"] == 20_005 - counted["dropped"]
    files = sorted(tmp_path.glob("audit.jsonl*"))
    assert sum(len(read_lines(file)) for file in files) == counted["written"]


def test_no_more_files_are_kept_than_the_settings_say(tmp_path: Path, manifest: Any) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path, make_settings(path, audit_max_bytes=4096, audit_files=2), Metrics())
    for number in range(300):
        audit.offer(make_exchange(str(number)), "/classify", manifest, Body("image/png", b"", b""), ANSWER)
    audit.close()
    names = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    ids = [int(line["request_id"]) for name in reversed(names) for line in read_lines(tmp_path / name)]
    assert ids == list(range(ids[0], 300))


def test_a_file_that_is_moved_away_is_made_again(
    tmp_path: Path, manifest: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path, metrics = folder / "audit.jsonl", Metrics()
    audit = Audit(path, make_settings(path), metrics)

    def offer(request_id: str, outcome: str, expected: int) -> None:
        audit.offer(make_exchange(request_id), "/classify", manifest, Body("image/png", b"", b""), ANSWER)
        deadline = time.monotonic() + 20
        while count(metrics)[outcome] < expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert count(metrics)[outcome] == expected

    offer("first", "written", 1)
    path.rename(folder / "moved")
    offer("second", "written", 2)
    assert [line["request_id"] for line in read_lines(path)] == ["second"]
    shutil.rmtree(folder)
    offer("lost", "failed", 1)
    offer("lost too", "failed", 2)
    folder.mkdir()
    offer("third", "written", 3)
    audit.close()
    assert [line["request_id"] for line in read_lines(path)] == ["third"]
    # Said once, however many are lost.
    assert [record.levelname for record in caplog.records if record.levelname != "INFO"] == ["ERROR"]


@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: folder / "file" / "audit.jsonl"])
def test_what_is_no_file_in_a_folder_is_refused(tmp_path: Path, make: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"MODELYARD_AUDIT_LOG='.*': cannot be written: (Is|Not) a directory"):
        check_audit(make_settings(make(tmp_path)))
