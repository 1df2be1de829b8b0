"""What Triton's own client asks by the Open Inference Protocol, and what it makes of the answers."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]
from numpy.typing import NDArray

from service import VERSION
from tests.conftest import Serve
from tests.tensor_kind import ENDING, TABLE, add_tensor_version
from tests.versions import KIND, LABELS, add_version, encode, expected_probabilities, plain_picture, run_graph

COLOUR = (200, 40, 10)
ROWS = 3


@pytest.fixture(scope="module")
def address(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the colour classifier, of the tensors, and of a version that is refused."""
    root = tmp_path_factory.mktemp("models")
    add_version(root)
    add_version(root, golden_shift=0.5)
    add_tensor_version(root)
    environment = {
        "MODELYARD_MODELS": str(root),
        "MODELYARD_MAX_ITEMS": "8",
        "MODELYARD_MAX_BODY_BYTES": "1000000",
        "MODELYARD_MAX_BATCH_ROWS": "5",
    }
    with serve(environment=environment, service="tests.tensor_service:ModelService") as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


def pixels(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.stack([np.array(plain_picture(colour)) for colour in colours])


def send(name: str, array: NDArray[Any], datatype: str, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def image_input(*colours: tuple[int, int, int], binary: bool = True) -> Any:
    return send("images", pixels(*colours), "UINT8", binary=binary)


def tensor_inputs(seed: int, rows: int = ROWS, *, binary: bool = True) -> tuple[list[Any], dict[str, list[Any]]]:
    """Inputs of the tensors' graph, and what it has to answer."""
    generator = np.random.default_rng(seed)
    numbers = generator.integers(-100, 100, (rows, 2)).astype(np.float32) / 4
    texts = np.array([[f"{seed}.{row}", "ü" * int(generator.integers(4))] for row in range(rows)], object)
    flags = generator.integers(0, 2, (rows, 1)).astype(bool)
    index = generator.integers(0, len(TABLE), rows)
    inputs = [
        send("index", index, "INT64", binary=binary),
        send("texts", texts, "BYTES", binary=not binary if seed % 3 == 0 else binary),
        send("flags", flags, "BOOL", binary=binary),
        send("numbers", numbers, "FP32", binary=binary),
    ]
    expected = {
        "sum": numbers.sum(axis=1).tolist(),
        "words": [[text + ENDING for text in row] for row in texts.tolist()],
        "opposite": (~flags).tolist(),
        "entry": [TABLE[position] for position in index],
    }
    return inputs, expected


def refuse(call: Callable[[], object]) -> tuple[str, str]:
    """The status and the message with which the client's call fails."""
    with pytest.raises(triton.InferenceServerException) as caught:
        call()
    return caught.value.status(), caught.value.message()


def read(result: Any, name: str) -> list[Any]:
    array = result.as_numpy(name)
    if array.dtype == object:
        array = np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else text, otypes=[object])(array)
    values: list[Any] = array.tolist()
    return values


def test_the_server_and_its_models_are_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(KIND)
    assert client.is_model_ready("tensors", "1")
    assert not client.is_model_ready("tensors", "2")
    assert not client.is_model_ready("tensors", "one")
    assert not client.is_model_ready("toaster")


def test_the_server_says_what_it_is_and_which_extensions_it_has(client: Any) -> None:
    extensions = [
        "binary_tensor_data",
        "classification",
        "model_repository",
        "model_repository(unload_dependents)",
    ]
    assert client.get_server_metadata() == {"name": "modelyard", "version": VERSION, "extensions": extensions}


def test_a_model_says_what_it_takes_and_gives(client: Any) -> None:
    metadata = client.get_model_metadata("tensors")
    assert metadata == client.get_model_metadata("tensors", "1")
    assert {key: metadata[key] for key in ("name", "versions", "platform")} == {
        "name": "tensors",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
    }
    assert metadata["inputs"] == [
        {"name": "numbers", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "texts", "datatype": "BYTES", "shape": [-1, 2]},
        {"name": "flags", "datatype": "BOOL", "shape": [-1, 1]},
        {"name": "index", "datatype": "INT64", "shape": [-1]},
    ]
    assert [(output["name"], output["datatype"]) for output in metadata["outputs"]] == [
        ("sum", "FP32"),
        ("words", "BYTES"),
        ("opposite", "BOOL"),
        ("entry", "FP64"),
        ("halves", "FP16"),
    ]


def test_the_index_lists_every_version_on_disk(client: Any, http: httpx.Client) -> None:
    index = client.get_model_repository_index()
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        (KIND, "1", "READY"),
        (KIND, "2", "UNAVAILABLE"),
        ("tensors", "1", "READY"),
    ]
    assert "predictions" in index[1]["reason"]
    assert http.get("/v2/repository/index").json() == index
    ready = http.post("/v2/repository/index", json={"ready": True}).json()
    assert ready == [index[0], index[2]]
    assert http.post("/v2/repository/index", json={"ready": 1}).status_code == 422


