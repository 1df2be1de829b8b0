"""Traces of a real server arrive at a small collector, and nothing of them is there where nobody asked for them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from benchmarks.process import free_port
from service.config import SettingsError
from service.trace import check_traces, wants_traces
from tests.conftest import ROOT, Serve
from tests.service.test_classify import PNG
from tests.table_versions import CUSTOMER, add_generator, add_predictor
from tests.versions import add_version, encode, plain_picture

IMAGE = {"content-type": "image/png"}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
LARGE = encode(plain_picture((10, 200, 30), (400, 400)), "BMP")
Ask = Callable[..., list["Found"]]


class Found(NamedTuple):
    """A span as it arrived, with the attributes of its resource."""

    span: Span
    attributes: dict[str, str | int]
    resource: dict[str, str | int]


class Collector(ThreadingHTTPServer):
    """Takes what OpenTelemetry's protocol sends over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.found: list[Found] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of(self, request_id: str) -> list[Found]:
        """The spans of the trace that a request's is in, the request's first, then in the order of time."""
        roots = [found for found in self.found if found.attributes.get("modelyard.request.id") == request_id]
        if not roots:
            return []
        (root,) = roots
        parts = [found for found in self.found if found.span.parent_span_id == root.span.span_id]
        assert {found.span.trace_id for found in parts} <= {root.span.trace_id}
        return [root, *sorted(parts, key=lambda found: found.span.start_time_unix_nano)]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            self.server.found += read_spans(body)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def read_spans(body: bytes) -> Iterator[Found]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for of_scope in of_resource.scope_spans:
            assert of_scope.scope.name == "modelyard"
            for span in of_scope.spans:
                yield Found(span, read_attributes(span.attributes), read_attributes(of_resource.resource.attributes))


