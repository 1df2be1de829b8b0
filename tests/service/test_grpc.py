"""Triton's own client is answered by gRPC as it is by HTTP, and without the setting there is nothing of it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton  # type: ignore[import-untyped]
import tritonclient.http  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.process import free_port
from service.attendance import Attendance
from service.config import Settings, SettingsError
from service.errors import (
    BadBodyError,
    ConflictError,
    NotFoundError,
    OverloadedError,
    RequestError,
    TooLargeError,
    UnprocessableError,
)
from service.exchange import Answer, Exchange
from service.grpc.extra import check_grpc
from service.grpc.messages import PACKAGE, SERVICE, find_message
from service.grpc.server import CODES as CODES_BY_STATUS
from service.grpc.server import CallServer
from service.keys import add_key
from service.metrics import Metrics
from service.reception import Reception
from service.routes import Handler, Route
from tests.conftest import ROOT, Serve
from tests.reliability.server import run_service
from tests.service.test_server import certificate  # noqa: F401  # a fixture
from tests.tensor_kind import ENDING, TABLE, add_tensor_version
from tests.versions import KIND, LABELS, add_version, plain_picture, run_graph

COLOUR = (200, 40, 10)
READING = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "RepositoryIndex")
CALLS = (*READING, "ModelInfer", "RepositoryModelLoad", "RepositoryModelUnload")
CODES = grpc.StatusCode
# The fields in which a message has the elements of the tensors' graph, by the name of the input.
FIELDS = {"numbers": "fp32_contents", "texts": "bytes_contents", "flags": "bool_contents", "index": "int64_contents"}
DATATYPES = {"numbers": "FP32", "texts": "BYTES", "flags": "BOOL", "index": "INT64"}


class Addresses(NamedTuple):
    """Where a server is."""

    http: str
    grpc: str


@pytest.fixture(scope="module")
def addresses(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A server of the colour classifier, of the tensors, and of a version that is refused."""
    root = tmp_path_factory.mktemp("models")
    add_version(root)
    add_version(root, golden_shift=0.5)
    add_tensor_version(root)
    port = free_port()
    environment = {
        "MODELYARD_MODELS": str(root),
        "MODELYARD_MAX_ITEMS": "8",
        "MODELYARD_MAX_BODY_BYTES": "1000000",
        "MODELYARD_GRPC_PORT": str(port),
    }
    with serve(environment=environment, service="tests.tensor_service:ModelService") as url:
        yield Addresses(url.removeprefix("http://"), f"127.0.0.1:{port}")


