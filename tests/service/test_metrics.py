"""Metrics: what is counted, and that Prometheus' own parser reads it."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics

MODEL = {"model": "image_classifier", "version": "3"}
KIND, VERSION = MODEL.values()


def read(metrics: Metrics) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Every sample by name, as Prometheus' parser reads them."""
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    text = metrics.render().decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            # The parser gives every counter the ending that OpenMetrics asks for; Triton's have none.
            name = sample.name if f"\n{sample.name}" in text else sample.name.removesuffix("_total")
            samples.setdefault(name, []).append((sample.labels, sample.value))
    return samples


def value(metrics: Metrics, name: str, labels: Mapping[str, str]) -> float:
    (found,) = [number for has, number in read(metrics)[name] if has == labels]
    return found


def types(metrics: Metrics) -> dict[str, str]:
    lines = metrics.render().decode().splitlines()
    return dict(line.split()[2:4] for line in lines if line.startswith("# TYPE "))


def test_the_names_are_tritons() -> None:
    metrics = Metrics()
    metrics.request(KIND, VERSION, "success", 0.001)
    samples, kinds = read(metrics), types(metrics)
    for name in ("request_success", "request_failure", "count", "exec_count"):
        assert kinds[f"nv_inference_{name}"] == "counter"
        assert f"nv_inference_{name}" in samples
    for stage in ("request", "queue", "compute_input", "compute_infer", "compute_output"):
        assert kinds[f"nv_inference_{stage}_duration_us"] == "counter"
        assert f"nv_inference_{stage}_duration_us" in samples
    assert kinds["nv_inference_pending_request_count"] == "gauge"


def test_a_success_counts_once_with_its_time() -> None:
    metrics = Metrics()
    metrics.request(KIND, VERSION, "success", 0.002)
    metrics.request(KIND, VERSION, "success", 0.001)
    assert value(metrics, "nv_inference_request_success", MODEL) == 2
    assert value(metrics, "nv_inference_request_duration_us", MODEL) == 3000


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        *(("503", "REJECTED"), ("429", "REJECTED"), ("504", "CANCELED"), ("499", "CANCELED")),
        *(("500", "BACKEND"), ("422", "OTHER"), ("413", "OTHER"), ("whatever", "OTHER")),
    ],
)
def test_a_failure_counts_under_tritons_reason(outcome: str, reason: str) -> None:
    metrics = Metrics()
    metrics.request(KIND, VERSION, outcome)
    for other in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
        expected = 1 if other == reason else 0
        assert value(metrics, "nv_inference_request_failure", {**MODEL, "reason": other}) == expected
    assert value(metrics, "nv_inference_request_success", MODEL) == 0


def test_a_batch_counts_its_rows_runs_and_times() -> None:
    metrics = Metrics()
    metrics.batch(KIND, VERSION, 8, 0.004, 0.001)
    metrics.batch(KIND, VERSION, 3, 0.001, 0.002)
    assert value(metrics, "nv_inference_count", MODEL) == 11
    assert value(metrics, "nv_inference_exec_count", MODEL) == 2
    assert value(metrics, "nv_inference_queue_duration_us", MODEL) == 5000
    assert value(metrics, "nv_inference_compute_infer_duration_us", MODEL) == 8 * 1000 + 3 * 2000
    for bound, count in (("1", 0), ("2", 0), ("4", 1), ("8", 2), ("1024", 2), ("+Inf", 2)):
        assert value(metrics, "inference_batch_rows_bucket", {**MODEL, "le": bound}) == count
    assert value(metrics, "inference_batch_rows_sum", MODEL) == 11
    assert value(metrics, "inference_batch_rows_count", MODEL) == 2


def test_stages_and_pending_rows_are_counted_by_model() -> None:
    metrics = Metrics()
    metrics.preprocess(KIND, VERSION, 0.5)
    metrics.postprocess(KIND, VERSION, 0.25)
    metrics.pending(KIND, VERSION, 7)
    metrics.pending(KIND, "4", 1)
    metrics.pending(KIND, VERSION, 2)
    assert value(metrics, "nv_inference_compute_input_duration_us", MODEL) == 500_000
    assert value(metrics, "nv_inference_compute_output_duration_us", MODEL) == 250_000
    assert value(metrics, "nv_inference_pending_request_count", MODEL) == 2
    assert value(metrics, "nv_inference_pending_request_count", {**MODEL, "version": "4"}) == 1


def test_what_was_found_in_the_cache_is_counted_by_model_and_what_is_kept_for_all() -> None:
    metrics = Metrics()
    for hit in (True, True, False):
        metrics.look_up(KIND, VERSION, hit=hit)
    metrics.keep(1234, 5)
    assert value(metrics, "nv_cache_num_hits_per_model", MODEL) == 2
    assert value(metrics, "nv_cache_num_misses_per_model", MODEL) == 1
    assert value(metrics, "response_cache_bytes", {}) == 1234
    assert value(metrics, "response_cache_entries", {}) == 5


