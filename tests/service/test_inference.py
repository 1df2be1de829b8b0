"""A body becomes the rows that it says, or a problem that names what does not fit; results become the answer."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Column, TablePreprocessing
from models.manifest import DType, Manifest, TensorSpec
from service.errors import BadBodyError, RequestError, UnprocessableError
from service.inference import InferenceFormat
from tests.versions import LABELS, make_manifest

MAX_ROWS = 4


def spec(name: str, dtype: DType, *sizes: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("batch", *sizes))


def manifest_of(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, table: bool = False) -> Manifest:
    changes: dict[str, Any] = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
    if table:
        column, target = Column(name="x", type="number"), Column(name="y", type="boolean", categories=("No", "Yes"))
        changes["preprocessing"] = TablePreprocessing(columns=(column,), target=target, target_shares=(0.5, 0.5))
    return make_manifest(3, LABELS).model_copy(update=changes)


MANIFEST = manifest_of(
    [
        spec("numbers", "float32", 2),
        spec("texts", "string"),
        spec("half", "float16", "width"),
        spec("pair", "bool", "width"),
    ],
    [
        spec("probabilities", "float32", 3),
        spec("halves", "float16", 1),
        spec("words", "string"),
        spec("count", "int64"),
    ],
)
ONE = manifest_of([spec("pixels", "uint8", 2, 2)], [spec("probabilities", "float32", 3)])


def tensors(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Good inputs for MANIFEST, two rows of them, with changes by name."""
    half = np.array([[1, 2, 3], [4, 5, 6]], np.float16).tobytes()
    inputs: list[dict[str, Any]] = [
        {"name": "numbers", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4.5]},
        {"name": "texts", "datatype": "BYTES", "shape": [2], "data": ["a", "ü"]},
        {"name": "half", "datatype": "FP16", "shape": [2, 3], "parameters": {"binary_data_size": len(half)}},
        {"name": "pair", "datatype": "BOOL", "shape": [2, 3], "data": [[True, False, True], [False, False, True]]},
    ]
    return [{**entry, **changes.get(entry["name"], {})} for entry in inputs]


HALF = np.array([[1, 2, 3], [4, 5, 6]], np.float16).tobytes()
BINARY = {"parameters": {"binary_data_output": True}}


def read(document: object, binary: bytes = b"", manifest: Manifest = MANIFEST) -> Any:
    header = json.dumps(document).encode()
    return InferenceFormat(manifest, MAX_ROWS).read(header + binary, len(header))


def refusal(document: object, binary: bytes = b"", manifest: Manifest = MANIFEST) -> str:
    with pytest.raises(UnprocessableError) as caught:
        read(document, binary, manifest)
    return caught.value.detail


def test_inputs_in_any_order_and_both_encodings_become_rows_in_the_order_of_the_graph() -> None:
    inference = read({"id": "7", "inputs": tensors()[::-1], **BINARY}, HALF)
    assert inference.id == "7"
    assert [[np.asarray(value).tolist() for value in row] for row in inference.rows] == [
        [[1, 2], "a", [1, 2, 3], [True, False, True]],
        [[3, 4.5], "ü", [4, 5, 6], [False, False, True]],
    ]
    assert [output.spec.name for output in inference.outputs] == ["probabilities", "halves", "words", "count"]


def test_binary_tensors_follow_each_other_in_the_order_of_the_request() -> None:
    numbers = np.array([[1, 2], [3, 4]], np.float32).tobytes()
    inputs = tensors(numbers={"data": None, "parameters": {"binary_data_size": 16}})
    forward = read({"inputs": inputs, **BINARY}, numbers + HALF)
    backward = read({"inputs": inputs[::-1], **BINARY}, HALF + numbers)
    for inference in (forward, backward):
        assert inference.rows[1][0].tolist() == [3, 4]
        assert inference.rows[1][2].tolist() == [4, 5, 6]


def test_the_same_json_before_other_bytes_brings_other_rows() -> None:
    graph = InferenceFormat(ONE, MAX_ROWS)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2], "parameters": {"binary_data_size": 4}}
    header = json.dumps({"inputs": [tensor]}).encode()
    for _ in range(2):
        for pixels in ([[1, 2], [3, 4]], [[5, 6], [7, 8]]):
            rows = graph.read(header + np.array(pixels, np.uint8).tobytes(), len(header)).rows
            assert [row[0].tolist() for row in rows] == [pixels]
        with pytest.raises(UnprocessableError, match="3 bytes behind the JSON, expected 4"):
            graph.read(header + b"123", len(header))