@pytest.fixture(scope="module")
def client(addresses: Addresses) -> Iterator[Any]:
    with triton.InferenceServerClient(addresses.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def http(addresses: Addresses) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(addresses.http) as client:
        yield client


@pytest.fixture(scope="module")
def stub(addresses: Addresses) -> Iterator[Any]:
    with grpc.insecure_channel(addresses.grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def pixels(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.stack([np.array(plain_picture(colour)) for colour in colours])


def send(name: str, array: NDArray[Any], datatype: str, module: Any = triton) -> Any:
    return module.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def image_input(*colours: tuple[int, int, int]) -> Any:
    return send("images", pixels(*colours), "UINT8")


def make_tensors(seed: int, rows: int = 3) -> tuple[dict[str, NDArray[Any]], dict[str, list[Any]]]:
    """Inputs of the tensors' graph, and what it has to answer."""
    generator = np.random.default_rng(seed)
    numbers = generator.integers(-100, 100, (rows, 2)).astype(np.float32) / 4
    texts = np.array([[f"{seed}.{row}", "ü" * int(generator.integers(4))] for row in range(rows)], object)
    flags = generator.integers(0, 2, (rows, 1)).astype(bool)
    index = generator.integers(0, len(TABLE), rows)
    expected = {
        "sum": numbers.sum(axis=1).tolist(),
        "words": [[text + ENDING for text in row] for row in texts.tolist()],
        "opposite": (~flags).tolist(),
        "entry": [TABLE[position] for position in index],
    }
    return {"index": index, "texts": texts, "flags": flags, "numbers": numbers}, expected


def typed_request(arrays: dict[str, NDArray[Any]], outputs: tuple[str, ...]) -> Any:
    """The tensors in the fields of their types, which Triton's client does not use."""
    request = service_pb2.ModelInferRequest(model_name="tensors", id="typed")
    for name, array in arrays.items():
        tensor = request.inputs.add(name=name, datatype=DATATYPES[name], shape=array.shape)
        elements = array.ravel().tolist()
        getattr(tensor.contents, FIELDS[name]).extend(
            [text.encode() for text in elements] if name == "texts" else elements
        )
    for name in outputs:
        request.outputs.add(name=name)
    return request


def read(result: Any, name: str) -> list[Any]:
    array = result.as_numpy(name)
    if array.dtype == object:
        array = np.vectorize(bytes.decode, otypes=[object])(array)
    values: list[Any] = array.tolist()
    return values


def refuse(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """The status and the detail with which a call fails."""
    try:
        call()
    except triton.InferenceServerException as error:
        return CODES[error.status().removeprefix("StatusCode.")], error.message()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("expected a failure")


def test_every_message_has_the_fields_of_triton_s_clients() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name[SERVICE.removeprefix(f"{PACKAGE}.")]
    seen: set[str] = set()

    def compare(ours: Any, theirs: Any) -> None:
        assert ours.full_name == theirs.full_name
        if ours.full_name in seen:
            return
        seen.add(ours.full_name)
        assert ours.GetOptions().map_entry == theirs.GetOptions().map_entry
        assert set(ours.fields_by_name) == set(theirs.fields_by_name), ours.full_name
        for name, field in ours.fields_by_name.items():
            other = theirs.fields_by_name[name]
            for attribute in ("number", "type", "is_repeated", "has_presence", "is_packed"):
                assert getattr(field, attribute) == getattr(other, attribute), (ours.full_name, name, attribute)
            one_of, expected = field.containing_oneof, other.containing_oneof
            assert (one_of and one_of.name) == (expected and expected.name)
            if field.message_type is not None:
                compare(field.message_type, other.message_type)

    for call in CALLS:
        method = theirs.methods_by_name[call]
        assert not method.client_streaming
        assert not method.server_streaming
        compare(find_message(f"{call}Request").DESCRIPTOR, method.input_type)
        compare(find_message(f"{call}Response").DESCRIPTOR, method.output_type)


def test_the_server_and_its_models_are_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(KIND)
    assert client.is_model_ready("tensors", "1")
    assert not client.is_model_ready("tensors", "2")
    assert not client.is_model_ready("tensors", "one")
    assert not client.is_model_ready("toaster")


def test_what_the_server_says_of_itself_and_its_models_is_what_http_says(client: Any, http: Any) -> None:
    server = client.get_server_metadata(as_json=True)
    assert server == http.get_server_metadata()
    for names in ((KIND,), ("tensors",), ("tensors", "1")):
        metadata, expected = client.get_model_metadata(*names, as_json=True), http.get_model_metadata(*names)
        for tensor in (*metadata["inputs"], *metadata["outputs"]):
            tensor["shape"] = [int(size) for size in tensor["shape"]]  # protobuf's JSON has them as texts
        assert metadata == expected
    index = client.get_model_repository_index(as_json=True)["models"]
    expected = http.get_model_repository_index()
    assert [{"reason": "", **entry} for entry in index] == expected


def test_the_index_can_be_of_those_alone_that_are_ready(stub: Any) -> None:
    answer = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True))
    assert [(model.name, model.version) for model in answer.models] == [(KIND, "1"), ("tensors", "1")]
    named = service_pb2.RepositoryIndexRequest(repository_name="other")
    assert refuse(lambda: stub.RepositoryIndex(named))[0] is CODES.INVALID_ARGUMENT


def test_a_graph_answers_as_it_does_alone_and_by_http(client: Any, http: Any) -> None:
    result = client.infer(KIND, [image_input(COLOUR, (0, 0, 255))], request_id="mine")
    probabilities = result.as_numpy("probabilities")
    assert probabilities[0].tolist() == run_graph(COLOUR)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", KIND, "1")
    by_http = http.infer(KIND, [send("images", pixels(COLOUR, (0, 0, 255)), "UINT8", tritonclient.http)])
    assert by_http.as_numpy("probabilities").tobytes() == probabilities.tobytes()


def test_several_inputs_texts_among_them_are_answered_as_by_http(client: Any, http: Any) -> None:
    arrays, expected = make_tensors(seed=1)
    result = client.infer("tensors", [send(name, array, DATATYPES[name]) for name, array in arrays.items()])
    assert {name: read(result, name) for name in expected} == expected
    assert [output.name for output in result.get_response().outputs] == [*expected, "halves"]
    inputs = [send(name, array, DATATYPES[name], tritonclient.http) for name, array in arrays.items()]
    by_http = http.infer("tensors", inputs, model_version="1")
    for name in (*expected, "halves"):
        assert np.array_equal(by_http.as_numpy(name), result.as_numpy(name)), name
        assert by_http.as_numpy(name).dtype == result.as_numpy(name).dtype


def test_only_the_outputs_come_that_are_asked_for(client: Any) -> None:
    arrays, expected = make_tensors(seed=2)
    inputs = [send(name, array, DATATYPES[name]) for name, array in arrays.items()]
    outputs = [triton.InferRequestedOutput(name) for name in ("words", "sum")]
    result = client.infer("tensors", inputs, outputs=outputs)
    assert [output.name for output in result.get_response().outputs] == ["words", "sum"]
    assert read(result, "words") == expected["words"]


def test_tensors_in_fields_of_their_types_are_answered_in_such_fields(stub: Any) -> None:
    arrays, expected = make_tensors(seed=3)
    for _ in range(2):  # the second time it is remembered what was asked
        response = stub.ModelInfer(typed_request(arrays, tuple(expected)))
        assert response.id == "typed"
        assert not response.raw_output_contents
        contents = {output.name: output.contents for output in response.outputs}
        assert list(contents["sum"].fp32_contents) == expected["sum"]
        assert list(contents["entry"].fp64_contents) == expected["entry"]
        assert list(contents["opposite"].bool_contents) == np.ravel(expected["opposite"]).tolist()
        words = [text.decode() for text in contents["words"].bytes_contents]
        assert words == np.ravel(np.array(expected["words"], object)).tolist()


def test_numbers_of_16_bits_come_as_bytes_and_all_others_with_them(stub: Any) -> None:
    arrays, expected = make_tensors(seed=4)
    response = stub.ModelInfer(typed_request(arrays, ("halves", "sum")))
    halves, sums = response.raw_output_contents
    assert np.frombuffer(halves, np.float16).reshape(3, 2).tolist() == arrays["numbers"].tolist()
    assert np.frombuffer(sums, np.float32).tolist() == expected["sum"]


def test_a_missing_number_is_nan_for_a_table_in_both_forms(client: Any, stub: Any) -> None:
    arrays, _ = make_tensors(seed=5, rows=1)
    arrays["numbers"] = np.array([[1, np.nan]], np.float32)
    inputs = [send(name, array, DATATYPES[name]) for name, array in arrays.items()]
    assert np.isnan(client.infer("tensors", inputs).as_numpy("sum")).all()
    assert np.isnan(stub.ModelInfer(typed_request(arrays, ("sum",))).outputs[0].contents.fp32_contents).all()


def test_classes_come_with_their_labels(client: Any) -> None:
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    result = client.infer(KIND, [image_input((255, 0, 0), (0, 0, 255))], outputs=[output])
    named = [[text.split(":")[1:] for text in row] for row in read(result, "probabilities")]
    assert [row[0] for row in named] == [["0", LABELS[0]], ["2", LABELS[2]]]


def test_a_large_request_has_the_same_answer_as_a_small_one(client: Any) -> None:
    arrays, expected = make_tensors(seed=6, rows=8)
    arrays["texts"] = np.array([[f"{row}" * 20_000, ""] for row in range(8)], object)
    inputs = [send(name, array, DATATYPES[name]) for name, array in arrays.items()]
    result = client.infer("tensors", inputs)
    assert read(result, "words") == [[text + ENDING for text in row] for row in arrays["texts"].tolist()]
    assert read(result, "entry") == expected["entry"]


def test_what_does_not_fit_the_graph_is_refused_by_name(client: Any) -> None:
    def ask(*inputs: Any, model: str = KIND, **options: Any) -> tuple[grpc.StatusCode, str]:
        return refuse(lambda: client.infer(model, list(inputs), **options))

    good, bad = image_input(COLOUR), CODES.INVALID_ARGUMENT
    assert ask(good, model="toaster")[0] is CODES.NOT_FOUND
    assert ask(good, model_version="2") == (CODES.NOT_FOUND, f"version 2 of {KIND} is not loaded, expected 1")
    assert ask(send("pictures", pixels(COLOUR), "UINT8")) == (bad, "inputs[0].name: 'pictures' is none of 'images'")
    assert ask(good, good) == (bad, "inputs[1].name: 'images' stands more than once")
    numbers = send("images", pixels(COLOUR).astype(np.float32), "FP32")
    assert ask(numbers) == (bad, "inputs[0].datatype: 'FP32', expected 'UINT8' for 'images'")
    flat = send("images", pixels(COLOUR).reshape(1, -1), "UINT8")
    assert ask(flat) == (bad, "inputs[0].shape: [1, 192], expected ['batch', 8, 8, 3] for 'images'")
    assert ask(image_input(*[COLOUR] * 9)) == (bad, "inputs[0].shape: 9 rows, expected at most 8")
    nothing = [triton.InferRequestedOutput("nothing")]
    assert ask(good, outputs=nothing) == (bad, "outputs[0].name: 'nothing' is none of 'probabilities'")
    assert ask(good, priority=1) == (bad, "parameters.priority: unknown, expected no such parameter")
    assert ask(good, timeout=1)[0] in (CODES.DEADLINE_EXCEEDED, CODES.UNAVAILABLE)
    index = send("index", np.array([0]), "INT64")
    assert ask(index, model="tensors")[1].startswith("inputs: 'numbers', 'texts', 'flags' missing")
    arrays, _ = make_tensors(seed=7)
    arrays["index"][1] = 99
    inputs = [send(name, array, DATATYPES[name]) for name, array in arrays.items()]
    assert ask(*inputs, model="tensors") == (bad, "inputs: values that are out of the graph's bounds")


def test_what_a_message_itself_has_wrong_is_refused_by_name(stub: Any, addresses: Addresses) -> None:
    def ask(change: Callable[[Any], object], *, is_raw: bool = True) -> str:
        request = service_pb2.ModelInferRequest(model_name=KIND)
        tensor = request.inputs.add(name="images", datatype="UINT8", shape=[1, 8, 8, 3])
        if is_raw:
            request.raw_input_contents.append(pixels(COLOUR).tobytes())
        else:
            tensor.contents.uint_contents.extend(pixels(COLOUR).ravel().tolist())
        change(request)
        code, detail = refuse(lambda: stub.ModelInfer(request))
        assert code is CODES.INVALID_ARGUMENT
        return detail

    def make_half(request: Any) -> None:
        request.inputs[0].datatype = "FP16"

    def make_int8(request: Any) -> None:
        request.inputs[0].datatype = "INT8"

    assert ask(lambda request: request.raw_input_contents.append(b"")) == (
        "raw_input_contents: 2 of them, expected one for each of the 1 inputs"
    )
    assert ask(lambda request: request.raw_input_contents.__setitem__(0, b"123")) == (
        "inputs[0]: 3 bytes in binary, expected 192 for UINT8[1, 8, 8, 3]"
    )
    assert ask(lambda request: request.inputs[0].contents.uint_contents.append(1)) == (
        "inputs[0].contents: expected none beside raw_input_contents"
    )
    assert ask(lambda request: request.inputs[0].contents.uint_contents.pop(), is_raw=False).startswith(
        "inputs[0].data: 191 elements, expected 192"
    )
    assert ask(lambda request: request.inputs[0].contents.uint_contents.__setitem__(5, 300), is_raw=False) == (
        "inputs[0].data: element 5 is 300, expected 0 to 255 for UINT8"
    )
    assert ask(make_half, is_raw=False) == "inputs[0].contents: has no field for FP16, expected raw_input_contents"
    assert ask(make_int8).startswith('inputs[0].datatype: "INT8" should be')
    with grpc.insecure_channel(addresses.grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        assert refuse(lambda: infer(b"\xff\xff\xff")) == (
            CODES.INVALID_ARGUMENT,
            "the message is no ModelInferRequest",
        )


def test_a_message_that_is_too_large_is_refused(client: Any) -> None:
    arrays, _ = make_tensors(seed=8)
    arrays["texts"][0, 0] = "x" * 1_000_001
    inputs = [send(name, array, DATATYPES[name]) for name, array in arrays.items()]
    assert refuse(lambda: client.infer("tensors", inputs))[0] is CODES.RESOURCE_EXHAUSTED


def test_what_is_not_served_is_unimplemented_and_what_nobody_may_is_denied(client: Any) -> None:
    assert refuse(lambda: client.get_model_config(KIND))[0] is CODES.UNIMPLEMENTED
    expected = (CODES.PERMISSION_DENIED, "this route is for administrators, and there are none")
    assert refuse(lambda: client.load_model(KIND)) == expected
    assert refuse(lambda: client.unload_model(KIND)) == expected


def test_a_call_has_an_id_which_comes_back_with_its_answer_and_its_failure(stub: Any) -> None:
    def ask(name: str, metadata: tuple[tuple[str, str], ...] = ()) -> str:
        request = service_pb2.ModelMetadataRequest(name=name)
        try:
            _, call = stub.ModelMetadata.with_call(request, metadata=metadata)
        except grpc.RpcError as error:
            call = error
        return str(dict(call.trailing_metadata())["x-request-id"])

    mine = (("x-request-id", "mine"),)
    assert (ask(KIND, mine), ask("toaster", mine)) == ("mine", "mine")
    assert ask(KIND) != ask(KIND) != ""


def test_a_time_that_has_passed_already_is_said_so(stub: Any) -> None:
    request = service_pb2.ModelInferRequest(model_name=KIND)
    request.inputs.add(name="images", datatype="UINT8", shape=[1, 8, 8, 3])
    request.raw_input_contents.append(pixels(COLOUR).tobytes())
    short, none = ((("x-request-timeout", text),) for text in ("0.000001", "0"))
    assert refuse(lambda: stub.ModelInfer(request, metadata=short))[0] in (CODES.DEADLINE_EXCEEDED, CODES.UNAVAILABLE)
    assert refuse(lambda: stub.ModelInfer(request, metadata=none))[0] is CODES.INVALID_ARGUMENT


def test_concurrent_clients_get_their_own_answers(addresses: Addresses) -> None:
    def ask(seed: int) -> None:
        arrays, expected = make_tensors(seed, 1 + seed % 5)
        inputs = [send(name, array, DATATYPES[name]) for name, array in arrays.items()]
        with triton.InferenceServerClient(addresses.grpc) as own:
            for step in range(5):
                result = own.infer("tensors", inputs, request_id=f"{seed}.{step}")
                assert result.get_response().id == f"{seed}.{step}"
                assert {name: read(result, name) for name in expected} == expected

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(ask, range(16)))


def test_calls_are_counted_as_requests_by_http_are(client: Any, addresses: Addresses) -> None:
    def count(name: str, labels: str) -> float:
        lines = httpx.get(f"http://{addresses.http}/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name}{{{labels}")).rpartition(" ")[2])

    def count_all() -> list[float]:
        model, route = f'model="{KIND}",version="1"', f'route="/{SERVICE}/ModelInfer",method="POST"'
        return [
            count("nv_inference_request_success", model),
            count("nv_inference_count", model),
            count("nv_inference_request_failure", f'{model},reason="OTHER"'),
            count("http_requests_total", f'{route},status="200"'),
            count("http_requests_total", f'{route},status="422"'),
        ]

    before = count_all()
    client.infer(KIND, [image_input(COLOUR, COLOUR)])
    refuse(lambda: client.infer(KIND, [image_input(*[COLOUR] * 9)]))
    assert np.subtract(count_all(), before).tolist() == [1, 2, 1, 1, 1]


