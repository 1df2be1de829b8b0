"""One inference of the Open Inference Protocol (V2): a body becomes rows of the graph, and results become an answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from models.columns import TablePreprocessing
from models.manifest import DType, Manifest, TensorSpec
from service import tensors
from service.bodies import read_quickly
from service.errors import BadBodyError, UnprocessableError
from service.problems import shorten
from service.session import Row
from service.tensors import DATATYPES

Datatype = Literal["BOOL", "UINT8", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"]
Shape = list[Annotated[StrictInt, Field(ge=1)]]

_MAX_PLANS: Final = 256
_MAX_REPEATED_BYTES: Final = 2048


class _Document(BaseModel):
    """A part of a request, which has no other members than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputParameters(_Document):
    """How an input is sent."""

    binary_data_size: StrictInt | None = Field(
        default=None, ge=0, description="The input's bytes among those behind the JSON, where it is not in `data`."
    )


class InferenceInput(_Document):
    """An input of the graph: all of them are needed, in any order."""

    name: str
    shape: Shape = Field(description="The first is the number of rows, the same for all inputs.", examples=[[1, 2]])
    datatype: Datatype
    parameters: InputParameters = InputParameters()
    data: Any = Field(
        default=None, description="The elements in row-major order, in one list or in lists in lists by the shape."
    )


class OutputParameters(_Document):
    """How an output is to be answered."""

    binary_data: StrictBool | None = Field(
        default=None, description="Whether it comes behind the JSON; as `binary_data_output` says if not given."
    )
    classification: StrictInt | None = Field(
        default=None, ge=1, description="Answer so many of the highest values of each row, as `value:index[:label]`."
    )


class RequestedOutput(_Document):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(_Document):
    """What holds for the whole request."""

    binary_data_output: StrictBool = Field(default=False, description="Whether the outputs come behind the JSON.")
    timeout: StrictInt = Field(
        default=0, ge=0, description="The microseconds after which the answer is of no use; 0 for the service's own."
    )


class InferenceRequest(_Document):
    """The JSON of a request. `model_name` and `model_version` are not read: the address says them."""

    id: str | None = Field(default=None, description="Comes back with the answer.")
    model_name: str | None = None
    model_version: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[InferenceInput] = Field(min_length=1)
    outputs: list[RequestedOutput] = Field(default=[], description="All of them if none is named.")


class OutputTensor(BaseModel):
    """An output of the graph: `data`, or its bytes behind the JSON."""

    name: str
    datatype: Datatype
    shape: Shape
    parameters: dict[str, int] | None = Field(default=None, examples=[{"binary_data_size": 40}])
    data: list[Any] | None = Field(default=None, description="Row-major; null where a number is not finite.")


class InferenceResponse(BaseModel):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class _Input(NamedTuple):
    """An input of a request, found to be what the graph takes in everything but its elements."""

    dtype: DType
    shape: Sequence[int]
    location: str
    data: object  # its elements in JSON; None where they are
    start: int  # from here
    stop: int  # to there behind the JSON


class Output(NamedTuple):
    """An output that is asked for, and how. ``classes`` are as many of its highest values as are wanted of each row."""

    position: int  # among the graph's outputs
    spec: TensorSpec
    binary: bool
    classes: int | None


ReadHead = Callable[[bytes], InferenceRequest]


class Plan(NamedTuple):
    """What the head of a request says, found to be what the graph takes and gives: all but tensors in binary."""

    id: str | None
    inputs: Sequence[_Input]  # in the order of the graph
    outputs: Sequence[Output]
    binary_bytes: int
    timeout_seconds: float


class Inference(NamedTuple):
    """A request that was understood."""

    id: str | None
    rows: list[Row]
    outputs: Sequence[Output]
    timeout_seconds: float


class InferenceAnswer(NamedTuple):
    """An answer's bytes. ``header_bytes`` is the length of their JSON where there are tensors behind it."""

    content: bytes
    header_bytes: int | None