def test_a_body_that_is_nothing_but_the_only_input_is_as_many_rows_as_it_has_room_for() -> None:
    raw = InferenceFormat(ONE, MAX_ROWS)
    inference = raw.read(bytes(range(12)), 0)
    assert [row[0].tolist() for row in inference.rows] == [
        [[0, 1], [2, 3]],
        [[4, 5], [6, 7]],
        [[8, 9], [10, 11]],
    ]
    assert all(output.binary for output in inference.outputs)
    for size in (0, 3, 13):
        with pytest.raises(UnprocessableError, match=f"{size} bytes, expected"):
            raw.read(bytes(size), 0)
    with pytest.raises(UnprocessableError, match="5 rows, expected at most 4"):
        raw.read(bytes(20), 0)
    with pytest.raises(BadBodyError, match="inputs cannot be told"):
        InferenceFormat(MANIFEST, MAX_ROWS).read(bytes(20), 0)


def test_a_body_that_is_not_json_or_shorter_than_its_header_says_is_no_body() -> None:
    for content, header_bytes in ((b"{", None), (b"", None), (b"[" * 2000, None), (b"{}", 3), (b"{}\xff", 3)):
        with pytest.raises(BadBodyError):
            InferenceFormat(ONE, MAX_ROWS).read(content, header_bytes)
    with pytest.raises(BadBodyError, match="not JSON"):
        InferenceFormat(ONE, MAX_ROWS).read(b'{"inputs": [NaN]}', None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers": {"name": "digits"}}, "inputs[0].name: 'digits' is none of 'numbers', 'texts', 'half', 'pair'"),
        ({"texts": {"name": "numbers"}}, "inputs[1].name: 'numbers' stands more than once"),
        ({"numbers": {"datatype": "FP64"}}, "inputs[0].datatype: 'FP64', expected 'FP32' for 'numbers'"),
        ({"numbers": {"shape": [2, 3]}}, "inputs[0].shape: [2, 3], expected [2, 2] for 'numbers'"),
        ({"numbers": {"shape": [4]}}, "inputs[0].shape: [4], expected ['batch', 2] for 'numbers'"),
        ({"texts": {"shape": [1]}}, "inputs[1].shape: [1], expected [2] for 'texts'"),
        ({"pair": {"shape": [2, 2]}}, "inputs[3].shape: [2, 2], expected [2, 3] for 'pair'"),
        ({"numbers": {"shape": [5, 2]}}, "inputs[0].shape: 5 rows, expected at most 4"),
        ({"numbers": {"data": [1, 2, 3]}}, "inputs[0].data: 3 elements, expected 4 for the shape [2, 2]"),
        ({"numbers": {"data": None}}, "inputs[0]: expected either data or parameters.binary_data_size"),
        ({"half": {"data": [1]}}, "inputs[2]: expected either data or parameters.binary_data_size"),
        (
            {"half": {"parameters": {"binary_data_size": 13}}},
            "inputs[2]: 13 bytes in binary, expected 12 for FP16[2, 3]",
        ),
        (
            {"texts": {"parameters": {"binary_data_size": 10}, "data": None}},
            "body: 12 bytes behind the JSON, expected 22 by binary_data_size",
        ),
        ({"numbers": {"shape": [0, 2]}}, "inputs[0].shape[0]: 0 should be greater than or equal to 1"),
        ({"numbers": {"shape": [2.0, 2]}}, "inputs[0].shape[0]: 2.0 should be a valid integer"),
        ({"numbers": {"datatype": "FLOAT"}}, "inputs[0].datatype: \"FLOAT\" should be 'BOOL', 'UINT8'"),
        (
            {"numbers": {"parameters": {"shared_memory_region": "x"}}},
            "inputs[0].parameters.shared_memory_region: unknown, expected no such field",
        ),
    ],
)
def test_an_input_that_does_not_fit_is_named(change: dict[str, dict[str, Any]], message: str) -> None:
    assert message in refusal({"inputs": tensors(**change), **BINARY}, HALF)


def test_float16_is_refused_in_json() -> None:
    inputs = tensors(half={"parameters": {}, "data": [1] * 6})
    assert "inputs[2].data: FP16 in JSON, expected it in binary" in refusal({"inputs": inputs, **BINARY})