def test_keys_limits_administration_and_certificates_are_those_of_http(
    models: Path,
    tmp_path: Path,
    certificate: tuple[Path, Path],  # noqa: F811
) -> None:
    file, port = tmp_path / "keys.json", free_port()
    predict, admin = add_key(file, "predicts", ["predict"]), add_key(file, "administers", ["admin"])
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_GRPC_PORT": str(port),
        "MODELYARD_KEYS": str(file),
        "MODELYARD_STATE": str(tmp_path / "state"),
        "MODELYARD_RATE_LIMIT_PER_SECOND": "0.02",
        "MODELYARD_RATE_LIMIT_BURST": "4",
        "MODELYARD_TLS_CERTIFICATE": str(certificate[0]),
        "MODELYARD_TLS_KEY": str(certificate[1]),
    }

    def is_ready(port_of_http: int) -> bool:
        try:
            return httpx.get(f"https://127.0.0.1:{port_of_http}/readyz", verify=False).status_code == 200
        except httpx.HTTPError:
            return False

    with (
        run_service(tmp_path, environment, is_ready=is_ready),
        triton.InferenceServerClient(f"127.0.0.1:{port}", ssl=True, root_certificates=str(certificate[0])) as client,
    ):

        def ask(call: Callable[..., object], *arguments: object, **headers: str) -> grpc.StatusCode:
            try:
                call(*arguments, headers={name.replace("_", "-"): value for name, value in headers.items()})
            except triton.InferenceServerException as error:
                return CODES[error.status().removeprefix("StatusCode.")]
            return CODES.OK

        assert client.is_server_live()
        assert client.is_server_ready()
        images = [image_input(COLOUR)]
        assert ask(client.infer, KIND, images) is CODES.UNAUTHENTICATED
        assert ask(client.infer, KIND, images, x_api_key="modelyard_guess") is CODES.UNAUTHENTICATED
        assert ask(client.infer, KIND, images, authorization=f"Bearer {predict}") is CODES.OK
        assert ask(client.infer, KIND, images, x_api_key=predict) is CODES.OK
        assert ask(client.infer, KIND, images, x_api_key=admin) is CODES.PERMISSION_DENIED
        assert ask(client.unload_model, KIND, x_api_key=predict) is CODES.PERMISSION_DENIED
        assert ask(client.unload_model, KIND, x_api_key=admin) is CODES.OK
        assert ask(client.infer, KIND, images, x_api_key=predict) is CODES.NOT_FOUND
        assert ask(client.load_model, KIND, x_api_key=admin) is CODES.OK
        assert ask(client.load_model, "toaster", x_api_key=admin) is CODES.NOT_FOUND
        assert ask(client.infer, KIND, images, x_api_key=predict) is CODES.RESOURCE_EXHAUSTED
        assert client.is_server_ready()


