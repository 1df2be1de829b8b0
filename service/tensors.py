"""The tensors of the Open Inference Protocol (V2) in its two encodings: JSON, and the binary tensor data extension.

Source: the protocol's "Tensor Data", and Triton's "Binary Tensor Data Extension": row-major, little-endian, nothing
between elements, a text as its length in four bytes and its UTF-8.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.manifest import DType
from service.errors import UnprocessableError

DATATYPES: Final[Mapping[DType, str]] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
# The protocol's elements as NumPy has them. Machines that run ONNX Runtime are little-endian, as the protocol is.
_ELEMENTS: Final[Mapping[DType, np.dtype[Any]]] = {
    dtype: np.dtype(object if dtype == "string" else dtype) for dtype in DATATYPES
}
# The types that orjson makes of the JSON values that a tensor may hold. JSON has no float16: the protocol wants binary.
_JSON_TYPES: Final[Mapping[DType, frozenset[type]]] = {
    "bool": frozenset({bool}),
    "uint8": frozenset({int}),
    "int32": frozenset({int}),
    "int64": frozenset({int}),
    "float32": frozenset({int, float}),
    "float64": frozenset({int, float}),
    "string": frozenset({str}),
}
_JSON_NAMES: Final[Mapping[type, str]] = {
    bool: "a truth value",
    int: "an integer",
    float: "a number with a fraction",
    str: "a text",
    type(None): "null",
    list: "a list",
    dict: "an object",
}
_LENGTH_BYTES: Final = 4


def size_bytes(dtype: DType, shape: Sequence[int]) -> int:
    """The bytes of a tensor of numbers in binary."""
    return math.prod(shape) * _ELEMENTS[dtype].itemsize


def read_binary(
    content: memoryview, dtype: DType, shape: Sequence[int], location: str, *, takes_nan: bool
) -> NDArray[Any]:
    """A tensor from its binary form. An array of numbers is a view of ``content``, which is not copied.

    Args:
        content: the tensor's bytes, and no others.
        dtype: what its elements are.
        shape: its shape; every size is at least 1.
        location: the tensor's place in the request.
        takes_nan: whether a number may be NaN. None may be infinite.

    Raises:
        UnprocessableError: ``content`` is not such a tensor.
    """
    if dtype == "string":
        return _read_texts(content, shape, location)
    expected = size_bytes(dtype, shape)
    if len(content) != expected:
        described = f"{DATATYPES[dtype]}{list(shape)}"
        raise _problem(location, f"{len(content):,} bytes, expected {expected:,} for {described}")
    if dtype == "bool":
        values = np.frombuffer(content, np.uint8)
        if values.max() > 1:
            index = int(np.argmax(values > 1))
            raise _problem(location, f"byte {index:,} is {values[index]}, expected 0 or 1 for BOOL")
    array = np.frombuffer(content, _ELEMENTS[dtype])
    _check_finite(array, location, takes_nan=takes_nan)
    return array.reshape(shape)


def read_json(data: object, dtype: DType, shape: Sequence[int], location: str, *, takes_nan: bool) -> NDArray[Any]:
    """A tensor from its JSON form: a list of its elements in row-major order, or lists in lists by its shape.

    Args:
        data: what orjson made of the tensor's ``data``.
        dtype: what its elements are.
        shape: its shape; every size is at least 1.
        location: the tensor's place in the request.
        takes_nan: whether a number may be NaN, which is null in JSON.

    Raises:
        UnprocessableError: ``data`` is not such a tensor.
    """
    if dtype == "float16":
        raise _problem(location, "FP16 in JSON, expected it in binary: JSON has no such numbers")
    elements = _flatten(data, shape, location)
    expected = _JSON_TYPES[dtype]
    allowed = expected | {type(None)} if takes_nan and float in expected else expected
    if not set(map(type, elements)) <= allowed:
        index = next(index for index, element in enumerate(elements) if type(element) not in allowed)
        found = _JSON_NAMES[type(elements[index])]
        raise _problem(location, f"element {index:,} is {found}, which {DATATYPES[dtype]} cannot hold")
    try:
        with np.errstate(over="ignore"):  # what is too large for the datatype becomes infinite, and is found so
            array = np.array(elements, _ELEMENTS[dtype])
    except OverflowError as error:
        limits = np.iinfo(_ELEMENTS[dtype])
        index = next(i for i, element in enumerate(elements) if not limits.min <= element <= limits.max)
        message = (
            f"element {index:,} is {elements[index]}, expected {limits.min} to {limits.max} for {DATATYPES[dtype]}"
        )
        raise _problem(location, message) from error
    _check_finite(array, location, takes_nan=takes_nan)
    return array.reshape(shape)


def write_binary(array: NDArray[Any]) -> bytes:
    """A tensor in its binary form; texts are an array of objects."""
    if array.dtype != object:
        return array.tobytes()
    texts = [text.encode() for text in array.ravel().tolist()]
    return b"".join(chain.from_iterable((len(text).to_bytes(_LENGTH_BYTES, "little"), text) for text in texts))


def write_json(array: NDArray[Any]) -> object:
    """A tensor's elements in row-major order, for orjson, which writes null for what is not finite."""
    return array.ravel().tolist() if array.dtype == object else np.ascontiguousarray(array).ravel()


def stack(values: Sequence[Any], dtype: DType) -> NDArray[Any]:
    """The values of some rows, each without the batch dimension, as one tensor with it."""
    return np.array(values, _ELEMENTS[dtype])


def _read_texts(content: memoryview, shape: Sequence[int], location: str) -> NDArray[Any]:
    count = math.prod(shape)
    if len(content) < count * _LENGTH_BYTES:
        raise _problem(location, f"{len(content):,} bytes, which are too few for {count:,} texts")
    texts = []
    offset = 0
    for index in range(count):
        start = offset + _LENGTH_BYTES
        offset = start + int.from_bytes(content[offset:start], "little")
        if start > len(content) or offset > len(content):
            raise _problem(location, f"element {index:,} ends at byte {max(start, offset):,} of {len(content):,}")
        try:
            texts.append(str(content[start:offset], "utf-8"))
        except UnicodeDecodeError as error:
            raise _problem(location, f"element {index:,} is not UTF-8: {error.reason}") from error
    if offset != len(content):
        raise _problem(location, f"{len(content):,} bytes, of which the {count:,} texts take {offset:,}")
    return np.array(texts, object).reshape(shape)


def _flatten(data: object, shape: Sequence[int], location: str) -> list[Any]:
    """The elements of lists, or of lists in lists by ``shape``, in row-major order."""
    if not isinstance(data, list):
        raise _problem(location, "expected a list of the elements")
    if not data or not isinstance(data[0], list):
        count = math.prod(shape)
        if len(data) != count:
            raise _problem(location, f"{len(data):,} elements, expected {count:,} for the shape {list(shape)}")
        return data
    elements: list[Any] = [data]
    for size in shape:
        for inner in elements:
            if not isinstance(inner, list) or len(inner) != size:
                raise _problem(location, f"the lists in lists are not of the shape {list(shape)}")
        elements = list(chain.from_iterable(elements))
    return elements


def _check_finite(array: NDArray[Any], location: str, *, takes_nan: bool) -> None:
    if array.dtype.kind != "f":
        return
    fine = np.isfinite(array)
    if fine.all():
        return
    if takes_nan:
        fine |= np.isnan(array)
        if fine.all():
            return
    index = int(np.argmin(fine))
    raise _problem(location, f"element {index:,} is {array[index]}, expected a finite number")


def _problem(location: str, message: str) -> UnprocessableError:
    return UnprocessableError([(location, message)])