@pytest.mark.parametrize("binary", [True, False])
def test_the_classifier_s_graph_answers_in_both_encodings(client: Any, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
    result = client.infer(KIND, [image_input(COLOUR, (0, 0, 255), binary=binary)], outputs=outputs)
    probabilities = result.as_numpy("probabilities")
    np.testing.assert_array_equal(probabilities[0], np.array(run_graph(COLOUR), np.float32))
    np.testing.assert_allclose(probabilities[1], expected_probabilities((0, 0, 255)), atol=1e-6)


def test_a_picture_has_the_same_probabilities_by_both_routes(client: Any, http: httpx.Client) -> None:
    body = encode(plain_picture(COLOUR))
    answer = http.post("/classify", content=body, headers={"content-type": "image/png"}).json()
    by_label = {entry["label"]: entry["probability"] for entry in answer["predictions"][0]["top"]}
    result = client.infer(KIND, [image_input(COLOUR)], outputs=[triton.InferRequestedOutput("probabilities", False)])
    assert result.get_output("probabilities")["data"] == pytest.approx([by_label[label] for label in LABELS], abs=1e-7)


@pytest.mark.parametrize("binary", [True, False])
def test_several_inputs_texts_among_them_are_answered_in_both_encodings(client: Any, binary: bool) -> None:
    inputs, expected = tensor_inputs(seed=1, binary=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in expected]
    result = client.infer("tensors", inputs, outputs=outputs, request_id="mine")
    assert {name: read(result, name) for name in expected} == expected
    document = result.get_response()
    assert (document["id"], document["model_name"], document["model_version"]) == ("mine", "tensors", "1")
    assert ("data" in document["outputs"][0]) is not binary


def test_all_outputs_come_where_none_is_named_and_only_those_that_are(client: Any) -> None:
    inputs, expected = tensor_inputs(seed=2)
    everything = client.infer("tensors", inputs, model_version="1")
    assert [output["name"] for output in everything.get_response()["outputs"]] == [*expected, "halves"]
    assert everything.as_numpy("halves").dtype == np.float16
    one = client.infer("tensors", inputs, outputs=[triton.InferRequestedOutput("words")])
    assert one.as_numpy("sum") is None
    assert read(one, "words") == expected["words"]


def test_a_missing_number_is_nan_for_a_table(client: Any) -> None:
    inputs, _ = tensor_inputs(seed=4, rows=1)
    inputs[3] = send("numbers", np.array([[1, np.nan]], np.float32), "FP32")
    assert np.isnan(client.infer("tensors", inputs).as_numpy("sum")).all()
    inputs[3] = send("numbers", np.array([[1, np.inf]], np.float32), "FP32")
    expected = ("422", "inputs[3]: element 1 is inf, expected a finite number")
    assert refuse(lambda: client.infer("tensors", inputs)) == expected


def test_classes_come_with_their_labels(client: Any) -> None:
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    result = client.infer(KIND, [image_input((255, 0, 0), (0, 0, 255))], outputs=[output])
    named = [[text.split(":")[1:] for text in row] for row in read(result, "probabilities")]
    assert [row[0] for row in named] == [["0", "red"], ["2", "blue"]]


def test_a_body_of_nothing_but_pixels_is_answered(http: httpx.Client) -> None:
    content = pixels(COLOUR, (0, 255, 0)).tobytes()
    headers = {"Inference-Header-Content-Length": "0"}
    answer = http.post(f"/v2/models/{KIND}/infer", content=content, headers=headers)
    header_bytes = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    probabilities = np.frombuffer(answer.content[header_bytes:], np.float32).reshape(2, 3)
    assert probabilities[0].tolist() == run_graph(COLOUR)


def test_a_large_request_has_the_same_answer_as_a_small_one(client: Any) -> None:
    """More than 64 kB are read in a thread, and more rows than fit in one run are spread over several."""
    inputs, expected = tensor_inputs(seed=5, rows=8)
    long = np.array([[f"{row}" * 20_000, ""] for row in range(8)], object)
    inputs[1] = send("texts", long, "BYTES")
    result = client.infer("tensors", inputs)
    assert read(result, "words") == [[text + ENDING for text in row] for row in long.tolist()]
    assert read(result, "entry") == expected["entry"]


def test_what_does_not_fit_the_graph_is_refused_by_name(client: Any) -> None:
    def ask(*inputs: Any, model: str = KIND, **options: Any) -> tuple[str, str]:
        return refuse(lambda: client.infer(model, list(inputs), **options))

    good = image_input(COLOUR)
    assert ask(good, model="toaster")[0] == "404"
    assert ask(good, model_version="2") == ("404", f"version 2 of {KIND} is not loaded, expected 1")
    assert ask(send("pictures", pixels(COLOUR), "UINT8")) == ("422", "inputs[0].name: 'pictures' is none of 'images'")
    assert ask(good, good) == ("422", "inputs[1].name: 'images' stands more than once")
    numbers = send("images", pixels(COLOUR).astype(np.float32), "FP32")
    assert ask(numbers) == ("422", "inputs[0].datatype: 'FP32', expected 'UINT8' for 'images'")
    flat = send("images", pixels(COLOUR).reshape(1, -1), "UINT8")
    assert ask(flat) == ("422", "inputs[0].shape: [1, 192], expected ['batch', 8, 8, 3] for 'images'")
    assert ask(image_input(*[COLOUR] * 9)) == ("422", "inputs[0].shape: 9 rows, expected at most 8")
    nothing = [triton.InferRequestedOutput("nothing")]
    assert ask(good, outputs=nothing) == ("422", "outputs[0].name: 'nothing' is none of 'probabilities'")
    assert ask(good, priority=1)[1] == "parameters.priority: unknown, expected no such field"
    assert ask(good, timeout=1)[0] in ("503", "504")
    assert ask(good, request_compression_algorithm="gzip")[0] == "415"
    assert ask(tensor_inputs(seed=6)[0][0], model="tensors")[1].startswith(
        "inputs: 'numbers', 'texts', 'flags' missing"
    )


def test_a_body_that_is_cut_off_or_too_long_is_refused(http: httpx.Client) -> None:
    body, header_bytes = triton.InferenceServerClient.generate_request_body([image_input(COLOUR)])

    def ask(content: bytes, length: object = header_bytes, content_type: str = "application/octet-stream") -> Any:
        headers = {"Inference-Header-Content-Length": str(length), "content-type": content_type}
        return http.post(f"/v2/models/{KIND}/infer", content=content, headers=headers)

    assert ask(body).status_code == 200
    assert ask(body[:-1]).json()["detail"] == "body: 191 bytes behind the JSON, expected 192 by binary_data_size"
    assert ask(body + b"!").json()["detail"] == "body: 193 bytes behind the JSON, expected 192 by binary_data_size"
    for length in (header_bytes - 1, header_bytes + 1, len(body) + 1, "-1", "x"):
        assert ask(body, length).status_code == 400, length
    assert ask(body, content_type="text/plain").status_code == 415
    assert ask(b"!" * 1_000_001).status_code == 413
    assert http.post(f"/v2/models/{KIND}/infer?version=1", content=body).status_code == 422


def test_every_failure_below_v2_has_its_reason_where_the_protocol_s_clients_look(
    client: Any, http: httpx.Client
) -> None:
    for status, call in (
        ("404", lambda: client.get_model_metadata("toaster")),
        ("403", lambda: client.load_model(KIND)),
        ("404", lambda: client.get_model_config(KIND)),
    ):
        assert refuse(call)[0] == status
    for method, path in (("GET", f"/v2/models/{KIND}/infer"), ("POST", "/v2"), ("DELETE", "/v2/nothing")):
        problem = http.request(method, path)
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.json()["error"] == problem.json()["detail"]
    assert "error" not in http.get("/nothing").json()


def test_numbers_that_the_graph_cannot_take_are_their_own_request_s_problem_alone(client: Any, address: str) -> None:
    bad, _ = tensor_inputs(seed=7)
    bad[0] = send("index", np.array([0, 99, 0]), "INT64")
    assert refuse(lambda: client.infer("tensors", bad)) == ("422", "inputs: values that are out of the graph's bounds")

    def ask(seed: int) -> None:
        with triton.InferenceServerClient(address.removeprefix("http://")) as own:
            inputs, expected = (bad, {}) if seed % 4 == 0 else tensor_inputs(seed)
            for _ in range(5):
                if not expected:
                    assert refuse(lambda: own.infer("tensors", inputs))[0] == "422"
                    continue
                result = own.infer("tensors", inputs)
                assert {name: read(result, name) for name in expected} == expected

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(ask, range(16)))