def read_attributes(pairs: Sequence[KeyValue]) -> dict[str, str | int]:
    return {
        pair.key: pair.value.string_value if pair.value.HasField("string_value") else pair.value.int_value
        for pair in pairs
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def ask(serve: Serve, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks a server that sends traces; returns what arrived of the request: its span and those below it."""
    root = tmp_path_factory.mktemp("models")
    add_version(root)
    add_predictor(root)
    add_generator(root)
    environment = {
        "MODELYARD_MODELS": str(root),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with serve(environment=environment) as url, httpx.Client(base_url=url, timeout=30) as client:

        def ask_once(
            method: str, path: str, status: int = 200, sampled: bool = True, **arguments: object
        ) -> list[Found]:
            answer = client.request(method, path, **arguments)  # type: ignore[arg-type]
            assert answer.status_code == status, answer.text
            request_id = answer.headers["x-request-id"]
            deadline = time.monotonic() + (20 if sampled else 0.5)
            while not (found := collector.of(request_id)) and time.monotonic() < deadline:
                time.sleep(0.02)
            return found

        yield ask_once


def stages(found: Sequence[Found]) -> list[str]:
    return [part.span.name for part in found[1:]]


def check_order(found: Sequence[Found]) -> None:
    """Each stage lies within its request, after the one before."""
    root = found[0].span
    before = root.start_time_unix_nano
    for part in found[1:]:
        assert before <= part.span.start_time_unix_nano <= part.span.end_time_unix_nano <= root.end_time_unix_nano
        before = part.span.end_time_unix_nano - 1000  # what rounding may cost


def test_a_prediction_is_a_span_with_its_stages_below_it(ask: Ask) -> None:
    found = ask("POST", "/classify?top_k=1", content=PNG, headers={**IMAGE, "x-request-id": "my-request"})
    root = found[0]
    assert root.span.name == "POST /classify"
    assert root.span.kind == Span.SPAN_KIND_SERVER
    assert not root.span.parent_span_id
    assert root.span.status.code == Status.STATUS_CODE_UNSET
    expected = {
        "http.request.method": "POST",
        "http.route": "/classify",
        "http.response.status_code": 200,
        "url.path": "/classify",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "client.address": "127.0.0.1",
        "modelyard.request.id": "my-request",
        "modelyard.model.kind": "image_classifier",
        "modelyard.model.version": "1",
    }
    assert expected.items() <= root.attributes.items()
    assert root.resource["service.name"] == "modelyard"
    assert root.resource["deployment.environment"] == "test"
    assert stages(found) == ["parse", "queue", "inference", "encode"]
    assert found[3].attributes == {"modelyard.batch.rows": 1}
    check_order(found)


@pytest.mark.parametrize(
    ("path", "arguments", "kind"),
    [
        ("/classify", {"content": LARGE, "headers": {"content-type": "image/bmp"}}, "image_classifier"),
        ("/predict-churn", {"json": {"customers": [CUSTOMER, CUSTOMER]}}, "churn"),
        ("/generate-profiles", {"json": {"count": 3, "seed": 1}}, "profile_generator"),
        (
            "/v2/models/image_classifier/infer",
            {"json": {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}]}},
            "image_classifier",
        ),
    ],
)
def test_every_way_to_a_model_has_its_stages(ask: Ask, path: str, arguments: dict[str, object], kind: str) -> None:
    found = ask("POST", path, **arguments)
    assert {"parse", "queue", "inference", "encode"} == set(stages(found))
    assert found[0].attributes["modelyard.model.kind"] == kind
    check_order(found)


def test_a_long_answer_has_a_run_for_each_of_its_batches(ask: Ask) -> None:
    found = ask("POST", "/generate-profiles", json={"count": 200, "seed": 1})
    rows = [part.attributes["modelyard.batch.rows"] for part in found if part.span.name == "inference"]
    assert rows == [64, 64, 64, 8]


def test_a_request_goes_on_with_the_trace_that_its_client_began(ask: Ask) -> None:
    headers = {**IMAGE, "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "vendor=7"}
    found = ask("POST", "/classify", content=PNG, headers=headers)
    assert found[0].span.trace_id.hex() == TRACE_ID
    assert found[0].span.parent_span_id.hex() == PARENT_ID
    assert found[0].span.trace_state == "vendor=7"
    assert stages(found) == ["parse", "queue", "inference", "encode"]


def test_what_its_client_does_not_sample_is_not_sent(ask: Ask) -> None:
    headers = {**IMAGE, "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
    assert ask("POST", "/classify", content=PNG, headers=headers, sampled=False) == []


@pytest.mark.parametrize("traceparent", ["nonsense", f"00-{'0' * 32}-{PARENT_ID}-01", f"ff-{TRACE_ID}-{PARENT_ID}-01"])
def test_a_traceparent_that_is_none_begins_a_new_trace(ask: Ask, traceparent: str) -> None:
    found = ask("POST", "/classify", content=PNG, headers={**IMAGE, "traceparent": traceparent})
    assert not found[0].span.parent_span_id
    assert found[0].span.trace_id.hex() != TRACE_ID


def test_a_refused_request_is_the_client_s_fault_and_one_too_late_is_not(ask: Ask) -> None:
    refused = ask("POST", "/classify", 422, content=b"junk", headers=IMAGE)[0]
    assert refused.span.status.code == Status.STATUS_CODE_UNSET
    assert refused.attributes["http.response.status_code"] == 422
    late = ask("POST", "/classify", 504, content=PNG, headers={**IMAGE, "x-request-timeout": "0.000001"})[0]
    assert late.span.status.code == Status.STATUS_CODE_ERROR
    assert late.attributes["error.type"] == "504"


def test_a_path_that_is_no_route_gives_no_name(ask: Ask) -> None:
    found = ask("GET", "/no/such/route", 404)[0]
    assert found.span.name == "GET"
    assert "http.route" not in found.attributes
    assert found.attributes["url.path"] == "/no/such/route"
    odd = ask("PROPFIND", "/classify", 405)[0]
    assert odd.span.name == "HTTP /classify"
    assert odd.attributes["http.request.method"] == "_OTHER"


def test_a_collector_that_is_away_costs_neither_an_answer_nor_the_end(serve: Serve, models: Path) -> None:
    environment = {
        "MODELYARD_MODELS": str(models),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "600",
        "OTEL_SERVICE_NAME": "another",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
    }
    with serve(environment=environment) as url, httpx.Client(base_url=url) as client:
        for _ in range(50):
            assert client.post("/classify", content=PNG, headers=IMAGE).status_code == 200
    # It ended in the time that `serve` gives it, a small part of what the exporter may wait for.


def test_the_name_and_the_sampler_are_those_of_the_environment(
    serve: Serve, models: Path, collector: Collector
) -> None:
    environment = {
        "MODELYARD_MODELS": str(models),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "pictures",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    }
    traceparent = {"traceparent": f"00-{'1' * 32}-{PARENT_ID}-01"}
    with serve(environment=environment) as url:
        for headers in ({}, traceparent, {}):
            httpx.post(f"{url}/classify", content=PNG, headers={**IMAGE, **headers}).raise_for_status()
    # What waited was sent at the end.
    names = [found.span.name for found in collector.found if found.resource["service.name"] == "pictures"]
    assert sorted(names) == ["POST /classify", "encode", "inference", "parse", "queue"]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "a"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4318/v1/traces", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_wanted_where_they_can_go_somewhere(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert wants_traces() is wanted


def test_another_protocol_than_http_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    check_traces()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL='grpc': expected http/protobuf"):
        check_traces()


def test_where_nobody_wants_traces_nothing_of_them_is_loaded(tmp_path: Path) -> None:
    script = """
import sys
from service.app import FrontedService, ModelService
from service.batching import Batcher
from service.front import Front
from service.metrics import Metrics

assert type(ModelService.to_asgi()) is Front
assert type(ModelService.inner().metrics) is Metrics
for name in ("service.spans", "service.tracing", "opentelemetry.exporter.otlp.proto.http", "requests"):
    assert name not in sys.modules, name
"""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=ROOT, env={**environment, "BENTOML_HOME": str(tmp_path)}
    )
