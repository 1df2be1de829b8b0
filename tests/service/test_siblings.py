"""Any worker answers with the metrics of all."""

import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from service.siblings import merge_metrics
from tests.conftest import Serve
from tests.service.test_classify import PNG


def read(text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


def test_samples_of_one_name_stand_together_each_with_its_worker() -> None:
    workers = {1: Metrics(), 2: Metrics()}
    for number, metrics in workers.items():
        for _ in range(number):
            metrics.http("/classify", "POST", 200, 0.01)
    workers[2].request("image_classifier", "1", "success", 0.1)
    merged = read(merge_metrics({number: metrics.render() for number, metrics in workers.items()}).decode())
    labels = {"route": "/classify", "method": "POST", "status": "200"}
    assert merged["http_requests"] == [({"worker": "1", **labels}, 1.0), ({"worker": "2", **labels}, 2.0)]
    model = {"model": "image_classifier", "version": "1"}
    assert ({"worker": "2", **model}, 1.0) in merged["nv_inference_request_success"]
    assert [labels for labels, _ in merged["process_resident_memory_bytes"]] == [{"worker": "1"}, {"worker": "2"}]


def test_any_worker_answers_for_all(serve: Serve, models: Path) -> None:
    with serve(environment={"MODELYARD_MODELS": str(models), "MODELYARD_WORKERS": "2"}) as url:
        deadline = time.monotonic() + 60
        while len(re.findall(r"service_worker_info\{", httpx.get(f"{url}/metrics").text)) < 2:
            assert time.monotonic() < deadline  # ready is who can answer, while the other may still load
            time.sleep(0.05)

        def ask_often() -> None:
            for _ in range(20):  # each on a connection of its own, which either worker may take
                httpx.post(f"{url}/classify", content=PNG, headers={"content-type": "image/png"}).raise_for_status()

        threads = [threading.Thread(target=ask_often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(6):
            text = httpx.get(f"{url}/metrics").text
            pids = dict(re.findall(r'service_worker_info\{worker="(\d)",pid="(\d+)"\} 1', text))
            assert set(pids) == {"1", "2"}
            assert len(set(pids.values())) == 2
            counts = re.findall(r"nv_inference_request_success\{.*\} (\d+)", text)
            assert sum(map(int, counts)) == 80