def test_answers_are_counted_by_route_method_and_status() -> None:
    metrics = Metrics()
    for status, seconds in ((200, 0.0002), (200, 0.02), (422, 0.0001), (200, 60.0)):
        metrics.http("/classify", "POST", status, seconds)
    metrics.http("/livez", "GET", 200, 0.0001)
    labels = {"route": "/classify", "method": "POST"}
    assert value(metrics, "http_requests_total", {**labels, "status": "200"}) == 3
    assert value(metrics, "http_requests_total", {**labels, "status": "422"}) == 1
    for bound, count in (("0.0001", 1), ("0.00025", 2), ("0.025", 3), ("30.0", 3), ("+Inf", 4)):
        assert value(metrics, "http_request_duration_seconds_bucket", {"route": "/classify", "le": bound}) == count
    assert value(metrics, "http_request_duration_seconds_sum", {"route": "/classify"}) == pytest.approx(60.0203)
    assert value(metrics, "http_request_duration_seconds_count", {"route": "/livez"}) == 1


def test_versions_are_counted_by_their_part_until_they_are_forgotten() -> None:
    metrics = Metrics()
    metrics.serve(KIND, {"2": "default", "3": "canary"}, 0.25)
    metrics.load(KIND, "loaded", 0.5)
    metrics.load(KIND, "refused", 0.25)
    metrics.refused(KIND, 1)
    metrics.compare(KIND, VERSION, "agreed", 0.05)
    metrics.compare(KIND, VERSION, "dropped")
    assert value(metrics, "model_version_info", {"model": KIND, "version": "2", "part": "default"}) == 1
    assert value(metrics, "model_canary_share", MODEL) == 0.25
    assert value(metrics, "model_loads_total", {"model": KIND, "outcome": "refused"}) == 1
    assert value(metrics, "model_refused_versions", {"model": KIND}) == 1
    assert value(metrics, "model_load_seconds_total", {"model": KIND}) == 0.75
    assert value(metrics, "shadow_requests_total", {**MODEL, "outcome": "agreed"}) == 1
    assert value(metrics, "shadow_requests_total", {**MODEL, "outcome": "dropped"}) == 1
    assert value(metrics, "shadow_difference_count", MODEL) == 1
    metrics.serve(KIND, {"2": "default"}, 0.0)
    metrics.forget(KIND, VERSION)
    assert not {"model_canary_share", "shadow_requests_total", "shadow_difference_count"} & read(metrics).keys()


def test_the_provider_is_told_once_it_is_known() -> None:
    metrics = Metrics()
    assert "service_provider_info" not in read(metrics)
    metrics.provide("cuda")
    metrics.provide("cpu")
    assert read(metrics)["service_provider_info"] == [({"provider": "cpu"}, 1)]


def test_records_of_the_audit_log_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    assert "audit_records_total" not in read(metrics)
    metrics.audit("dropped", 0)
    metrics.audit("written", 3)
    metrics.audit("written", 2)
    assert value(metrics, "audit_records_total", {"outcome": "written"}) == 5
    assert value(metrics, "audit_records_total", {"outcome": "dropped"}) == 0


def test_a_label_cannot_end_its_line() -> None:
    metrics = Metrics()
    odd = 'a"b\\c\nd'
    metrics.http(odd, "GET", 200, 0.1)
    assert value(metrics, "http_requests_total", {"route": odd, "method": "GET", "status": "200"}) == 1


def test_the_process_is_measured_and_named() -> None:
    samples = read(Metrics())
    assert samples["service_worker_info"] == [({"pid": str(os.getpid())}, 1)]
    assert samples["process_resident_memory_bytes"][0][1] > 1_000_000
    assert samples["process_cpu_seconds_total"][0][1] > 0
    assert samples["process_open_fds"][0][1] > 0


def test_nothing_is_lost_between_threads() -> None:
    metrics = Metrics()
    interval = sys.getswitchinterval()

    def count() -> None:
        for _ in range(1000):
            metrics.preprocess(KIND, VERSION, 1.0)
            metrics.batch(KIND, VERSION, 2, 0.0, 0.0)
            metrics.http("/classify", "POST", 200, 0.1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert value(metrics, "nv_inference_compute_input_duration_us", MODEL) == 4000 * 1e6
    assert value(metrics, "nv_inference_count", MODEL) == 8000
    assert value(metrics, "http_request_duration_seconds_count", {"route": "/classify"}) == 4000


def test_prometheus_clients_multiprocess_mode_changes_nothing(tmp_path: Path) -> None:
    script = (
        "from service.metrics import Metrics\n"
        "metrics = Metrics()\n"
        "metrics.http('/classify', 'POST', 200, 0.1)\n"
        "print(metrics.render().decode())\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert 'http_requests_total{route="/classify",method="POST",status="200"} 1' in done.stdout
    assert "process_resident_memory_bytes" in done.stdout
    assert not list(tmp_path.iterdir())
