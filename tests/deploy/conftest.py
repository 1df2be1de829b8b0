"""The metrics of a real server that has been asked for everything, and has refused some of it."""

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Serve
from tests.deploy.promql import Sample, read_samples
from tests.service.test_drift import see_texts
from tests.table_versions import CUSTOMER, add_generator, add_predictor
from tests.text_versions import TEXTS, add_sentiment
from tests.versions import add_version, encode, plain_picture

PNG = encode(plain_picture((10, 200, 30)))
WHITE = encode(plain_picture((255, 255, 255)))
IMAGE = {"content-type": "image/png"}
_ENTRIES = 700  # of a table that is looked up by the sum of a picture's means, which is 765 where it is white


def fail_on_white(model: onnx.ModelProto) -> None:
    """Make the graph fail where it is given a white picture."""
    graph = model.graph
    constants: dict[str, NDArray[Any]] = {"table": np.zeros(_ENTRIES, np.float32), "last": np.array([1], np.int64)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    softmax = graph.node.pop()
    graph.node.extend(
        [
            helper.make_node("ReduceSum", ["means", "last"], ["brightness"], keepdims=1),
            helper.make_node("Cast", ["brightness"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["nothing"]),
            helper.make_node("Add", ["logits", "nothing"], ["same_logits"]),
            helper.make_node("Softmax", ["same_logits"], list(softmax.output), axis=1),
        ]
    )
    onnx.checker.check_model(model)


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind, two versions of some, one that says what it has seen, and one that is damaged."""
    root = tmp_path_factory.mktemp("models")
    add_version(root, change_graph=fail_on_white)
    add_version(root)
    for _ in range(2):
        add_predictor(root)
    add_generator(root)
    statistics = see_texts(add_sentiment(tmp_path_factory.mktemp("scratch")))
    for _ in range(2):
        manifest = add_sentiment(root, statistics=statistics)
    (root / manifest.kind / str(manifest.version) / "model.onnx").write_bytes(b"damaged")
    return root


@pytest.fixture(scope="package")
def samples(serve: Serve, models: Path) -> list[Sample]:
    """What the server's metrics hold after that."""
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_WORKERS": "2",
        "MODELYARD_DRIFT_SHARE": "1",
        "MODELYARD_AUDIT_LOG": str(models.parent / "audit.jsonl"),
        "MODELYARD_PIN": '{"image_classifier": 1, "churn": 1}',
        "MODELYARD_SHADOW": '{"image_classifier": 2}',
        "MODELYARD_CANARY": '{"churn": {"version": 2, "share": 0.5}}',
    }
    with serve(environment=environment) as url:
        for _ in range(20):  # each on a connection of its own, which either worker may take
            ask_for_everything(url)
        deadline = time.monotonic() + 20
        while "shadow_difference_count" not in (text := httpx.get(f"{url}/metrics").text):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        return read_samples(text)


def ask_for_everything(url: str) -> None:
    """Ask every kind, and for what is refused, late or brings about a fault."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
    requests: list[tuple[str, dict[str, Any], set[int]]] = [
        ("/classify", {"content": PNG, "headers": IMAGE}, {200}),
        ("/classify", {"content": WHITE, "headers": IMAGE}, {500}),
        ("/classify", {"content": b"junk", "headers": IMAGE}, {422}),
        ("/classify", {"content": PNG, "headers": {**IMAGE, "x-request-timeout": "0.000001"}}, {503, 504}),
        ("/predict-churn", {"json": {"customers": [CUSTOMER]}}, {200}),
        # Twenty times as many are enough to tell of drift for one of two workers at least.
        ("/analyze-sentiment", {"json": {"texts": [TEXTS[0]] * 64}}, {200}),
        ("/generate-profiles", {"json": {"count": 3, "seed": 1}}, {200}),
        ("/v2/models/image_classifier/infer", {"json": {"inputs": [tensor]}}, {200}),
        ("/nothing", {"json": {}}, {404}),
    ]
    for path, arguments, statuses in requests:
        answer = httpx.post(f"{url}{path}", **arguments)
        assert answer.status_code in statuses, answer.text