def test_inputs_that_are_missing_and_bytes_that_are_left_are_named() -> None:
    inputs = tensors()
    document = {"inputs": inputs[:2], **BINARY}
    assert refusal(document) == "inputs: 'half', 'pair' missing, expected 'numbers', 'texts', 'half', 'pair'"
    assert (
        refusal({"inputs": inputs, **BINARY}, HALF + b"!!")
        == "body: 14 bytes behind the JSON, expected 12 by binary_data_size"
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "inputs: missing"),
        ({"inputs": []}, "inputs: []: List should have at least 1 item"),
        ([], "body: "),
        ({"inputs": tensors(), "id": 7}, "id: 7 should be a valid string"),
        ({"inputs": tensors(), "priority": 1}, "priority: unknown"),
        ({"inputs": tensors(), "parameters": {"sequence_id": 1}}, "parameters.sequence_id: unknown"),
        ({"inputs": tensors(), "parameters": {"timeout": -1}}, "parameters.timeout: -1 should be"),
        (
            {"inputs": tensors(), "outputs": [{"name": "x"}]},
            "outputs[0].name: 'x' is none of 'probabilities', 'halves'",
        ),
        ({"inputs": tensors(), "outputs": [{"name": "count"}] * 2}, "outputs[1].name: 'count' stands more than once"),
        ({"inputs": tensors()}, "outputs[1]: 'halves' is FP16, which JSON cannot hold: expected binary_data"),
        (
            {"inputs": tensors(), "outputs": [{"name": "probabilities", "parameters": {"classification": 4}}]},
            "outputs[0].parameters.classification: 4, expected 1 to 3",
        ),
        (
            {"inputs": tensors(), "outputs": [{"name": "count", "parameters": {"classification": 1}}]},
            "outputs[0].parameters.classification: 'count' has no classes",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_name(document: object, message: str) -> None:
    assert message in refusal(document, HALF)


def test_a_missing_value_is_nan_for_a_table_and_nothing_for_another_kind() -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, None]}]
    graph = [spec("x", "float32", 2)]
    inference = read({"inputs": inputs}, manifest=manifest_of(graph, graph, table=True))
    assert np.isnan(inference.rows[0][0]).tolist() == [False, True]
    assert "element 1 is null" in refusal({"inputs": inputs}, manifest=manifest_of(graph, graph))


RESULTS: list[Any] = [
    (np.array([0.25, 0.5, 0.25], np.float32), np.array([1.5], np.float16), "eins", np.int64(1)),
    (np.array([0.1, 0.2, 0.7], np.float32), np.array([2.5], np.float16), "zwei", np.int64(-2)),
]


def answer(document: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    inference = read({"inputs": tensors(), **document}, HALF)
    content, header_bytes = InferenceFormat(MANIFEST, MAX_ROWS).write(inference, RESULTS)
    return orjson.loads(content[:header_bytes]), b"" if header_bytes is None else content[header_bytes:]


def test_outputs_are_answered_as_each_is_asked_for() -> None:
    document, binary = answer(
        {
            "id": "",
            "parameters": {"binary_data_output": True},
            "outputs": [
                {"name": "words"},
                {"name": "probabilities", "parameters": {"binary_data": False}},
                {"name": "halves"},
            ],
        }
    )
    assert document == {
        "model_name": "image_classifier",
        "model_version": "3",
        "id": "",
        "outputs": [
            {"name": "words", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 16}},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 3], "data": [0.25, 0.5, 0.25, 0.1, 0.2, 0.7]},
            {"name": "halves", "datatype": "FP16", "shape": [2, 1], "parameters": {"binary_data_size": 4}},
        ],
    }
    assert binary == b"\4\0\0\0eins\4\0\0\0zwei" + np.array([1.5, 2.5], np.float16).tobytes()


def test_an_answer_without_binary_tensors_is_json_alone() -> None:
    document, binary = answer({"outputs": [{"name": "count"}, {"name": "words"}]})
    assert [output["data"] for output in document["outputs"]] == [[1, -2], ["eins", "zwei"]]
    assert "id" not in document
    assert binary == b""


def test_classification_names_the_highest_values_and_the_first_of_equals() -> None:
    document, _ = answer({"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]})
    assert document["outputs"] == [
        {
            "name": "probabilities",
            "datatype": "BYTES",
            "shape": [2, 2],
            "data": ["0.500000:1:green", "0.250000:0:red", "0.700000:2:blue", "0.200000:1:green"],
        }
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "classification"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@st.composite
def damaged_requests(draw: st.DrawFn) -> tuple[bytes, int | None]:
    """A good body with a member or a few bytes replaced, and any length of its JSON."""
    document = copy.deepcopy({"id": "1", "inputs": tensors(), "outputs": [{"name": "probabilities"}], **BINARY})
    place: Any = document
    while isinstance(place, dict | list) and place:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if draw(st.booleans()):
            place[key] = draw(values)
            break
        place = place[key]
    header = json.dumps(document).encode()
    body = bytearray(header + HALF)
    if draw(st.booleans()):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 9))] = draw(st.binary(max_size=9))
    return bytes(body), draw(st.sampled_from([None, 0, len(header), len(header) - 1, len(body), len(body) + 1]))


@settings(max_examples=300, deadline=None)
@given(request=damaged_requests(), manifest=st.sampled_from([MANIFEST, ONE]))
def test_any_body_is_rows_or_a_problem(request: tuple[bytes, int | None], manifest: Manifest) -> None:
    try:
        inference = InferenceFormat(manifest, MAX_ROWS).read(*request)
    except RequestError as error:
        orjson.loads(error.to_json(""))
    else:
        assert 1 <= len(inference.rows) <= MAX_ROWS
        assert {len(row) for row in inference.rows} == {len(manifest.inputs)}