def test_it_drains_with_http_and_no_call_is_lost_meanwhile(models: Path, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_GRPC_PORT": str(port),
        "MODELYARD_WORKERS": "2",
        "MODELYARD_DRAIN_SECONDS": "1.5",
        "MODELYARD_LOG_LEVEL": "WARNING",
    }
    options = [("grpc.use_local_subchannel_pool", 1)]  # each client has a connection of its own
    stopped = threading.Event()

    def ask(_: int) -> tuple[int, set[bool], list[tuple[grpc.StatusCode, str]]]:
        answered, readiness, failures = 0, set(), []
        images = [image_input(COLOUR)]
        with triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=options) as client:
            while not stopped.is_set():
                try:
                    readiness.add(client.is_server_ready())
                    client.infer(KIND, images)
                    answered += 1
                except triton.InferenceServerException as error:
                    failures.append((CODES[error.status().removeprefix("StatusCode.")], error.message()))
                    return answered, readiness, failures
        return answered, readiness, failures

    with run_service(tmp_path, environment) as service, ThreadPoolExecutor(6) as clients:
        outcomes = [clients.submit(ask, number) for number in range(6)]
        time.sleep(1)
        told = time.monotonic()
        os.kill(service.process.pid, signal.SIGTERM)
        results = [outcome.result(30) for outcome in outcomes]
        assert time.monotonic() - told > 1.5
        stopped.set()
        assert service.process.wait(30) == 0, service.text()
        assert "Traceback" not in service.text()
    for answered, readiness, failures in results:
        assert answered > 0
        assert readiness == {True, False}  # whichever worker it asked
        assert [code for code, _ in failures] == [CODES.UNAVAILABLE], failures


