"""Tensors come through both encodings as they were sent, and nothing that is no tensor comes through either."""

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.utils import (  # type: ignore[import-untyped]
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
)

from models.manifest import DType
from service.errors import RequestError, UnprocessableError
from service.tensors import DATATYPES, read_binary, read_json, stack, write_binary, write_json

NUMBERS: list[DType] = [dtype for dtype in DATATYPES if dtype != "string"]
TEXTS = ["", "a", "grün 🌲", "nul\0inside", "x" * 300, "\n"]


def example(dtype: DType, shape: tuple[int, ...] = (2, 3)) -> NDArray[Any]:
    """A tensor of every extreme that the dtype has."""
    count = math.prod(shape)
    if dtype == "string":
        return np.array(TEXTS[:count], object).reshape(shape)
    if dtype == "bool":
        return np.resize(np.array([True, False, False]), shape)
    limits = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    return np.resize(np.array([limits.min, limits.max, 0, 1], dtype), shape)


def refusal(content: bytes, dtype: DType, shape: list[int], *, takes_nan: bool = False) -> str:
    with pytest.raises(UnprocessableError) as caught:
        read_binary(memoryview(content), dtype, shape, "inputs[0]", takes_nan=takes_nan)
    assert caught.value.problems[0][0] == "inputs[0]"
    return caught.value.problems[0][1]


def json_refusal(data: object, dtype: DType, shape: list[int], *, takes_nan: bool = False) -> str:
    with pytest.raises(UnprocessableError) as caught:
        read_json(data, dtype, shape, "inputs[0].data", takes_nan=takes_nan)
    assert caught.value.problems[0][0] == "inputs[0].data"
    return caught.value.problems[0][1]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_are_the_same_after_writing_and_reading_their_bytes(dtype: DType) -> None:
    array = example(dtype)
    content = write_binary(array)
    assert content == array.tobytes()
    read = read_binary(memoryview(content), dtype, [2, 3], "x", takes_nan=False)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_datatype_has_the_name_that_the_protocol_s_client_has_for_it(dtype: DType) -> None:
    assert DATATYPES[dtype] == np_to_triton_dtype(np.dtype(dtype))


def test_numbers_are_read_without_a_copy_from_wherever_they_stand() -> None:
    content = b"odd" + np.arange(6, dtype=np.float32).tobytes()
    read = read_binary(memoryview(content)[3:], "float32", [6], "x", takes_nan=False)
    assert np.shares_memory(read, np.frombuffer(content, np.uint8))
    assert read.tolist() == [0, 1, 2, 3, 4, 5]


def test_texts_are_written_and_read_as_the_protocol_s_client_does() -> None:
    array = example("string")
    content = write_binary(array)
    assert content == serialize_byte_tensor(array).item()
    assert [text.decode() for text in deserialize_bytes_tensor(content)] == TEXTS
    read = read_binary(memoryview(content), "string", [2, 3], "x", takes_nan=False)
    assert read.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [dtype for dtype in DATATYPES if dtype != "float16"])
def test_tensors_are_the_same_after_json_flat_and_nested(dtype: DType) -> None:
    array = example(dtype)
    flat = orjson.loads(orjson.dumps(write_json(array), option=orjson.OPT_SERIALIZE_NUMPY))
    nested = orjson.loads(json.dumps(array.tolist()))
    for data in (flat, nested):
        read = read_json(data, dtype, [2, 3], "x", takes_nan=False)
        assert read.dtype == array.dtype
        assert read.tolist() == array.tolist()


def test_rows_of_numbers_of_texts_and_of_single_values_become_one_tensor() -> None:
    numbers = stack([np.array([1, 2], np.float32), np.array([3, 4], np.float32)], "float32")
    assert numbers.dtype == np.float32
    assert numbers.tolist() == [[1, 2], [3, 4]]
    texts = stack([np.array(["a", "b"], object)], "string")
    assert texts.dtype == object
    assert texts.tolist() == [["a", "b"]]
    assert stack(["one", "two"], "string").tolist() == ["one", "two"]
    assert stack([np.int64(7)], "int64").tolist() == [7]


def test_what_is_not_finite_is_null_in_json() -> None:
    array = np.array([1.5, np.nan, -np.inf], np.float32)
    assert orjson.dumps(write_json(array), option=orjson.OPT_SERIALIZE_NUMPY) == b"[1.5,null,null]"


def test_a_tensor_that_lies_in_another_order_is_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert orjson.dumps(write_json(array), option=orjson.OPT_SERIALIZE_NUMPY) == b"[0.0,3.0,1.0,4.0,2.0,5.0]"
    assert np.frombuffer(write_binary(array), np.float32).tolist() == [0, 3, 1, 4, 2, 5]


def test_bytes_of_another_size_are_refused_with_both_sizes() -> None:
    assert refusal(b"\0" * 11, "float32", [1, 3]) == "11 bytes, expected 12 for FP32[1, 3]"
    assert refusal(b"", "uint8", [1]) == "0 bytes, expected 1 for UINT8[1]"