def test_concurrent_clients_of_both_encodings_get_their_own_answers(address: str) -> None:
    def ask(seed: int) -> None:
        binary = seed % 2 == 0
        rows = 1 + seed % 5
        inputs, expected = tensor_inputs(seed, rows, binary=binary)
        outputs = [triton.InferRequestedOutput(name, binary_data=seed % 3 == 0) for name in expected]
        colour = (seed * 8 % 256, 255 - seed, seed)
        alone: list[float] = run_graph(colour)
        with triton.InferenceServerClient(address.removeprefix("http://")) as own:
            for step in range(6):
                result = own.infer("tensors", inputs, outputs=outputs, request_id=f"{seed}.{step}")
                assert result.get_response()["id"] == f"{seed}.{step}"
                assert {name: read(result, name) for name in expected} == expected
                picture = own.infer(KIND, [image_input(colour, (1, 2, 3), binary=binary)])
                assert picture.as_numpy("probabilities")[0].tolist() == alone

    with ThreadPoolExecutor(24) as clients:
        list(clients.map(ask, range(48)))


def test_inferences_are_counted_as_predictions_are(client: Any, http: httpx.Client) -> None:
    def count(name: str, labels: str) -> float:
        lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith(f"{name}{{{labels}")]
        return float(lines[0].rpartition(" ")[2])

    labels = f'model="{KIND}",version="1"'
    successes, rows = count("nv_inference_request_success", labels), count("nv_inference_count", labels)
    failures = count("nv_inference_request_failure", f'{labels},reason="OTHER"')
    client.infer(KIND, [image_input(COLOUR, COLOUR)])
    refuse(lambda: client.infer(KIND, [image_input(*[COLOUR] * 9)]))
    assert count("nv_inference_request_success", labels) == successes + 1
    assert count("nv_inference_count", labels) == rows + 2
    assert count("nv_inference_request_failure", f'{labels},reason="OTHER"') == failures + 1
    assert count("http_requests_total", 'route="/v2/models/{model}/infer",method="POST",status="200"') > 0