class InferenceFormat:
    """Reads the requests for one graph, and writes the answers.

    Args:
        manifest: what the graph takes and gives.
        max_rows: the rows of one request at most.
    """

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        self.kind = manifest.kind
        self.version = str(manifest.version)
        self._manifest = manifest
        self._max_rows = max_rows
        self._inputs = {spec.name: position for position, spec in enumerate(manifest.inputs)}
        self._outputs = {spec.name: position for position, spec in enumerate(manifest.outputs)}
        # A table's graph reads NaN for a value that is missing; to the other kinds it is nothing.
        self._takes_nan = isinstance(manifest.preprocessing, TablePreprocessing)
        # Clients that send tensors in binary repeat the head before them, to the byte. Measured on one core (AMD EPYC)
        # with one input: 11 us to understand JSON, of 15 us to read the request.
        self._plan_again = lru_cache(maxsize=_MAX_PLANS)(self._plan)

    def read(self, content: bytes, header_bytes: int | None) -> Inference:
        """The rows that a body brings.

        Args:
            content: the body.
            header_bytes: the length of its JSON, where tensors follow: None is all of it, and 0 says that the body is
                the graph's only input and nothing else.

        Raises:
            BadBodyError: the body is not JSON, or shorter than ``header_bytes``.
            UnprocessableError: it does not fit the graph; it says where.
        """
        if header_bytes is None:
            plan, binary = self._plan(content, _read_request), memoryview(b"")
        elif header_bytes == 0:
            plan, binary = self._plan_raw(len(content)), memoryview(content)
        elif header_bytes > len(content):
            raise BadBodyError(
                f"Inference-Header-Content-Length: {header_bytes:,}, of a body of {len(content):,} bytes"
            )
        else:
            plan, binary = self.plan(content[:header_bytes], _read_request), memoryview(content)[header_bytes:]
        if len(binary) != plan.binary_bytes:
            message = f"{len(binary):,} bytes behind the JSON, expected {plan.binary_bytes:,} by binary_data_size"
            raise UnprocessableError([("body", message)])
        return self.fill(plan, binary)

    def plan(self, head: bytes, read: ReadHead) -> Plan:
        """What the head of a request says; what a short one says is remembered.

        Args:
            head: the request without its tensors in binary.
            read: understands it, always in the same way.

        Raises:
            RequestError: it cannot be understood, or does not fit the graph.
        """
        make_plan = self._plan_again if len(head) <= _MAX_REPEATED_BYTES else self._plan
        return make_plan(head, read)

    def fill(self, plan: Plan, binary: memoryview) -> Inference:
        """The rows of a plan.

        Args:
            plan: what the request's head says.
            binary: the tensors that are in binary, one behind the other: ``plan.binary_bytes``.

        Raises:
            UnprocessableError: their elements do not fit the graph.
        """
        arrays = [self._read_input(tensor, binary) for tensor in plan.inputs]
        return Inference(plan.id, list(zip(*arrays, strict=True)), plan.outputs, plan.timeout_seconds)

    def arrange(self, inference: Inference, results: Sequence[Row]) -> Iterator[tuple[Output, str, NDArray[Any]]]:
        """The outputs that are asked for, in that order, each with its datatype and its tensor.

        Args:
            inference: what was asked.
            results: the graph's outputs for each row.
        """
        for output in inference.outputs:
            array = tensors.stack([row[output.position] for row in results], output.spec.dtype)
            if output.classes is None:
                yield output, DATATYPES[output.spec.dtype], array
            else:
                yield output, "BYTES", _classify(array, output.classes, self._manifest.labels)

    def write(self, inference: Inference, results: Sequence[Row]) -> InferenceAnswer:
        """The answer: JSON, and behind it the outputs that are to be binary, in the order of the request.

        Args:
            inference: what was asked.
            results: the graph's outputs for each row.
        """
        entries = []
        binary = []
        for output, datatype, array in self.arrange(inference, results):
            entry: dict[str, object] = {"name": output.spec.name, "datatype": datatype, "shape": array.shape}
            if output.binary:
                binary.append(tensors.write_binary(array))
                entry["parameters"] = {"binary_data_size": len(binary[-1])}
            else:
                entry["data"] = tensors.write_json(array)
            entries.append(entry)
        document = {"model_name": self.kind, "model_version": self.version, "outputs": entries}
        if inference.id is not None:
            document["id"] = inference.id
        header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        return InferenceAnswer(b"".join([header, *binary]), len(header)) if binary else InferenceAnswer(header, None)

    def _plan(self, head: bytes, read: ReadHead) -> Plan:
        request = read(head)
        outputs = self._plan_outputs(request)
        inputs, binary_bytes = self._plan_inputs(request.inputs)
        return Plan(request.id, inputs, outputs, binary_bytes, request.parameters.timeout / 1e6)

    def _plan_raw(self, size: int) -> Plan:
        """For a body of ``size`` bytes that is nothing but an input: its rows are as many as it has room for."""
        spec = self._manifest.inputs[0]
        sizes = [length for length in spec.shape[1:] if isinstance(length, int)]
        if len(self._inputs) > 1 or spec.dtype == "string" or len(sizes) < len(spec.shape) - 1:
            raise BadBodyError(
                "a body without JSON, expected one: the graph's inputs cannot be told by their size alone"
            )
        rows = max(1, size // tensors.size_bytes(spec.dtype, sizes))
        self._check_rows(rows, "body")
        tensor = _Input(spec.dtype, [rows, *sizes], "body", None, 0, size)
        outputs = [Output(position, output, True, None) for position, output in enumerate(self._manifest.outputs)]
        return Plan(None, [tensor], outputs, size, 0)

    def _plan_outputs(self, request: InferenceRequest) -> list[Output]:
        requested = request.outputs or [RequestedOutput(name=name) for name in self._outputs]
        outputs: list[Output] = []
        for index, (name, parameters) in enumerate((output.name, output.parameters) for output in requested):
            where = f"outputs[{index}]"
            _check_name(name, self._outputs, [output.spec.name for output in outputs], f"{where}.name")
            spec = self._manifest.outputs[self._outputs[name]]
            binary = parameters.binary_data
            if binary is None:
                binary = request.parameters.binary_data_output
            if parameters.classification is not None:
                _check_classification(parameters.classification, spec, f"{where}.parameters.classification")
            elif spec.dtype == "float16" and not binary:
                raise UnprocessableError([(where, f"'{name}' is FP16, which JSON cannot hold: expected binary_data")])
            outputs.append(Output(self._outputs[name], spec, binary, parameters.classification))
        return outputs

    def _plan_inputs(self, inputs: Sequence[InferenceInput]) -> tuple[list[_Input], int]:
        """The inputs in the order of the graph, and the bytes of those that are binary."""
        plan: dict[int, _Input] = {}
        sizes: dict[str, int] = {}
        stop = 0
        for index, tensor in enumerate(inputs):
            where = f"inputs[{index}]"
            _check_name(tensor.name, self._inputs, [other.name for other in inputs[:index]], f"{where}.name")
            position = self._inputs[tensor.name]
            spec = self._manifest.inputs[position]
            _check_tensor(tensor, spec, sizes, where)
            self._check_rows(tensor.shape[0], f"{where}.shape")
            start, stop = stop, stop + (tensor.parameters.binary_data_size or 0)
            plan[position] = _Input(spec.dtype, tensor.shape, where, tensor.data, start, stop)
        missing = [name for name, position in self._inputs.items() if position not in plan]
        if missing:
            raise UnprocessableError([("inputs", f"{_list(missing)} missing, expected {_list(self._inputs)}")])
        return [plan[position] for position in self._inputs.values()], stop

    def _check_rows(self, rows: int, location: str) -> None:
        if rows > self._max_rows:
            raise UnprocessableError([(location, f"{rows:,} rows, expected at most {self._max_rows:,}")])

    def _read_input(self, tensor: _Input, binary: memoryview) -> NDArray[Any]:
        dtype, shape, location, data, start, stop = tensor
        if data is None:
            return tensors.read_binary(binary[start:stop], dtype, shape, location, takes_nan=self._takes_nan)
        return tensors.read_json(data, dtype, shape, f"{location}.data", takes_nan=self._takes_nan)


def _read_request(header: bytes) -> InferenceRequest:
    return read_quickly(InferenceRequest, header)


def _check_name(name: str, known: Mapping[str, int], before: Sequence[str], location: str) -> None:
    if name not in known:
        raise UnprocessableError([(location, f"{shorten(repr(name))} is none of {_list(known)}")])
    if name in before:
        raise UnprocessableError([(location, f"'{name}' stands more than once")])


def _check_tensor(tensor: InferenceInput, spec: TensorSpec, sizes: dict[str, int], location: str) -> None:
    """Check all of an input but its elements; ``sizes`` are those of varying dimensions, as far as they are known."""
    expected = DATATYPES[spec.dtype]
    if tensor.datatype != expected:
        message = f"'{tensor.datatype}', expected '{expected}' for '{spec.name}'"
        raise UnprocessableError([(f"{location}.datatype", message)])
    fits = len(tensor.shape) == len(spec.shape) and all(
        size == (sizes.setdefault(dimension, size) if isinstance(dimension, str) else dimension)
        for size, dimension in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits:
        known = [sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape]
        raise UnprocessableError(
            [(f"{location}.shape", f"{shorten(repr(tensor.shape))}, expected {known} for '{spec.name}'")]
        )
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise UnprocessableError([(location, "expected either data or parameters.binary_data_size")])
    if size is not None and spec.dtype != "string" and size != tensors.size_bytes(spec.dtype, tensor.shape):
        described = f"{tensors.size_bytes(spec.dtype, tensor.shape):,} for {expected}{tensor.shape}"
        raise UnprocessableError([(location, f"{size:,} bytes in binary, expected {described}")])


def _check_classification(classes: int, spec: TensorSpec, location: str) -> None:
    size = spec.shape[-1]
    if len(spec.shape) != 2 or not isinstance(size, int) or spec.dtype in ("string", "bool"):
        raise UnprocessableError([(location, f"'{spec.name}' has no classes, expected no such parameter")])
    if classes > size:
        raise UnprocessableError([(location, f"{classes:,}, expected 1 to {size:,}")])


def _classify(array: NDArray[Any], classes: int, labels: Sequence[str]) -> NDArray[Any]:
    """The highest values of each row as texts (rows, classes): ``value:index``, and ``:label`` where there are labels.

    Source: Triton's "Classification Extension"; a number with a fraction has six digits of it, as Triton's have.
    """
    endings = [f":{label}" for label in labels] if len(labels) == array.shape[1] else [""] * array.shape[1]
    style = "f" if array.dtype.kind == "f" else "d"
    texts = []
    for values in array.tolist():
        best = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:classes]
        texts.append([f"{values[index]:{style}}:{index}{endings[index]}" for index in best])
    return np.array(texts, object)


def _list(names: Mapping[str, int] | Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