def test_without_the_setting_there_is_no_port_and_nothing_of_grpc_is_loaded(models: Path, tmp_path: Path) -> None:
    with run_service(tmp_path, {"MODELYARD_MODELS": str(models)}) as service:
        httpx.post(f"http://127.0.0.1:{service.port}/v2/models/{KIND}/infer", json={})
        for pid in service.workers():
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "onnxruntime" in maps
            assert "cygrpc" not in maps
            sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            listening = {line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}
            assert {int(address.rpartition(":")[2], 16) for address in listening} == {service.port}
    script = "import sys, service.app, service.preflight; print({'grpc', 'google.protobuf'} & {*sys.modules})"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml")},
    )
    assert finished.stdout == "set()\n"


def test_a_port_that_is_taken_or_a_missing_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    check_grpc(Settings())
    port = free_port()
    check_grpc(Settings(grpc_port=port))
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(SettingsError, match=f"MODELYARD_GRPC_PORT='{port}': cannot listen at 127"),
    ):
        check_grpc(Settings(grpc_port=port))
    monkeypatch.setattr("service.grpc.extra.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs the extra: pip install 'modelyard\[grpc\]'"):
        check_grpc(Settings(grpc_port=port))


@asynccontextmanager
async def serve_call(
    handler: Handler, metrics: Metrics, deadline_seconds: float = 30, *, streaming: bool = False
) -> AsyncIterator[Any]:
    """A server in this process whose one call is answered by ``handler``: yields the server, and what calls it."""
    route = Route(f"/{SERVICE}/ModelInfer", {"POST": handler})
    settings = Settings(grpc_port=free_port(), deadline_seconds=deadline_seconds)
    reception = Reception(settings, None, Attendance())
    server = CallServer(settings, {"ModelInfer": route}, None, reception, metrics, lambda sent: "id")
    await server.open()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc_port}") as channel:
            yield server, (channel.stream_unary if streaming else channel.unary_unary)(route.name)
    finally:
        await server.close(0)