def test_a_truth_value_is_0_or_1() -> None:
    assert refusal(b"\0\1\2", "bool", [3]) == "byte 2 is 2, expected 0 or 1 for BOOL"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_infinity_is_refused_everywhere_and_nan_where_it_has_no_meaning(dtype: DType) -> None:
    content = np.array([0, np.nan, np.inf], dtype).tobytes()
    assert refusal(content, dtype, [3]) == "element 1 is nan, expected a finite number"
    assert refusal(content, dtype, [3], takes_nan=True) == "element 2 is inf, expected a finite number"
    missing = memoryview(content[: len(content) // 3 * 2])
    assert np.isnan(read_binary(missing, dtype, [2], "x", takes_nan=True)[1])


def test_null_is_nan_where_that_has_a_meaning() -> None:
    assert np.isnan(read_json([1, None], "float32", [2], "x", takes_nan=True)).tolist() == [False, True]
    assert json_refusal([1, None], "float32", [2]) == "element 1 is null, which FP32 cannot hold"
    assert json_refusal([1, None], "int64", [2], takes_nan=True) == "element 1 is null, which INT64 cannot hold"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\1\0\0", "3 bytes, which are too few for 1 texts"),
        (b"\2\0\0\0a", "element 0 ends at byte 6 of 5"),
        (b"\xff\xff\xff\xffa", "element 0 ends at byte 4,294,967,299 of 5"),
        (b"\1\0\0\0ab", "6 bytes, of which the 1 texts take 5"),
        (b"\1\0\0\0\xff", "element 0 is not UTF-8: invalid start byte"),
        (b"\3\0\0\0\xed\xa0\x80", "element 0 is not UTF-8: invalid continuation byte"),
    ],
)
def test_texts_that_are_cut_off_too_long_or_not_utf8_are_refused(content: bytes, message: str) -> None:
    assert refusal(content, "string", [1]) == message


@pytest.mark.parametrize(
    ("data", "dtype", "message"),
    [
        ([1, 2, 300], "uint8", "element 2 is 300, expected 0 to 255 for UINT8"),
        ([1, -1, 2], "uint8", "element 1 is -1, expected 0 to 255 for UINT8"),
        ([2**63, 0, 0], "int64", f"element 0 is {2**63}, expected {-(2**63)} to {2**63 - 1} for INT64"),
        ([1, 2, 2.5], "int32", "element 2 is a number with a fraction, which INT32 cannot hold"),
        ([1, True, 2], "int64", "element 1 is a truth value, which INT64 cannot hold"),
        ([True, 0, 1], "bool", "element 1 is an integer, which BOOL cannot hold"),
        (["a", 1, "b"], "string", "element 1 is an integer, which BYTES cannot hold"),
        ([1, "2", 3], "float32", "element 1 is a text, which FP32 cannot hold"),
        ([1, {}, 3], "float64", "element 1 is an object, which FP64 cannot hold"),
        ([0, 1e39, 0], "float32", "element 1 is inf, expected a finite number"),
        ([1, 2], "float32", "2 elements, expected 3 for the shape [3]"),
        ([1, [2], 3], "float32", "element 1 is a list, which FP32 cannot hold"),
        ([[1, 2, 3]], "float32", "the lists in lists are not of the shape [3]"),
        ([1, 2, 3], "float16", "FP16 in JSON, expected it in binary: JSON has no such numbers"),
        ("abc", "string", "expected a list of the elements"),
        ({}, "float32", "expected a list of the elements"),
    ],
)
def test_json_that_is_no_such_tensor_is_refused(data: object, dtype: DType, message: str) -> None:
    assert json_refusal(data, dtype, [3]) == message


@pytest.mark.parametrize("data", [[[1, 2], [3]], [[1, 2], 3], [[1, 2, 3], [4]], [[1, 2]], [[[1], 2], [3, 4]], [[], []]])
def test_ragged_lists_are_refused(data: object) -> None:
    json_refusal(data, "int32", [2, 2])


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
dtypes = st.sampled_from(sorted(DATATYPES))
scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(width=64) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=64), dtype=dtypes, shape=shapes, takes_nan=st.booleans())
def test_any_bytes_are_such_a_tensor_or_refused(
    content: bytes, dtype: DType, shape: list[int], takes_nan: bool
) -> None:
    try:
        array = read_binary(memoryview(content), dtype, shape, "x", takes_nan=takes_nan)
    except RequestError as error:
        described = error.detail
    else:
        described = "x: "
        assert array.shape == tuple(shape)
        assert write_binary(array) == content
    assert described.startswith("x: ")


@settings(max_examples=200, deadline=None)
@given(data=values | st.lists(scalars, max_size=16), dtype=dtypes, shape=shapes, takes_nan=st.booleans())
def test_any_json_is_such_a_tensor_or_refused(data: Any, dtype: DType, shape: list[int], takes_nan: bool) -> None:
    try:
        array = read_json(data, dtype, shape, "x", takes_nan=takes_nan)
    except RequestError as error:
        described = error.detail
    else:
        described = "x: "
        assert array.shape == tuple(shape)
    assert described.startswith("x: ")


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text(max_size=20), min_size=1, max_size=8), cut=st.integers(0, 200), bit=st.integers(0, 10_000)
)
def test_damaged_texts_are_refused_or_other_texts(texts: list[str], cut: int, bit: int) -> None:
    content = bytearray(write_binary(np.array(texts, object)))
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    for damaged in (bytes(content), bytes(content[:cut]), bytes(content) + b"\0"):
        try:
            array = read_binary(memoryview(damaged), "string", [len(texts)], "x", takes_nan=False)
        except RequestError:
            continue
        assert write_binary(array) == damaged