async def fail(call: Awaitable[bytes]) -> tuple[grpc.StatusCode, str]:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("expected a failure")


def count_statuses(metrics: Metrics) -> dict[str, int]:
    pattern = re.compile(r'^http_requests_total\{.*status="(\d+)"\} (\d+)', re.MULTILINE)
    return {status: int(count) for status, count in pattern.findall(metrics.render().decode())}


def test_what_takes_too_long_or_is_given_up_is_ended() -> None:
    ended: list[bool] = []

    async def wait(exchange: Exchange) -> Answer:
        try:
            await asyncio.sleep(20)
        finally:
            ended.append(exchange.is_late)
        raise AssertionError

    async def wait_until(count: int, metrics: Metrics) -> None:
        async with asyncio.timeout(10):
            while sum(count_statuses(metrics).values()) < count:  # noqa: ASYNC110  # it says so by being counted
                await asyncio.sleep(0.01)

    async def check() -> None:
        metrics = Metrics()
        async with serve_call(wait, metrics, deadline_seconds=0.2) as (_, call):
            code, detail = await fail(call(b""))
            assert (code, detail) == (CODES.DEADLINE_EXCEEDED, "no answer within 0.2 seconds")
        assert (ended, count_statuses(metrics)) == ([True], {"504": 1})
        async with serve_call(wait, metrics) as (_, call):
            assert (await fail(call(b"", timeout=0.3)))[0] is CODES.DEADLINE_EXCEEDED
            await wait_until(2, metrics)
            assert (ended, count_statuses(metrics)) == ([True, True], {"504": 2})
            given_up = call(b"")
            await asyncio.sleep(0.3)
            given_up.cancel()
            await wait_until(3, metrics)
        assert (ended, count_statuses(metrics)) == ([True, True, False], {"504": 2, "499": 1})

    asyncio.run(check())


def test_a_message_is_read_when_it_is_wanted_and_not_waited_for_for_ever() -> None:
    async def echo(exchange: Exchange) -> Answer:
        return Answer(200, b"", (await exchange.receive())["body"])

    async def refuse_unread(_: Exchange) -> Answer:
        raise TooLargeError("not read")

    async def check() -> None:
        async with serve_call(echo, Metrics(), deadline_seconds=0.3) as (_, call):
            assert await call(b"message") == b"message"
        async with serve_call(echo, Metrics(), deadline_seconds=0.3, streaming=True) as (_, call):
            assert (await fail(call()))[0] is CODES.DEADLINE_EXCEEDED
            assert await fail(call(iter(()))) == (CODES.INVALID_ARGUMENT, "the call has no message")
        async with serve_call(refuse_unread, Metrics()) as (_, call):
            assert await fail(call(bytes(5_000_000))) == (CODES.RESOURCE_EXHAUSTED, "not read")

    asyncio.run(check())


def test_a_failure_has_the_code_that_stands_for_its_status() -> None:
    failures: list[Exception] = [
        OverloadedError("over capacity", retry_after_seconds=2.5),
        UnprocessableError([("text", "ü" * 10_000)]),
        ZeroDivisionError("of no concern to clients"),
        *(error("so it is") for error in (BadBodyError, NotFoundError, ConflictError, TooLargeError)),
    ]

    async def raise_next(_: Exchange) -> Answer:
        raise failures.pop(0)

    async def check() -> None:
        async with serve_call(raise_next, Metrics()) as (_, call):
            overloaded = call(b"")
            assert await fail(overloaded) == (CODES.UNAVAILABLE, "over capacity")
            assert dict(await overloaded.trailing_metadata())["retry-after"] == "3"
            code, detail = await fail(call(b""))
            assert (code, detail) == (CODES.INVALID_ARGUMENT, "text: " + "ü" * 997)
            code, detail = await fail(call(b""))
            assert (code, "concern" in detail) == (CODES.INTERNAL, False)
            codes = [(await fail(call(b"")))[0] for _ in range(4)]
            assert codes == [
                CODES.INVALID_ARGUMENT,
                CODES.NOT_FOUND,
                CODES.FAILED_PRECONDITION,
                CODES.RESOURCE_EXHAUSTED,
            ]

    asyncio.run(check())


def test_every_failure_has_a_code_but_those_of_methods_and_media_types_which_calls_have_not() -> None:
    statuses = {error.status for error in RequestError.__subclasses__()}
    assert set(CODES_BY_STATUS) == statuses - {405, 415}


def test_calls_that_have_begun_are_finished_when_the_server_closes() -> None:
    async def answer(_: Exchange) -> Answer:
        await asyncio.sleep(0.5)
        return Answer(200, b"", b"done")

    async def check() -> None:
        async with serve_call(answer, Metrics()) as (server, call):
            begun = [call(b"") for _ in range(5)]
            await asyncio.sleep(0.2)
            closing = asyncio.create_task(server.close(10))
            await asyncio.sleep(0)
            assert await fail(call(b"")) == (CODES.UNAVAILABLE, "draining: the service is about to stop")
            assert [await each for each in begun] == [b"done"] * 5
            await closing
            assert (await fail(call(b"")))[0] is CODES.UNAVAILABLE

    asyncio.run(check())
